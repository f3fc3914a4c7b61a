//! What the arms' machines are, side by side, and what a difference means.

use std::collections::{BTreeMap, BTreeSet};

use teebench_api::{
    campaign::BenchmarkCampaignSpec,
    files::run::ServerRecord,
    parity::{PROPERTIES, Property, ServerFacts},
};

use super::{ParityKind, ParityRow, ParityValues, counted::CountedRun};

/// What a server has where it does not tell and another one does.
const UNKNOWN: &str = "unknown";

fn facts(server: &ServerRecord) -> ServerFacts<'_> {
    ServerFacts {
        engine: server.engine.as_deref(),
        num_gpu_blocks: server.num_gpu_blocks,
        flags_sha256: server.flags_sha256.as_deref(),
        weights: server.weights.as_deref(),
        environment: &server.environment,
    }
}

/// Compares the machines of `arms` over the given runs. Properties that no server tells are left out.
pub fn rows(spec: &BenchmarkCampaignSpec, arms: &[String], runs: &[CountedRun<'_>]) -> Vec<ParityRow> {
    PROPERTIES.iter().filter_map(|property| row(spec, arms, runs, property)).collect()
}

fn row(
    spec: &BenchmarkCampaignSpec,
    arms: &[String],
    runs: &[CountedRun<'_>],
    property: &Property,
) -> Option<ParityRow> {
    let mut seen: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let mut by_condition: BTreeMap<(&str, &str), BTreeMap<&str, BTreeSet<String>>> = BTreeMap::new();
    for run in runs.iter().filter(|run| arms.contains(&run.id.arm)) {
        let values = run.file.servers.iter();
        let values: BTreeSet<String> =
            values.map(|server| (property.read)(&facts(server)).unwrap_or_else(|| UNKNOWN.to_owned())).collect();
        let condition = by_condition.entry((run.id.experiment.as_str(), run.id.condition.as_str())).or_default();
        condition.entry(run.id.arm.as_str()).or_default().extend(values.iter().cloned());
        seen.entry(run.id.arm.as_str()).or_default().extend(values);
    }
    if seen.values().flatten().all(|value| value == UNKNOWN) {
        return None;
    }
    // Conditions may need other engines, and not each arm has each condition: arms are held side by side within one.
    // An arm without a valid run in it does not differ: nothing is known of it.
    let differs = by_condition.values().any(|arms| {
        let told: BTreeSet<&BTreeSet<String>> = arms.values().filter(|values| !values.is_empty()).collect();
        told.len() > 1
    });
    let values = |arm: &String| seen.get(arm.as_str()).into_iter().flatten().cloned().collect();
    let arms = arms.iter().map(|arm| ParityValues { arm: arm.clone(), values: values(arm) }).collect();
    let factor = spec.comparison.map(|comparison| comparison.factor).unwrap_or_default();
    Some(ParityRow {
        property: property.name.to_owned(),
        kind: property.kind(factor, &spec.parity.allow),
        differs,
        arms,
    })
}

/// In what the rows say that the arms differ, of that which breaks the comparison.
pub fn broken(rows: &[ParityRow]) -> Vec<String> {
    rows.iter().filter(|row| row.differs && row.kind == ParityKind::Breaks).map(|row| row.property.clone()).collect()
}
