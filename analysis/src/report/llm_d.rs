//! Runs as llm-d's benchmark reports, version 0.2: one report for each run that counts.
//!
//! The format is public: `llmdbenchmark/analysis/benchmark_report` in github.com/llm-d/llm-d-benchmark. It has no place
//! for intervals or comparisons; those stay in `summary.json`.

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use teebench_api::{
    campaign::{DatasetKind, EngineSettings},
    files::run::{RunFile, ServerRecord},
    plan::{Condition, next::ConditionId},
};

use crate::{
    metrics::{Measure, RunMetrics, Statistic},
    read::{Attempt, Campaign, StoredRun},
};

/// One report with a name for its file.
#[derive(Clone, Debug, PartialEq)]
pub struct LlmDReport {
    /// Name of a file for it, without an ending.
    pub name: String,
    /// The report.
    pub report: Value,
}

/// A report for each run that counts, in the order of campaigns and paths.
#[must_use]
pub fn llm_d_v0_2(campaigns: &[Campaign]) -> Vec<LlmDReport> {
    campaigns
        .iter()
        .flat_map(|campaign| campaign.runs.iter().filter(|run| campaign.counts(run)).map(move |run| (campaign, run)))
        .filter_map(|(campaign, run)| report(campaign, run))
        .collect()
}

fn report(campaign: &Campaign, run: &StoredRun) -> Option<LlmDReport> {
    let Attempt::Read(read) = &run.content else { return None };
    let (file, metrics) = (&read.file, read.metrics.as_ref()?);
    let id = ConditionId { experiment: run.id.experiment.clone(), condition: run.id.condition.clone() };
    let index = campaign.plan.condition_index(&id)?;
    let condition = campaign.plan.conditions.get(index)?;
    let path = run.id.attempt_path(run.attempt);
    let engine = campaign.plan.engine_for(index, &run.id.arm).unwrap_or_default();
    let stack = [engine_component(campaign, condition, file, &engine), router_component(file)];
    let report = json!({
        "version": "0.2",
        "run": {
            "uid": digest(&format!("{} {path}", campaign.plan_sha256)),
            "eid": campaign.plan_sha256,
            "time": {
                "start": file.started_at.to_string(),
                "end": file.finished_at.to_string(),
                "duration": format!("PT{:.3}S", metrics.duration_s)
            },
            "description": format!("{}: {path}", campaign.plan.campaign),
            "keywords": keywords(file)
        },
        "scenario": {"stack": stack, "load": load(condition, file, metrics)},
        "results": {
            "request_performance": {"aggregate": {
                "requests": requests(metrics),
                "latency": latency(metrics),
                "throughput": throughput(metrics)
            }},
            "observability": observability(metrics)
        }
    });
    Some(LlmDReport { name: format!("{}-{}", campaign.label(), path.replace('/', "-")), report })
}

fn keywords(file: &RunFile) -> Vec<String> {
    let mut keywords = vec!["teebench".to_owned(), format!("tee-{}", file.tee.name().to_lowercase())];
    keywords.extend(file.evidence_level.map(|level| format!("evidence-{level:?}").to_lowercase()));
    if file.simulated {
        keywords.push("simulated".to_owned());
    }
    keywords
}

const ENGINE: &str = "engine";

fn engine_component(campaign: &Campaign, condition: &Condition, file: &RunFile, engine: &EngineSettings) -> Value {
    let model = campaign.plan.model(&condition.model);
    let repository = model.map_or(condition.model.as_str(), |model| model.repository.as_str());
    let named = file.servers.iter().find_map(|server| server.engine.as_deref()).unwrap_or("unknown");
    let (tool, version) = named.split_once(' ').unwrap_or((named, "unknown"));
    let gpus: Vec<_> = file.servers.iter().flat_map(|server: &ServerRecord| &server.environment.gpus).collect();
    let standardized = match gpus.first() {
        Some(gpu) => json!({
            "kind": "inference_engine", "tool": tool, "tool_version": version, "role": "replica",
            "replicas": file.servers.len().max(1), "model": {"name": repository},
            "accelerator": {
                "model": gpu.name, "count": gpus.len(),
                "parallelism": {
                    "tp": engine.tensor_parallel_size.unwrap_or(1), "pp": engine.pipeline_parallel_size.unwrap_or(1)
                }
            }
        }),
        // Without an accelerator that is known the engine has no standard form.
        None => json!({"kind": "generic", "tool": tool, "tool_version": version, "model": repository}),
    };
    let config = serde_json::to_value(engine).unwrap_or_default();
    json!({
        "metadata": {"label": ENGINE, "cfg_id": digest(&config.to_string())},
        "standardized": standardized,
        "native": {"config": config}
    })
}

fn router_component(file: &RunFile) -> Value {
    let config = serde_json::to_value(&file.target).unwrap_or_default();
    json!({
        "metadata": {"label": format!("router-{}", file.run.router), "cfg_id": digest(&config.to_string())},
        "standardized": {"kind": "generic", "tool": "teebench", "tool_version": file.tool_version},
        "native": {"config": config}
    })
}

fn load(condition: &Condition, file: &RunFile, metrics: &RunMetrics) -> Value {
    let config = serde_json::to_value(condition).unwrap_or_default();
    let length = |set: Option<u32>, measured: Option<f64>| match set {
        Some(tokens) => json!({"distribution": "fixed", "value": tokens}),
        None => json!({"distribution": "other", "value": measured.unwrap_or(0.0)}),
    };
    let random = matches!(condition.dataset.kind(), Some(DatasetKind::Random(_) | DatasetKind::PrefixRepetition(_)));
    let mut standardized = json!({
        "tool": "teebench loadgen", "tool_version": file.tool_version,
        "source": if random { "random" } else { "sampled" },
        "input_seq_len": length(condition.input_tokens, input_tokens(metrics)),
        "output_seq_len": length(condition.output_tokens, output_tokens(metrics))
    });
    if let Some(fields) = standardized.as_object_mut() {
        let rate = condition.load.request_rate_milli.map(|milli| json!(f64::from(milli) / 1e3));
        fields.extend(rate.map(|rate| ("rate_qps".to_owned(), rate)));
        let limit = condition.load.max_concurrency.map(|limit| json!(limit));
        fields.extend(limit.map(|limit| ("concurrency".to_owned(), limit)));
    }
    json!({
        "metadata": {"cfg_id": digest(&config.to_string()), "description": condition.name},
        "standardized": standardized,
        "native": {"config": config}
    })
}

/// Mean prompt tokens of a completed request: tokens in both directions less those of outputs.
fn input_tokens(metrics: &RunMetrics) -> Option<f64> {
    let total = metrics.values.get(&Measure::TotalTokenThroughput)? * metrics.duration_s;
    (metrics.completed > 0).then(|| ((total - metrics.output_tokens as f64) / metrics.completed as f64).max(0.0))
}

fn output_tokens(metrics: &RunMetrics) -> Option<f64> {
    (metrics.completed > 0).then(|| metrics.output_tokens as f64 / metrics.completed as f64)
}

fn requests(metrics: &RunMetrics) -> Value {
    let mut requests = Map::from_iter([
        ("total".to_owned(), json!(metrics.completed + metrics.failed)),
        ("failures".to_owned(), json!(metrics.failed)),
    ]);
    let lengths = [("input_length", input_tokens(metrics)), ("output_length", output_tokens(metrics))];
    for (name, mean) in lengths {
        requests.extend(mean.map(|mean| (name.to_owned(), json!({"units": "count", "mean": mean}))));
    }
    Value::Object(requests)
}

fn latency(metrics: &RunMetrics) -> Value {
    let all = [
        ("time_to_first_token", "ms", Measure::TTFT),
        ("time_per_output_token", "ms/token", Measure::TPOT),
        ("inter_token_latency", "ms/token", Measure::ITL),
        ("request_latency", "ms", Measure::E2EL),
    ];
    let known = all.into_iter().filter_map(|(name, units, measures)| {
        let mut statistics = Map::from_iter([("units".to_owned(), json!(units))]);
        for (statistic, measure) in measures {
            let name = match statistic {
                Statistic::Mean => "mean".to_owned(),
                Statistic::Percentile(percentile) => format!("p{percentile}"),
            };
            statistics.extend(metrics.values.get(&measure).map(|value| (name, json!(value))));
        }
        // The format demands a mean.
        statistics.contains_key("mean").then(|| (name.to_owned(), Value::Object(statistics)))
    });
    Value::Object(known.collect())
}

fn throughput(metrics: &RunMetrics) -> Value {
    let input = input_tokens(metrics)
        .filter(|_| metrics.duration_s > 0.0)
        .map(|tokens| tokens * metrics.completed as f64 / metrics.duration_s);
    let of = |measure: Measure| metrics.values.get(&measure).copied();
    let all = [
        ("input_token_rate", "tokens/s", input),
        ("output_token_rate", "tokens/s", of(Measure::OutputThroughput)),
        ("total_token_rate", "tokens/s", of(Measure::TotalTokenThroughput)),
        ("request_rate", "queries/s", of(Measure::RequestThroughput)),
    ];
    let known = all
        .into_iter()
        .filter_map(|(name, units, mean)| Some((name.to_owned(), json!({"units": units, "mean": mean?}))));
    Value::Object(known.collect())
}

fn observability(metrics: &RunMetrics) -> Value {
    match metrics.values.get(&Measure::MeanPower) {
        Some(watts) => json!({"components": [{
            "component_label": ENGINE, "aggregate": {"power_consumption": {"units": "Watts", "mean": watts}}
        }]}),
        None => json!({}),
    }
}

fn digest(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}
