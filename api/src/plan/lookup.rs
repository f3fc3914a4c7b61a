//! What a plan says of a block, a run, an arm: look-ups by name and index.

use super::{
    model::{Block, Condition, DatasetFile, Plan, PlannedRun, RouterTarget, RunId},
    next::ConditionId,
    seeds,
};
use crate::campaign::{Arm, BenchmarkCampaignSpec, EngineSettings, Experiment, Model, Repetitions};

impl Plan {
    /// The arm of this name.
    #[must_use]
    pub fn arm(&self, name: &str) -> Option<&Arm> {
        self.spec.arms.iter().find(|arm| arm.name == name)
    }

    /// The model of this name.
    #[must_use]
    pub fn model(&self, name: &str) -> Option<&Model> {
        self.spec.models.iter().find(|model| model.name == name)
    }

    /// The experiment of this name.
    #[must_use]
    pub fn experiment(&self, name: &str) -> Option<&Experiment> {
        self.spec.experiments.iter().find(|experiment| experiment.name == name)
    }

    /// Index of the condition of this name.
    #[must_use]
    pub fn condition_index(&self, id: &ConditionId) -> Option<usize> {
        self.conditions.iter().position(|known| known.experiment == id.experiment && known.slug == id.condition)
    }

    /// How often a condition is repeated. `None` if there is no such condition.
    #[must_use]
    pub fn repetitions_of(&self, condition: usize) -> Option<Repetitions> {
        let experiment = self.experiment(&self.conditions.get(condition)?.experiment)?;
        Some(experiment.repetitions)
    }

    /// The engine's settings for a condition on an arm, the arm's own on top. `None` if there is no such condition.
    #[must_use]
    pub fn engine_for(&self, condition: usize, arm: &str) -> Option<EngineSettings> {
        self.conditions.get(condition).map(|condition| self.on_arm(&condition.engine, arm))
    }

    /// The engine's settings for a boot on an arm, the arm's own on top. `None` if there is no such boot.
    #[must_use]
    pub fn boot_engine_for(&self, boot: usize, arm: &str) -> Option<EngineSettings> {
        self.boots.get(boot).map(|boot| self.on_arm(&boot.engine, arm))
    }

    fn on_arm(&self, engine: &EngineSettings, arm: &str) -> EngineSettings {
        match self.arm(arm).and_then(|arm| arm.engine.as_ref()) {
            Some(own) => engine.overridden_by(own),
            None => engine.clone(),
        }
    }

    /// The name of a planned run. `None` if the block's condition is not this plan's.
    #[must_use]
    pub fn run_id(&self, block: &Block, run: &PlannedRun) -> Option<RunId> {
        self.conditions.get(block.condition).map(|condition| condition.run_id(block.repetition, run))
    }

    /// How requests reach the servers through the router of this name. A foreign router is addressed by its Service's
    /// name, as pods of the same namespace do.
    #[must_use]
    pub fn router_target(&self, router: &str) -> Option<RouterTarget> {
        let router = self.spec.routers.iter().find(|known| known.name == router)?;
        if let Some(direct) = router.direct {
            return Some(RouterTarget::Direct { max_in_flight_per_server: direct.max_in_flight_per_server });
        }
        if let Some(service) = &router.service_ref {
            return Some(RouterTarget::Foreign { url: format!("http://{}:{}", service.name, service.port) });
        }
        router.policy_ref.as_ref().and_then(|policy| self.policies.get(&policy.name)).cloned().map(RouterTarget::Policy)
    }

    /// What was found in the file of a condition's data set, if it has one that was read.
    #[must_use]
    pub fn dataset_file(&self, condition: &Condition) -> Option<&DatasetFile> {
        self.dataset_files.get(&condition.experiment)
    }

    /// Seed of the order in which the repetitions of a condition go through a data set's file, each where the one before
    /// ended. `None` if there is no such condition.
    #[must_use]
    pub fn dataset_seed(&self, condition: usize) -> Option<u64> {
        // No block has the repetition 0.
        self.conditions.get(condition).map(|known| seeds::block_seed(self.seed, &known.experiment, &known.slug, 0))
    }

    /// Servers of each arm.
    #[must_use]
    pub fn replicas(&self) -> u32 {
        replicas(&self.spec)
    }

    /// Whether the engine is the simulator.
    #[must_use]
    pub const fn simulated(&self) -> bool {
        self.spec.engine.simulator.is_some()
    }

    /// Number of planned runs.
    #[must_use]
    pub fn run_count(&self) -> usize {
        self.blocks.iter().map(|block| block.runs.len()).sum()
    }
}

impl Condition {
    /// The condition's name, whatever its index.
    #[must_use]
    pub fn id(&self) -> ConditionId {
        ConditionId { experiment: self.experiment.clone(), condition: self.slug.clone() }
    }

    /// The name of one of its runs.
    pub(super) fn run_id(&self, repetition: u32, run: &PlannedRun) -> RunId {
        RunId {
            experiment: self.experiment.clone(),
            condition: self.slug.clone(),
            arm: run.arm.clone(),
            router: run.router.clone(),
            repetition,
        }
    }

    /// Requests of each run.
    #[must_use]
    pub fn prompts(&self) -> u32 {
        self.dataset.prompts()
    }
}

/// Servers of each arm.
pub(super) fn replicas(spec: &BenchmarkCampaignSpec) -> u32 {
    let vllm = spec.engine.vllm.as_ref().map(|vllm| vllm.replicas);
    let simulator = spec.engine.simulator.as_ref().map(|simulator| simulator.replicas);
    vllm.or(simulator).unwrap_or(1)
}
