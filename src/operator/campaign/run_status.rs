//! The status of a BenchmarkRun: where it stands, what it measured, whether it counts.

use jiff::Timestamp;
use serde::Deserialize;
use teebench_api::{
    conditions::{ConditionStatus, found, reasons, types},
    files::{
        energy::EnergyFile,
        run::{RunFile, ServerRecord, Verdict, Window},
    },
    run::{BenchmarkRunStatus, RunColumns, RunEvidence, RunMetrics, RunReason, RunResults, RunWindow},
};

/// Most reasons that a status holds.
const MOST_REASONS: usize = 16;

/// Where a run stands.
#[derive(Debug)]
pub enum RunPhase<'a> {
    /// Its servers are coming up.
    Booting(&'a str),
    /// It is executed.
    Running(&'a str),
    /// It has ended.
    Ended(Box<EndedRun>),
}

/// A run that has ended, with what the store has of it.
#[derive(Debug)]
pub struct EndedRun {
    /// `run.json`.
    pub run: RunFile,
    /// Numbers of `bench.json`; absent when nothing was measured.
    pub bench: Option<BenchNumbers>,
    /// `energy.json`; absent when nothing was measured.
    pub energy: Option<EnergyFile>,
    /// SHA-256 over the servers' evidence files in path order, in hex; absent without evidence.
    pub evidence_sha256: Option<String>,
    /// Where its files are.
    pub results: RunResults,
}

/// The numbers of a `bench.json` that a status shows. Latencies are in milliseconds, throughputs per second.
#[derive(Deserialize, Clone, Copy, Debug)]
pub struct BenchNumbers {
    completed: u32,
    failed: u32,
    total_input_tokens: i64,
    total_output_tokens: i64,
    output_throughput: f64,
    request_throughput: f64,
    median_ttft_ms: f64,
    p99_ttft_ms: f64,
    median_itl_ms: f64,
    p99_itl_ms: f64,
    median_e2el_ms: f64,
    p99_e2el_ms: f64,
}

/// The status of a run.
#[must_use]
pub fn run_status(
    previous: &BenchmarkRunStatus,
    phase: RunPhase<'_>,
    at: (Option<i64>, Timestamp),
) -> BenchmarkRunStatus {
    let conditions = |status, reason: &str, message: &str| {
        let ready = if status == ConditionStatus::True { ConditionStatus::True } else { ConditionStatus::False };
        vec![
            found(&previous.conditions, types::SUCCEEDED, status, reason, message, at),
            found(&previous.conditions, types::READY, ready, reason, message, at),
        ]
    };
    let ended = match phase {
        RunPhase::Booting(message) => {
            let conditions = conditions(ConditionStatus::Unknown, reasons::BOOTING, message);
            return BenchmarkRunStatus { conditions, ..BenchmarkRunStatus::default() };
        }
        RunPhase::Running(message) => {
            let conditions = conditions(ConditionStatus::Unknown, reasons::RUNNING, message);
            return BenchmarkRunStatus { conditions, ..BenchmarkRunStatus::default() };
        }
        RunPhase::Ended(ended) => ended,
    };
    let EndedRun { run, bench, energy, evidence_sha256, results } = *ended;
    let verdict = run.validity.validity;
    let status = if verdict == Verdict::Valid { ConditionStatus::True } else { ConditionStatus::False };
    let reason = format!("{verdict:?}");
    let why = run.validity.reasons.first().map_or("it counts", |reason| reason.message.as_str());
    BenchmarkRunStatus {
        conditions: conditions(status, &reason, why),
        window: run.window.map(run_window),
        metrics: bench.map(|bench| metrics(bench, energy.as_ref(), &run.servers)),
        columns: bench.map(|bench| columns(bench, energy.as_ref())),
        evidence: run.evidence_level.zip(evidence_sha256).map(|(level, sha256)| RunEvidence { level, sha256 }),
        validity: Some(verdict),
        reasons: run.validity.reasons.iter().take(MOST_REASONS).map(run_reason).collect(),
        results: Some(results),
    }
}

fn run_window(window: Window) -> RunWindow {
    let time =
        |unix_ns: u64| Timestamp::from_nanosecond(i128::from(unix_ns)).map(|at| at.to_string()).unwrap_or_default();
    RunWindow { start_time: time(window.start_unix_ns), end_time: time(window.end_unix_ns) }
}

fn run_reason(reason: &teebench_api::files::run::Reason) -> RunReason {
    RunReason { code: reason.code, message: reason.message.chars().take(1024).collect() }
}

fn metrics(bench: BenchNumbers, energy: Option<&EnergyFile>, servers: &[ServerRecord]) -> RunMetrics {
    let BenchNumbers {
        completed,
        failed,
        total_input_tokens,
        total_output_tokens,
        output_throughput,
        request_throughput,
        median_ttft_ms,
        p99_ttft_ms,
        median_itl_ms,
        p99_itl_ms,
        median_e2el_ms,
        p99_e2el_ms,
    } = bench;
    let microseconds = |ms: f64| whole(ms * 1e3);
    RunMetrics {
        completed_requests: completed,
        failed_requests: failed,
        input_tokens: total_input_tokens,
        output_tokens: total_output_tokens,
        output_throughput_milli: whole(output_throughput * 1e3),
        request_throughput_milli: whole(request_throughput * 1e3),
        ttft_p50_microseconds: microseconds(median_ttft_ms),
        ttft_p99_microseconds: microseconds(p99_ttft_ms),
        itl_p50_microseconds: microseconds(median_itl_ms),
        itl_p99_microseconds: microseconds(p99_itl_ms),
        e2el_p50_microseconds: microseconds(median_e2el_ms),
        e2el_p99_microseconds: microseconds(p99_e2el_ms),
        prefix_cache_hit_permille: hit_permille(servers),
        gpu_energy_millijoules: energy.and_then(|energy| energy.counter_joules).map(|joules| whole(joules * 1e3)),
        gpu_energy_per_token_microjoules: energy
            .and_then(|energy| energy.joules_per_output_token)
            .map(|joules| whole(joules * 1e6)),
    }
}

/// Rounded, within what a status may hold.
#[expect(clippy::cast_possible_truncation, reason = "the value was clamped to what fits")]
fn whole(value: f64) -> i64 {
    const MOST: f64 = 9_007_199_254_740_991.0;
    value.round().clamp(0.0, MOST) as i64
}

fn hit_permille(servers: &[ServerRecord]) -> Option<u32> {
    let sum = |count: fn(&ServerRecord) -> Option<u64>| servers.iter().map(count).sum::<Option<u64>>();
    let queries = sum(|server| server.prefix_cache_queries)?;
    let hits = sum(|server| server.prefix_cache_hits)?;
    let share = (hits * 1000 + queries / 2).checked_div(queries)?;
    u32::try_from(share).ok().map(|share| share.min(1000))
}

fn columns(bench: BenchNumbers, energy: Option<&EnergyFile>) -> RunColumns {
    let joules = energy.and_then(|energy| energy.joules_per_output_token);
    RunColumns {
        tokens_per_second: Some(format!("{:.1}", bench.output_throughput)),
        ttft_p50: Some(milliseconds(bench.median_ttft_ms)),
        joules_per_token: joules.map(|joules| format!("{joules:.3}")),
    }
}

/// Three digits are what a run can tell.
fn milliseconds(ms: f64) -> String {
    if ms < 100.0 { format!("{ms:.1} ms") } else { format!("{ms:.0} ms") }
}
