//! What a campaign's results say: `summary.json`, and what every report shows.

mod answers;
mod build;
mod cells;
mod contrasts;
mod counted;
mod format;
mod headline;
mod json;
mod model;
mod money;
mod notes;
mod parity;
mod results;
mod rules;
mod sweeps;
mod versus;

pub(crate) use self::contrasts::baseline_router;
pub use teebench_api::parity::ParityKind;

pub use self::{
    build::{sources_by_group, summarise, summarise_by},
    format::{amount, number, percent_interval, signed_percent},
    headline::{comparison, headline_text},
    model::{
        Answer, AnswerKind, ArmSummary, CampaignSummary, EvidenceCount, Note, NoteCode, Occupied, ParityRow,
        ParityValues, ReasonCount, RunEntry, RunState, Source, Summary, ValidityCounts,
    },
    results::{
        Bounds, Cell, CellMoney, CellName, ConditionSummary, Contrast, ContrastKind, Cost, CostChange, Difference,
        Drift, EffectSummary, EnergyCost, ExperimentSummary, Figures, MetricSummary, PMethod,
    },
    rules::{Electricity, Rules},
    sweeps::{Choice, KneeContrast, KneeSummary, LoadSweep, Settings, calibrations, grouped},
    versus::{Changed, ChangedEffect, Versus, VersusCell, VersusCondition},
};

/// The JSON schema of `summary.json`.
#[must_use]
pub fn schema() -> schemars::Schema {
    schemars::schema_for!(Summary)
}

impl CampaignSummary {
    /// The condition that the answers speak of.
    #[must_use]
    pub fn headline_condition(&self) -> Option<&ConditionSummary> {
        answers::headline_condition(self.headline.as_deref(), &self.experiments).map(|(_, condition)| condition)
    }
}

impl Summary {
    /// Version of the format.
    pub const SCHEMA_VERSION: u32 = 1;

    /// The file's text: equal results give equal bytes. Numbers have ten significant digits, which is more than any
    /// measurement has and keeps a campaign's summary within what a ConfigMap takes.
    #[must_use]
    pub fn to_json(&self) -> String {
        json::to_json(self)
    }
}
