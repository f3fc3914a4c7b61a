//! Does what a step decided, in order: the only step after the reads that holds a client.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{Deployment, StatefulSet},
    batch::v1::Job,
    core::v1::{ConfigMap, Pod, Service},
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, LogParams},
};
use serde_json::json;
use teebench_api::{
    campaign::{BenchmarkCampaign, status::Results},
    files::{
        inputs::RunInputs,
        run::{Reason, RunFile, Validity},
    },
    plan::next::Start,
    run::BenchmarkRun,
};
use thiserror::Error;

use super::{
    dereference::store_of,
    effect::{Effect, SetNames},
    file::{campaign_yaml, results_config_map},
    headline::headline,
    step::Active,
    world::{Ended, Stored},
};
use crate::{
    executor::{self, InputsOrder},
    measure::empty_run_file,
    operator::{
        build,
        context::Context,
        labels,
        machines::MachinesError,
        names,
        resources::{Applied, Prepared, Resources},
        writer::WriteError,
    },
    store::{CampaignStore, StoreError},
};

/// Lines of a log that a failed attempt keeps.
const TAIL_LINES: i64 = 15;

/// Something that was decided could not be done. What came before it is done, and is not harmed by another try.
#[derive(Debug, Error)]
pub enum PerformError {
    /// A write to the API server.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A read or write of the store.
    #[error("the results store failed")]
    Store(#[from] StoreError),
    /// The Leases of machines.
    #[error(transparent)]
    Machines(#[from] MachinesError),
    /// Somebody else made a run in our name.
    #[error("BenchmarkRun \"{0}\": names what the campaign's plan does not have; delete it")]
    ForeignRun(String),
}

impl PerformError {
    /// Whether another try may succeed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Write(error) => error.is_retryable(),
            Self::Store(error) => error.is_retryable(),
            Self::Machines(error) => error.is_retryable(),
            Self::ForeignRun(_) => false,
        }
    }
}

/// What came of the effects.
#[derive(Debug, Default)]
pub struct Performed {
    /// What was published.
    pub results: Option<Results>,
}

/// Does the effects of a step.
///
/// # Errors
/// At the first effect that cannot be done; those after it are not begun.
pub async fn perform(
    context: &Context,
    campaign: &BenchmarkCampaign,
    active: &Active,
    effects: Vec<Effect>,
) -> Result<Performed, PerformError> {
    let mut performing = Performing {
        context,
        campaign,
        active,
        namespace: campaign.namespace().unwrap_or_default(),
        uid: campaign.uid().unwrap_or_default(),
        store: store_of(context, campaign),
        performed: Performed::default(),
    };
    for effect in effects {
        performing.effect(effect).await?;
    }
    Ok(performing.performed)
}

struct Performing<'a> {
    context: &'a Context,
    campaign: &'a BenchmarkCampaign,
    active: &'a Active,
    namespace: String,
    uid: String,
    store: CampaignStore,
    performed: Performed,
}

impl Performing<'_> {
    async fn effect(&mut self, effect: Effect) -> Result<(), PerformError> {
        match effect {
            Effect::TakeMachines(claim) => self.context.machines.take(&claim).await?,
            Effect::GiveBackMachines => self.context.machines.give_back(&self.uid).await?,
            Effect::Begin(plan) => {
                self.stored(self.store.begin(&plan, &campaign_yaml(self.campaign, &plan)).await)?;
                let plan_sha256 = plan.digest();
                let (decisions, ledger, attempts) = (Vec::new(), Vec::new(), Vec::new());
                self.context.memory.put(&self.uid, Stored { plan: *plan, plan_sha256, decisions, ledger, attempts });
            }
            Effect::Record(entries) => {
                for entry in entries {
                    self.stored(self.store.append_ledger(&entry).await)?;
                    self.context.memory.recorded(&self.uid, entry);
                }
            }
            Effect::Append(decision) => {
                self.stored(self.store.append_decision(&decision).await)?;
                self.context.memory.decided(&self.uid, decision);
            }
            Effect::Apply(resources) => drop(self.apply(*resources).await?),
            Effect::Launch(resources) => self.launch(*resources).await?,
            Effect::StopServers(names) => self.stop_servers(&names).await?,
            Effect::DeleteDownload(name) => {
                let writer = &self.context.writer;
                writer.delete::<Job>(&self.namespace, &name, &DeleteParams::foreground()).await?;
            }
            Effect::BreakOff { name, reason } => self.break_off(&name, &reason).await?,
            Effect::Commit { start, reason } => self.commit(&start, reason).await?,
            Effect::Publish { .. } => self.publish().await?,
        }
        Ok(())
    }

    /// A write to the store that failed leaves a doubt of what is there: the next pass reads it anew.
    fn stored<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        result.inspect_err(|_| self.context.memory.forget(&self.uid))
    }

    /// Applies objects, each kind in its turn; destructured so that no kind is forgotten.
    async fn apply(&self, resources: Resources<Prepared>) -> Result<Resources<Applied>, WriteError> {
        let Resources { runs, config_maps, services, stateful_sets, deployments, jobs, stage: _ } = resources;
        let mut applied = Resources::default();
        let (writer, namespace) = (&self.context.writer, &self.namespace);
        for run in runs {
            applied.runs.push(writer.apply(namespace, &run).await?);
        }
        for config_map in config_maps {
            applied.config_maps.push(writer.apply::<ConfigMap>(namespace, &config_map).await?);
        }
        for service in services {
            applied.services.push(writer.apply::<Service>(namespace, &service).await?);
        }
        for set in stateful_sets {
            applied.stateful_sets.push(writer.apply::<StatefulSet>(namespace, &set).await?);
        }
        for deployment in deployments {
            applied.deployments.push(writer.apply::<Deployment>(namespace, &deployment).await?);
        }
        for job in jobs {
            applied.jobs.push(writer.apply::<Job>(namespace, &job).await?);
        }
        Ok(applied)
    }

    /// Starts an attempt: its inputs are drawn once and never changed, and from its Job on it does not begin again.
    async fn launch(&self, mut resources: Resources<Prepared>) -> Result<(), WriteError> {
        for config_map in std::mem::take(&mut resources.config_maps) {
            self.context.writer.create_once::<ConfigMap>(&self.namespace, &config_map).await?;
        }
        let begun = Timestamp::now().to_string();
        let runs = std::mem::take(&mut resources.runs);
        self.apply(resources).await?;
        for mut run in runs {
            run.annotations_mut().insert(labels::BEGUN.into(), begun.clone());
            self.context.writer.apply::<BenchmarkRun>(&self.namespace, &run).await?;
        }
        Ok(())
    }

    async fn stop_servers(&self, names: &[SetNames]) -> Result<(), WriteError> {
        let (writer, namespace) = (&self.context.writer, &self.namespace);
        let parameters = DeleteParams::background();
        for SetNames { servers, gateways } in names {
            if build::uses_gateways(&self.active.plan) {
                writer.delete::<Deployment>(namespace, gateways, &parameters).await?;
                writer.delete::<Service>(namespace, gateways, &parameters).await?;
            }
            writer.delete::<StatefulSet>(namespace, servers, &parameters).await?;
            writer.delete::<Service>(namespace, servers, &parameters).await?;
        }
        Ok(())
    }

    /// The reason is written before the Job is deleted, so that it is known whoever commits the attempt.
    async fn break_off(&self, name: &str, reason: &Reason) -> Result<(), WriteError> {
        let reason = serde_json::to_string(reason).expect("a reason serialises to JSON");
        let writer = &self.context.writer;
        writer.annotate::<BenchmarkRun>(&self.namespace, name, &json!({(labels::BROKEN_OFF): reason})).await?;
        writer.delete::<Job>(&self.namespace, name, &DeleteParams::foreground()).await
    }

    async fn commit(&self, start: &Start, reason: Reason) -> Result<(), PerformError> {
        let name = names::attempt(&self.active.plan.campaign, start.epoch);
        let (inputs, inputs_json) = match self.frozen_inputs(&name).await {
            Some((inputs, text)) => (Some(inputs), Some(text)),
            None => (self.inputs_without_servers(start), None),
        };
        let inputs = inputs.ok_or(PerformError::ForeignRun(name))?;
        let mut run: RunFile = empty_run_file(&inputs);
        run.validity = Validity::broken_off(reason);
        run.log_tail = self.log_tail(start.epoch).await;
        let commit = self.stored(self.store.commit_run(&run, inputs_json.as_deref()).await)?;
        self.context.memory.committed(&self.uid, Ended::of(&commit.into_committed()));
        Ok(())
    }

    /// What an attempt that was never started would have been.
    fn inputs_without_servers(&self, start: &Start) -> Option<RunInputs> {
        executor::inputs(InputsOrder {
            plan: &self.active.plan,
            plan_sha256: &self.active.plan_sha256,
            start,
            salt: String::new(),
            foreign_routers: &BTreeMap::new(),
            dataset_path: None,
            references: None,
            servers: Vec::new(),
            gateways: Vec::new(),
            parity_broken: &[],
        })
    }

    /// The inputs that an attempt was started with; none when it was never started or they were deleted.
    async fn frozen_inputs(&self, name: &str) -> Option<(RunInputs, Vec<u8>)> {
        let config_maps: Api<ConfigMap> = Api::namespaced(self.context.client.clone(), &self.namespace);
        let text = config_maps.get_opt(name).await.ok().flatten()?.data?.remove(build::INPUTS_KEY)?;
        Some((serde_json::from_str(&text).ok()?, text.into_bytes()))
    }

    /// The last lines that the attempt's load generator and servers wrote, as far as they can be had.
    async fn log_tail(&self, epoch: u64) -> Vec<String> {
        let pods: Api<Pod> = Api::namespaced(self.context.client.clone(), &self.namespace);
        let selector = format!("{}={},{}={epoch}", labels::CAMPAIGN, self.active.plan.campaign, labels::EPOCH);
        let found =
            pods.list(&ListParams::default().labels(&selector)).await.map(|list| list.items).unwrap_or_default();
        let mut tail = Vec::new();
        for pod in found {
            let name = pod.name_any();
            let parameters = LogParams { tail_lines: Some(TAIL_LINES), ..LogParams::default() };
            if let Ok(text) = pods.logs(&name, &parameters).await {
                tail.extend(text.lines().map(|line| format!("{name}: {line}")));
            }
        }
        tail
    }

    /// The store first, then the ConfigMap; the status follows with its digest.
    async fn publish(&mut self) -> Result<(), PerformError> {
        // Limits may have changed since the campaign began; what is kept is what was in force.
        let yaml = campaign_yaml(self.campaign, &self.active.plan);
        self.stored(self.store.write_campaign_yaml(&yaml).await)?;
        let published = self.stored(self.store.publish().await)?;
        let config_map = results_config_map(self.campaign, &published.summary_json, &published.summary_csv);
        let applied = self.context.writer.apply::<ConfigMap>(&self.namespace, &config_map).await?;
        self.performed.results = Some(Results {
            config_map_ref: Some(applied.name_any()),
            digest: Some(published.digest),
            store_url: Some(self.store.url()),
            headline: headline(&published.summary),
        });
        Ok(())
    }
}
