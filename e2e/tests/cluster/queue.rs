//! Machines are exclusive: campaigns of several namespaces wait for each other, pods of others are found before and
//! during runs, and what a cluster lacks is told by the operator and by `teebench preflight` in the same words.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use serde_json::json;
use teebench_api::{
    campaign::{BenchmarkCampaign, Scheduling},
    conditions::types,
    files::run::{ReasonCode, Verdict},
};
use teebench_e2e::cluster::{Suite, eventually, measured, reason_of};

use crate::faults::{in_the_midst, is_running, small};

/// Where another team's campaign runs.
const ELSEWHERE: &str = "e2e-bench";

fn message_of(campaign: &BenchmarkCampaign, type_: &str) -> String {
    let conditions = campaign.status.iter().flat_map(|status| &status.conditions);
    conditions.filter(|found| found.type_ == type_).map(|found| found.message.clone()).next().unwrap_or_default()
}

#[tokio::test]
async fn a_campaign_of_another_namespace_waits_for_the_machines_and_says_for_whom() -> anyhow::Result<()> {
    measured("faults", "queued", async |suite| {
        let other = Suite { namespace: ELSEWHERE.to_owned(), ..suite.clone() };
        suite.begin(&small("first")?).await?;
        in_the_midst(&suite, "first").await?;
        other.begin(&small("second")?).await?;
        let queued = |campaign: &BenchmarkCampaign| reason_of(campaign, types::SUCCEEDED) == Some("Queued");
        let second = other.campaign_until("second", "it is queued", queued).await?;
        let message = message_of(&second, types::SUCCEEDED);
        ensure!(message.contains("e2e-faults/first"), "{message}");
        ensure!(reason_of(&second, types::PREFLIGHT_PASSED) == Some("Found"), "{:?}", second.status);
        ensure!(other.of_campaign::<Pod>("second").await?.is_empty(), "pods were created");
        let words = ["get", "leases", "-n", "teebench-system", "-o", "jsonpath={.items[*].spec.holderIdentity}"];
        let held = suite.kubectl_anywhere(&words).await?.well()?;
        ensure!(held.contains("e2e-faults/first/") && !held.contains("second"), "{held}");
        suite.change("first", json!({"cancel": true})).await?;
        other.campaign_until("second", "it has its turn", is_running).await?;
        suite.end("first").await?;
        other.end("second").await
    })
    .await
}

/// A pod of somebody else that holds a GPU of the plain machines.
fn foreign() -> anyhow::Result<Pod> {
    Ok(serde_json::from_value(json!({
        "metadata": {"name": "somebody-else"},
        "spec": {
            "nodeSelector": {"node.kubernetes.io/instance-type": "Standard_NC40ads_H100_v5"},
            "tolerations": [{"key": "sku", "operator": "Exists"}],
            "terminationGracePeriodSeconds": 0,
            "securityContext": {"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "train", "image": "localhost/teebench:e2e", "imagePullPolicy": "Never",
                "command": ["/usr/local/bin/teebench", "mock-vllm", "--port", "8123"],
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                "resources": {"limits": {"nvidia.com/gpu": "1"}}
            }]
        }
    }))?)
}

#[tokio::test]
async fn gpu_pods_of_others_are_found_before_and_during_runs() -> anyhow::Result<()> {
    measured("faults", "foreign", async |suite| {
        const NAME: &str = "foreign";
        let pods: Api<Pod> = suite.api();
        let at_once = DeleteParams::default().grace_period(0);
        pods.create(&PostParams::default(), &foreign()?).await?;
        suite.begin(&small(NAME)?).await?;
        let found = |campaign: &BenchmarkCampaign| {
            reason_of(campaign, types::PREFLIGHT_PASSED) == Some("ForeignGpuPods")
                && message_of(campaign, types::PREFLIGHT_PASSED).contains("e2e-faults/somebody-else")
        };
        suite.campaign_until(NAME, "the pod is found before", found).await?;
        pods.delete("somebody-else", &at_once).await?;
        in_the_midst(&suite, NAME).await?;
        pods.create(&PostParams::default(), &foreign()?).await?;
        eventually("a run is broken off for it", Duration::from_secs(60), async || {
            let runs = suite.runs(NAME).await.map_err(|error| format!("{error:#}"))?;
            let is_of_it = |run: &&teebench_api::run::BenchmarkRun| {
                run.status.as_ref().is_some_and(|status| {
                    status.validity == Some(Verdict::Inconclusive)
                        && status.reasons.iter().any(|reason| reason.code == ReasonCode::ForeignGpuUse)
                })
            };
            if runs.iter().any(|run| is_of_it(&run)) { Ok(()) } else { Err(format!("{} runs", runs.len())) }
        })
        .await?;
        pods.delete("somebody-else", &at_once).await?;
        let ended = suite.outcome(NAME).await?;
        ensure!(reason_of(&ended, types::SUCCEEDED) == Some("Completed"), "{:?}", ended.status);
        suite.end(NAME).await
    })
    .await
}

#[tokio::test]
async fn what_a_cluster_lacks_is_told_before_and_after_applying_in_the_same_words() -> anyhow::Result<()> {
    measured("faults", "lacks", async |suite| {
        const NAME: &str = "lacks";
        type Change = fn(&mut teebench_api::campaign::BenchmarkCampaignSpec);
        let cases: [(&str, Change); 4] = [
            ("TaintNotTolerated", |spec| {
                for pool in spec.arms.iter_mut().filter_map(|arm| arm.node_pool.as_mut()) {
                    pool.tolerations.clear();
                }
            }),
            ("NoRuntimeClass", |spec| {
                for pool in spec.arms.iter_mut().filter_map(|arm| arm.node_pool.as_mut()) {
                    pool.runtime_class_name = Some("no-such".to_owned());
                }
            }),
            ("NoPriorityClass", |spec| {
                let priority_class_name = Some("no-such".to_owned());
                spec.scheduling = Some(Scheduling { priority_class_name, queue_name: None });
            }),
            ("NoNodes", |spec| {
                for pool in spec.arms.iter_mut().filter_map(|arm| arm.node_pool.as_mut()) {
                    pool.selector = BTreeMap::from([("pool".to_owned(), "nowhere".to_owned())]);
                }
            }),
        ];
        for (reason, change) in cases {
            let mut file = small(NAME)?;
            change(&mut file.campaign.spec);
            let directory = tempfile::tempdir()?;
            let path = directory.path().join("campaign.yaml");
            std::fs::write(&path, documents(&file)?)?;
            let words = ["preflight", &path.to_string_lossy(), "--namespace", &suite.namespace];
            let said = suite.teebench(&words).await?;
            suite.begin(&file).await?;
            let missed = |campaign: &BenchmarkCampaign| reason_of(campaign, types::PREFLIGHT_PASSED) == Some(reason);
            let campaign = suite.campaign_until(NAME, reason, missed).await?;
            let told = format!("{reason}: {}", message_of(&campaign, types::PREFLIGHT_PASSED));
            ensure!(said.out.contains(&told), "the operator says \"{told}\", preflight\n{}{}", said.out, said.err);
            ensure!(suite.of_campaign::<Pod>(NAME).await?.is_empty(), "pods were created");
            suite.end(NAME).await?;
        }
        Ok(())
    })
    .await
}

/// A campaign and its policies as one file.
fn documents(file: &teebench_api::validate::CampaignFile) -> anyhow::Result<String> {
    let document = |kind: &str, name: &str, spec: serde_json::Value| {
        serde_yaml::to_string(&json!({
            "apiVersion": "teebench.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec
        }))
    };
    let name = file.campaign.metadata.name.as_deref().context("a campaign has a name")?;
    let mut all = vec![document("BenchmarkCampaign", name, json!(file.campaign.spec))?];
    for (name, policy) in &file.policies {
        all.push(document("RouterPolicy", name, json!(policy))?);
    }
    Ok(all.join("---\n"))
}
