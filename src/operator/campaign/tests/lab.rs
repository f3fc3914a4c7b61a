//! A cluster in memory: it does what effects say, one write at a time, and what kubelets and load generators would do.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{
        apps::v1::StatefulSet,
        batch::v1::Job,
        core::v1::{Node, Pod},
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::ResourceExt;
use serde_json::json;
use teebench_api::{
    campaign::{BenchmarkCampaign, Metric},
    files::{
        evidence::{Environment, EvidenceLevel},
        run::{Reason, ReasonCode, Validity, Verdict},
    },
    plan::next::{AttemptOutcome, Outcome},
    policy::RouterPolicySpec,
    run::BenchmarkRun,
    validate,
};

use crate::{
    executor::ServerFacts,
    operator::{
        build::Settings,
        campaign::{
            effect::Effect,
            observe::attempts::{attempt_of, broken_off},
            step::{Phase, Step, decide},
            world::{Children, Ended, Facts, Stored, World},
        },
        labels,
        machines::queue::Queue,
    },
    preflight::Cluster,
};

/// A cluster in memory with one campaign.
pub struct Lab {
    pub campaign: BenchmarkCampaign,
    pub policies: BTreeMap<String, RouterPolicySpec>,
    pub stored: Option<Stored>,
    pub sets: Vec<StatefulSet>,
    pub pods: Vec<Pod>,
    pub jobs: Vec<Job>,
    pub runs: Vec<BenchmarkRun>,
    pub frozen: BTreeSet<String>,
    pub now: Timestamp,
    pub ended: Option<Outcome>,
    /// How often each load Job was created.
    pub launches: BTreeMap<String, usize>,
    /// What stands against every run of an arm, by the arm's name: it ends Inconclusive.
    pub against: BTreeMap<String, Reason>,
    /// Who waits for machines, and who holds them.
    pub queue: Queue,
    /// Pods of anyone that ask for GPUs.
    pub gpu_pods: Vec<Pod>,
    /// Writes so far.
    pub writes: usize,
    /// The write that is not done any more, nor anything after it in its pass.
    pub cut_off_at: Option<usize>,
    /// The next pod's uid.
    uids: usize,
}

pub fn settings() -> Settings {
    Settings {
        image: "localhost/teebench:test".into(),
        image_pull_policy: None,
        hub_endpoint: None,
        results_url: "https://teebench-results.lab.svc:8443".into(),
        results_ca_pem: "pem".into(),
    }
}

impl Lab {
    /// The campaign of a file, applied and untouched.
    pub fn of(yaml: &str) -> Self {
        let file = validate::load(yaml.as_bytes(), "lab.yaml").unwrap_or_else(|error| panic!("{error}"));
        let mut campaign = file.campaign;
        campaign.metadata.namespace = Some("bench".into());
        campaign.metadata.uid = Some("11111111-2222".into());
        campaign.metadata.generation = Some(1);
        Self {
            campaign,
            policies: file.policies,
            stored: None,
            sets: Vec::new(),
            pods: Vec::new(),
            jobs: Vec::new(),
            runs: Vec::new(),
            frozen: BTreeSet::new(),
            now: Timestamp::from_second(1_800_000_000).unwrap(),
            ended: None,
            launches: BTreeMap::new(),
            against: BTreeMap::new(),
            queue: Queue::default(),
            gpu_pods: Vec::new(),
            writes: 0,
            cut_off_at: None,
            uids: 0,
        }
    }

    pub fn world(&self) -> World {
        fn shared<K: Clone>(objects: &[K]) -> Vec<Arc<K>> {
            objects.iter().cloned().map(Arc::new).collect()
        }
        let facts = self.pods.iter().filter_map(|pod| Some((pod.uid()?, facts(pod.labels().get(labels::ARM)?))));
        World {
            now: self.now,
            campaign: Arc::new(self.campaign.clone()),
            policies: self.policies.clone(),
            stored: self.stored.clone().map(Arc::new),
            children: Children {
                sets: shared(&self.sets),
                jobs: shared(&self.jobs),
                pods: shared(&self.pods),
                runs: shared(&self.runs),
                downloads: shared(&self.jobs),
                has_leftovers: false,
            },
            facts: facts.collect(),
            cluster: Cluster {
                nodes: Some(vec![node("plain"), node("confidential")]),
                gpu_pods: Some(self.gpu_pods.iter().cloned().map(Arc::new).collect()),
                catalogue: None,
            },
            queue: self.queue.clone(),
        }
    }

    pub fn step(&self) -> Step {
        decide(&self.world(), &settings()).expect("the plan can be built")
    }

    /// One pass, and a second in which the cluster does its part.
    pub fn turn(&mut self) -> Step {
        let step = self.step();
        let told = Step { effects: Vec::new(), ..self.step() };
        if let Phase::Ended { outcome, .. } = &step.phase {
            self.ended = Some(*outcome);
        }
        for effect in step.effects {
            if !self.perform(effect) {
                break;
            }
        }
        self.now = self.now.checked_add(SignedDuration::from_secs(1)).unwrap();
        self.live();
        told
    }

    /// Passes until the campaign has ended and nothing is left to do.
    pub fn run(&mut self) -> Outcome {
        for _ in 0..2000 {
            self.turn();
            if let Some(outcome) = self.ended {
                return outcome;
            }
        }
        panic!("no end in sight: {:?}", self.step().effects);
    }

    /// Whether this write is done.
    fn write(&mut self) -> bool {
        self.writes += 1;
        if self.cut_off_at == Some(self.writes) {
            self.cut_off_at = None;
            return false;
        }
        true
    }

    /// Does an effect, write by write; `false` when the pass is cut off.
    fn perform(&mut self, effect: Effect) -> bool {
        match effect {
            Effect::TakeMachines(claim) => {
                for machine in claim.machines {
                    if !self.write() {
                        return false;
                    }
                    self.queue.held.insert(machine, claim.campaign.clone());
                }
            }
            Effect::GiveBackMachines => {
                if !self.write() {
                    return false;
                }
                let uid = self.campaign.uid();
                self.queue.held.retain(|_, holder| Some(&holder.uid) != uid.as_ref());
            }
            Effect::Begin(plan) => {
                if !self.write() {
                    return false;
                }
                let plan_sha256 = plan.digest();
                let (decisions, ledger, attempts) = (Vec::new(), Vec::new(), Vec::new());
                self.stored.get_or_insert(Stored { plan: *plan, plan_sha256, decisions, ledger, attempts });
            }
            Effect::Record(entries) => {
                for entry in entries {
                    if !self.write() {
                        return false;
                    }
                    self.stored.as_mut().expect("a campaign that records has begun").ledger.push(entry);
                }
            }
            Effect::Append(decision) => {
                if !self.write() {
                    return false;
                }
                self.stored.as_mut().expect("a campaign that decides has begun").decisions.push(decision);
            }
            Effect::Apply(resources) => {
                let resources = *resources;
                for run in resources.runs {
                    if !self.write() {
                        return false;
                    }
                    put(&mut self.runs, run);
                }
                for set in resources.stateful_sets {
                    if !self.write() {
                        return false;
                    }
                    put(&mut self.sets, set);
                }
                for job in resources.jobs {
                    if !self.write() {
                        return false;
                    }
                    put(&mut self.jobs, job);
                }
            }
            Effect::Launch(resources) => {
                let resources = *resources;
                for config_map in resources.config_maps {
                    if !self.write() {
                        return false;
                    }
                    self.frozen.insert(config_map.name_any());
                }
                for job in resources.jobs {
                    if !self.write() {
                        return false;
                    }
                    if self.jobs.iter().all(|known| known.name_any() != job.name_any()) {
                        *self.launches.entry(job.name_any()).or_default() += 1;
                    }
                    put(&mut self.jobs, job);
                }
                for mut run in resources.runs {
                    if !self.write() {
                        return false;
                    }
                    run.annotations_mut().insert(labels::BEGUN.into(), self.now.to_string());
                    put(&mut self.runs, run);
                }
            }
            Effect::StopServers(names) => {
                for name in names {
                    if !self.write() {
                        return false;
                    }
                    self.sets.retain(|set| set.name_any() != name.servers);
                }
            }
            Effect::DeleteDownload(name) => {
                if !self.write() {
                    return false;
                }
                self.jobs.retain(|job| job.name_any() != name);
            }
            Effect::BreakOff { name, reason } => {
                if !self.write() {
                    return false;
                }
                let text = serde_json::to_string(&reason).unwrap();
                for run in self.runs.iter_mut().filter(|run| run.name_any() == name) {
                    run.annotations_mut().insert(labels::BROKEN_OFF.into(), text.clone());
                }
                if !self.write() {
                    return false;
                }
                self.jobs.retain(|job| job.name_any() != name);
            }
            Effect::Commit { start, reason } => {
                if !self.write() {
                    return false;
                }
                let Validity { validity, reasons } = Validity::broken_off(reason);
                self.commit(AttemptOutcome {
                    id: teebench_api::plan::next::AttemptRef { run: start.run, attempt: start.attempt },
                    epoch: start.epoch,
                    boot: start.boot,
                    boot_generation: start.boot_generation,
                    verdict: validity,
                    reasons,
                    seconds: 1.0,
                    metrics: BTreeMap::new(),
                });
            }
            Effect::Publish { outcome, .. } => {
                if !self.write() {
                    self.ended = None;
                    return false;
                }
                self.ended = Some(outcome);
            }
        }
        true
    }

    fn commit(&mut self, outcome: AttemptOutcome) {
        let attempts = &mut self.stored.as_mut().expect("a campaign with attempts has begun").attempts;
        if attempts.iter().all(|known| known.outcome.epoch != outcome.epoch) {
            let is_supported = outcome.reasons.iter().all(|reason| reason.code != ReasonCode::Evidence);
            attempts.push(Ended { outcome, evidence: is_supported.then_some(EvidenceLevel::SelfReported) });
        }
    }

    /// What kubelets and load generators do in a second.
    fn live(&mut self) {
        let sets: Vec<StatefulSet> = self.sets.clone();
        self.pods.retain(|pod| sets.iter().any(|set| pod.name_any().starts_with(&set.name_any())));
        for set in &sets {
            let spec = set.spec.as_ref().unwrap();
            for ordinal in 0..spec.replicas.unwrap_or(1) {
                let name = format!("{}-{ordinal}", set.name_any());
                if self.pods.iter().all(|pod| pod.name_any() != name) {
                    self.uids += 1;
                    let pod = pod(&name, self.uids, set, self.now);
                    self.pods.push(pod);
                }
            }
        }
        for pod in &mut self.pods {
            become_ready(pod);
        }
        let is_load = |job: &Job| job.labels().get(labels::COMPONENT).is_some_and(|name| name == "load");
        let jobs: Vec<String> =
            self.jobs.iter().filter(|job| is_load(job) && job.status.is_none()).map(ResourceExt::name_any).collect();
        for name in jobs {
            // Its BenchmarkRun may not be annotated yet; its inputs say what it is all the same.
            let run = self.runs.iter().find(|run| run.name_any() == name).cloned();
            let Some(run) = run else { continue };
            let Some(stored) = &self.stored else { continue };
            let generation = stored.ledger.last().map_or(1, |entry| entry.generation);
            let reasons: Vec<Reason> = self.against.get(&run.spec.arm).cloned().into_iter().collect();
            self.commit(AttemptOutcome {
                id: attempt_of(&run),
                epoch: u64::try_from(run.spec.epoch).unwrap(),
                boot: run.spec.boot as usize,
                boot_generation: generation,
                verdict: if reasons.is_empty() { Verdict::Valid } else { Verdict::Inconclusive },
                reasons,
                seconds: 1.0,
                metrics: BTreeMap::from([(Metric::OutputThroughput, 100.0)]),
            });
            finish(&mut self.jobs, &name, "Complete", None);
        }
    }

    /// Does an effect while nothing else happens.
    pub fn perform_alone(&mut self, effect: Effect) {
        assert!(self.perform(effect), "nothing cuts this pass off");
    }

    /// Lets a load generator fail before it leaves anything.
    pub fn fail_job(&mut self, name: &str, reason: Option<&str>) {
        finish(&mut self.jobs, name, "Failed", reason);
    }

    /// Why an attempt was told to end.
    pub fn told_to_end(&self, name: &str) -> Option<Reason> {
        self.runs.iter().find(|run| run.name_any() == name).and_then(broken_off)
    }
}

fn put<K: ResourceExt>(objects: &mut Vec<K>, object: K) {
    match objects.iter_mut().find(|known| known.name_any() == object.name_any()) {
        // Server-side apply keeps what others wrote, annotations among it.
        Some(known) => {
            let mut kept = known.annotations().clone();
            kept.extend(object.annotations().clone());
            known.meta_mut().annotations = Some(kept);
        }
        None => objects.push(object),
    }
}

fn finish(jobs: &mut [Job], name: &str, type_: &str, reason: Option<&str>) {
    for job in jobs.iter_mut().filter(|job| job.name_any() == name) {
        let condition = json!({"type": type_, "status": "True", "reason": reason, "message": "it ended"});
        job.status = Some(serde_json::from_value(json!({"conditions": [condition]})).unwrap());
    }
}

fn pod(name: &str, uid: usize, set: &StatefulSet, now: Timestamp) -> Pod {
    let mut pod: Pod =
        serde_json::from_value(json!({"metadata": {"name": name, "uid": format!("uid-{uid}")}})).unwrap();
    pod.metadata.labels.clone_from(&set.spec.as_ref().unwrap().template.metadata.as_ref().unwrap().labels);
    pod.metadata.creation_timestamp = Some(Time(now));
    pod
}

fn become_ready(pod: &mut Pod) {
    if pod.status.is_none() {
        let status = json!({"podIP": "10.0.0.7", "conditions": [{"type": "Ready", "status": "True"}]});
        pod.status = Some(serde_json::from_value(status).unwrap());
    }
}

fn node(pool: &str) -> Arc<Node> {
    let node = json!({"metadata": {"name": pool, "labels": {"pool": pool}}, "status": {"allocatable": {"nvidia.com/gpu": "8"}}});
    Arc::new(serde_json::from_value(node).unwrap())
}

fn facts(arm: &str) -> Facts {
    let compared = ServerFacts {
        arm: arm.into(),
        environment: Environment::default(),
        engine: Some("vllm 0.25.1".into()),
        num_gpu_blocks: Some(1000),
        flags_sha256: "0123456789abcdef".into(),
    };
    Facts { compared, ready_seconds: Some(1.0), cpu: None }
}
