//! The parts of llm-d's benchmark report 0.2 that are written here, as its public schema has them: no field but these,
//! and each with its units. Written from the schema `br_v0_2_json_schema.json` of github.com/llm-d/llm-d-benchmark.

#![allow(dead_code, reason = "fields are there to be demanded")]
#![allow(clippy::enum_variant_names, reason = "names are the format's")]

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    version: String,
    run: Run,
    scenario: Scenario,
    results: Results,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Run {
    uid: String,
    eid: Option<String>,
    time: Option<Time>,
    description: Option<String>,
    keywords: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Time {
    start: Option<Timestamp>,
    end: Option<Timestamp>,
    duration: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenario {
    stack: Vec<Component>,
    load: Load,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Component {
    metadata: Metadata,
    standardized: Standardized,
    native: Native,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    label: String,
    cfg_id: String,
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Standardized {
    InferenceEngine(Engine),
    Generic { tool: String, tool_version: String },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Engine {
    tool: String,
    tool_version: String,
    role: Role,
    replicas: u32,
    model: Model,
    accelerator: Accelerator,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Role {
    Replica,
    Prefill,
    Decode,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Model {
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Accelerator {
    model: String,
    count: u32,
    parallelism: Parallelism,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parallelism {
    tp: u32,
    pp: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Native {
    config: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Load {
    metadata: LoadMetadata,
    standardized: LoadStandardized,
    native: Native,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LoadMetadata {
    cfg_id: Option<String>,
    description: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LoadStandardized {
    tool: String,
    tool_version: String,
    source: Source,
    input_seq_len: Length,
    output_seq_len: Option<Length>,
    rate_qps: Option<f64>,
    concurrency: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Source {
    Random,
    Sampled,
    Unknown,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Length {
    distribution: Distribution,
    value: f64,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Distribution {
    Fixed,
    Gaussian,
    Uniform,
    Other,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Results {
    request_performance: Performance,
    observability: Observability,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Performance {
    aggregate: Aggregate,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Aggregate {
    requests: Requests,
    latency: BTreeMap<Latency, Statistics>,
    throughput: BTreeMap<Throughput, Statistics>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Requests {
    total: u64,
    failures: Option<u64>,
    input_length: Option<Statistics>,
    output_length: Option<Statistics>,
}

#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "snake_case")]
enum Latency {
    TimeToFirstToken,
    NormalizedTimePerOutputToken,
    TimePerOutputToken,
    InterTokenLatency,
    RequestLatency,
}

#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "snake_case")]
enum Throughput {
    InputTokenRate,
    OutputTokenRate,
    TotalTokenRate,
    RequestRate,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Statistics {
    units: String,
    mean: f64,
    p50: Option<f64>,
    p95: Option<f64>,
    p99: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Observability {
    components: Option<Vec<Observed>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Observed {
    component_label: String,
    aggregate: BTreeMap<String, Statistics>,
}

impl Report {
    /// Holds the rules that types cannot: units, and labels that lead to a component.
    pub fn check(&self) {
        assert_eq!(self.version, "0.2");
        let labels: Vec<&str> = self.scenario.stack.iter().map(|each| each.metadata.label.as_str()).collect();
        let performance = &self.results.request_performance.aggregate;
        assert_eq!(performance.latency.len(), 4);
        for (name, statistics) in &performance.latency {
            let units = match name {
                Latency::TimeToFirstToken | Latency::RequestLatency => "ms",
                _ => "ms/token",
            };
            assert_eq!(statistics.units, units);
            assert!(statistics.mean > 0.0 && statistics.p50.is_some());
        }
        assert_eq!(performance.throughput.len(), 4);
        for (name, statistics) in &performance.throughput {
            let units = if *name == Throughput::RequestRate { "queries/s" } else { "tokens/s" };
            assert_eq!(statistics.units, units);
        }
        for observed in self.results.observability.components.iter().flatten() {
            assert!(labels.contains(&observed.component_label.as_str()), "{}", observed.component_label);
            assert_eq!(observed.aggregate["power_consumption"].units, "Watts");
        }
        let input = performance.requests.input_length.as_ref().unwrap();
        assert_eq!((input.units.as_str(), input.mean.round()), ("count", 1500.0));
    }
}
