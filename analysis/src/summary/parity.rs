//! What the arms' machines are, side by side, and what a difference means.

use std::collections::BTreeSet;

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
    let arms: Vec<ParityValues> = arms
        .iter()
        .map(|arm| {
            let values: BTreeSet<String> = runs
                .iter()
                .filter(|run| run.id.arm == *arm)
                .flat_map(|run| &run.file.servers)
                .map(|server| (property.read)(&facts(server)).unwrap_or_else(|| UNKNOWN.to_owned()))
                .collect();
            ParityValues { arm: arm.clone(), values: values.into_iter().collect() }
        })
        .collect();
    if arms.iter().flat_map(|arm| &arm.values).all(|value| value == UNKNOWN) {
        return None;
    }
    // An arm without a valid run does not differ: nothing is known of it.
    let told: BTreeSet<&Vec<String>> = arms.iter().map(|arm| &arm.values).filter(|values| !values.is_empty()).collect();
    let factor = spec.comparison.map(|comparison| comparison.factor).unwrap_or_default();
    Some(ParityRow {
        property: property.name.to_owned(),
        kind: property.kind(factor, &spec.parity.allow),
        differs: told.len() > 1,
        arms,
    })
}

/// In what the rows say that the arms differ, of that which breaks the comparison.
pub fn broken(rows: &[ParityRow]) -> Vec<String> {
    rows.iter().filter(|row| row.differs && row.kind == ParityKind::Breaks).map(|row| row.property.clone()).collect()
}
