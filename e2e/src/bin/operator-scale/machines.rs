//! Machines that exist on the API server alone: their nodes, their kubelets' words, and what kubelets do with pods.

use std::time::Duration;

use anyhow::Context;
use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{Node, Pod},
};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
    runtime::{WatchStreamExt, watcher},
};
use serde_json::{Value, json};

/// How often kubelets say that they live: the controller takes one for dead after 50 s.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Pods that are seen to at once.
const AT_ONCE: usize = 16;
/// Who writes.
pub const MANAGER: &str = "operator-scale";
/// Label of the machine of a campaign.
pub const MACHINE: &str = "scale";

fn name(index: usize) -> String {
    format!("scale-{index}")
}

/// The value of the label [`MACHINE`].
pub fn machine(index: usize) -> String {
    format!("p{index}")
}

/// Makes machines with room for everything.
pub async fn make(client: &Client, count: usize) -> anyhow::Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    let room = json!({"cpu": "512", "memory": "4Ti", "pods": "1000", "ephemeral-storage": "1Ti"});
    for index in 0..count {
        let name = name(index);
        let node = json!({"apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "labels": {MACHINE: machine(index)}}});
        nodes.patch(&name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&node)).await?;
        let status = json!({"status": {"capacity": room, "allocatable": room, "conditions": [
            {"type": "Ready", "status": "True", "reason": "Played", "message": "operator-scale plays its kubelet",
             "lastHeartbeatTime": Timestamp::now(), "lastTransitionTime": Timestamp::now()}]}});
        nodes.patch_status(&name, &PatchParams::default(), &Patch::Merge(&status)).await?;
    }
    Ok(())
}

/// Takes the machines away.
pub async fn remove(client: &Client, count: usize) -> anyhow::Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    for index in 0..count {
        nodes.delete(&name(index), &DeleteParams::background()).await?;
    }
    Ok(())
}

/// Says of each machine, now and again, that it lives.
pub async fn live(client: Client, count: usize) {
    let leases: Api<Lease> = Api::namespaced(client, "kube-node-lease");
    let mut beat = tokio::time::interval(HEARTBEAT);
    loop {
        beat.tick().await;
        for index in 0..count {
            let name = name(index);
            let now = format!("{:.6}", Timestamp::now());
            let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name},
                "spec": {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": now}});
            if let Err(error) = leases.patch(&name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&lease)).await {
                eprintln!("{name}: {error}");
            }
        }
    }
}

/// A kubelet of all machines.
#[derive(Clone)]
pub struct Kubelet {
    /// Where pods are written to.
    pub pods: Api<Pod>,
    /// Address that every server's pod has.
    pub address: String,
    /// How long a load generator's pod runs before it fails, but for a fifth either way: machines do not go in step.
    pub run: Duration,
}

impl Kubelet {
    /// Does with pods what kubelets do: servers become ready, load generators run for a while and fail, what is deleted
    /// goes.
    pub async fn work(self) {
        watcher(self.pods.clone(), watcher::Config::default())
            .default_backoff()
            .applied_objects()
            .for_each_concurrent(AT_ONCE, |pod| async {
                let done = match pod {
                    Ok(pod) => self.see_to(&pod).await,
                    Err(error) => Err(error.into()),
                };
                if let Err(error) = done {
                    eprintln!("{error:#}");
                }
            })
            .await;
    }

    async fn see_to(&self, pod: &Pod) -> anyhow::Result<()> {
        let name = pod.name_any();
        let is_placed = pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending");
        if pod.metadata.deletion_timestamp.is_some() {
            let gone = self.pods.delete(&name, &DeleteParams::default().grace_period(0)).await;
            return unless_gone(&name, gone.map(drop));
        }
        if !is_placed || phase != "Pending" {
            return Ok(());
        }
        let now = Timestamp::now();
        let ready = json!([{"type": "Ready", "status": "True", "lastTransitionTime": now}]);
        let running = json!({"phase": "Running", "startTime": now, "podIP": self.address,
            "podIPs": [{"ip": self.address}], "conditions": ready});
        self.write(&name, running).await?;
        if pod.labels().get("app.kubernetes.io/component").is_some_and(|part| part == "load") {
            let kubelet = self.clone();
            tokio::spawn(async move {
                tokio::time::sleep(kubelet.run.mul_f64(rand::random_range(0.8..1.2))).await;
                let failed = json!({"phase": "Failed", "message": "no load is executed here"});
                if let Err(error) = kubelet.write(&name, failed).await {
                    eprintln!("{error:#}");
                }
            });
        }
        Ok(())
    }

    async fn write(&self, name: &str, status: Value) -> anyhow::Result<()> {
        let status = Patch::Merge(json!({"status": status}));
        let written = self.pods.patch_status(name, &PatchParams::default(), &status).await;
        unless_gone(name, written.map(drop))
    }
}

fn unless_gone(pod: &str, written: kube::Result<()>) -> anyhow::Result<()> {
    match written {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.with_context(|| format!("pod {pod}")),
    }
}
