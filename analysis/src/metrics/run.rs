//! All metrics of one run.

use std::collections::BTreeMap;

use teebench_api::{
    campaign::Slo,
    files::{
        client::{ClientFile, Distribution},
        energy::{EnergyFile, EnergyVerdict},
        run::ServerRecord,
    },
};

use super::{
    Measure,
    distribution::{Measured, absent, describe},
    growth::{Growth, growth},
    lock_step::lock_step,
};
use crate::read::bench::{BenchFile, Details};

/// What one run gave. A metric is in `values` or in `absent`, never in both.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunMetrics {
    /// Values in the metric's unit.
    pub values: BTreeMap<Measure, f64>,
    /// Why a metric has no value.
    pub absent: BTreeMap<Measure, String>,
    /// Requests that completed.
    pub completed: u64,
    /// Requests that did not.
    pub failed: u64,
    /// Output tokens received.
    pub output_tokens: u64,
    /// Length of the window in seconds.
    pub duration_s: f64,
    /// The run's course, of an open loop with enough requests.
    pub growth: Option<Growth>,
    /// Whether its requests ran in lock-step, of a closed loop with enough requests.
    pub lock_step: Option<bool>,
}

impl RunMetrics {
    fn record(&mut self, measured: impl IntoIterator<Item = Measured>) {
        for (measure, value) in measured {
            match value {
                Ok(value) if value.is_finite() => {
                    self.values.insert(measure, value);
                }
                Ok(_) => {
                    self.absent.insert(measure, "the value is not a number".to_owned());
                }
                Err(reason) => {
                    self.absent.insert(measure, reason);
                }
            }
        }
    }
}

/// Metrics of one run from its result file, its servers' records, the client's account and the energy file.
#[must_use]
pub fn measure_run(
    bench: &BenchFile,
    slo: Option<&Slo>,
    servers: &[ServerRecord],
    client: Option<&ClientFile>,
    energy: Option<&EnergyFile>,
) -> RunMetrics {
    let mut metrics = bench_metrics(bench, slo);
    measure_surroundings(&mut metrics, servers, client, energy);
    metrics
}

/// Adds what the servers, the client's account and the energy file tell.
pub(crate) fn measure_surroundings(
    metrics: &mut RunMetrics,
    servers: &[ServerRecord],
    client: Option<&ClientFile>,
    energy: Option<&EnergyFile>,
) {
    metrics.record(client_metrics(client));
    metrics.record([(Measure::PrefixHitRate, prefix_hit_rate(servers))]);
    metrics.record(energy_metrics(energy));
}

/// Metrics of a result file alone.
pub fn bench_metrics(bench: &BenchFile, slo: Option<&Slo>) -> RunMetrics {
    let failed = bench.failed.unwrap_or_else(|| bench.num_prompts.saturating_sub(bench.completed));
    let mut metrics = RunMetrics {
        completed: bench.completed,
        failed,
        output_tokens: bench.total_output_tokens,
        duration_s: bench.duration,
        ..RunMetrics::default()
    };
    metrics.record([
        (Measure::OutputThroughput, Ok(bench.output_throughput)),
        (Measure::TotalTokenThroughput, Ok(bench.total_token_throughput)),
        (Measure::RequestThroughput, Ok(bench.request_throughput)),
        (Measure::FailedRequests, Ok(failed as f64)),
        (Measure::Duration, Ok(bench.duration)),
    ]);
    if let Some(details) = &bench.details {
        let requests = Completed::of(details);
        metrics.record([(Measure::Goodput, goodput(bench, &requests, slo))]);
        metrics.growth = (bench.request_rate.is_some() && bench.max_concurrency.is_none())
            .then(|| growth(&requests.courses))
            .flatten();
        metrics.lock_step = bench.max_concurrency.and_then(|most| {
            let starts: Vec<f64> = requests.courses.iter().map(|(start, _)| *start).collect();
            lock_step(&starts, usize::try_from(most).ok()?)
        });
        metrics.record(requests.latencies());
    } else {
        let reason = "the result file has no figures per request (--save-detailed)";
        metrics
            .record([Measure::TTFT, Measure::ITL, Measure::TPOT, Measure::E2EL].map(|of| absent(of, reason)).concat());
        metrics.record([(Measure::Goodput, bench.request_goodput.ok_or_else(|| reason.to_owned()))]);
    }
    metrics
}

/// Latencies of the completed requests, in milliseconds.
struct Completed {
    ttfts: Vec<f64>,
    itls: Vec<f64>,
    tpots: Vec<Option<f64>>,
    latencies: Vec<f64>,
    /// (start, latency) in seconds.
    courses: Vec<(f64, f64)>,
}

impl Completed {
    fn of(details: &Details) -> Self {
        let mut completed = Self {
            ttfts: Vec::with_capacity(details.len()),
            itls: Vec::with_capacity(details.gaps_s.len()),
            tpots: Vec::with_capacity(details.len()),
            latencies: Vec::with_capacity(details.len()),
            courses: Vec::with_capacity(details.len()),
        };
        for request in details.requests().filter(|request| !request.failed) {
            let latency_s = request.latency_s;
            completed.ttfts.push(request.ttft_s * 1e3);
            completed.itls.extend(request.gaps_s.iter().map(|gap| gap * 1e3));
            completed.latencies.push(latency_s * 1e3);
            completed.tpots.push(
                (request.output_tokens > 1)
                    .then(|| (latency_s - request.ttft_s) * 1e3 / (request.output_tokens - 1) as f64),
            );
            if let Some(start) = request.start_s {
                completed.courses.push((start, latency_s));
            }
        }
        completed
    }

    fn latencies(mut self) -> Vec<Measured> {
        let requests = self.ttfts.len();
        let mut tpots: Vec<f64> = self.tpots.iter().flatten().copied().collect();
        [
            describe(&mut self.ttfts, requests, Measure::TTFT),
            describe(&mut self.itls, requests, Measure::ITL),
            describe(&mut tpots, requests, Measure::TPOT),
            describe(&mut self.latencies, requests, Measure::E2EL),
        ]
        .concat()
    }
}

fn goodput(bench: &BenchFile, requests: &Completed, slo: Option<&Slo>) -> Result<f64, String> {
    let Some(Slo { ttft_milliseconds, itl_milliseconds, e2el_milliseconds }) = slo else {
        return bench.request_goodput.ok_or_else(|| "the experiment has no service-level objective".to_owned());
    };
    let within = |value: f64, limit: &Option<u32>| limit.is_none_or(|limit| value <= f64::from(limit));
    let good = (0..requests.ttfts.len())
        .filter(|&request| {
            within(requests.ttfts[request], ttft_milliseconds)
                && within(requests.tpots[request].unwrap_or(0.0), itl_milliseconds)
                && within(requests.latencies[request], e2el_milliseconds)
        })
        .count();
    if bench.duration > 0.0 { Ok(good as f64 / bench.duration) } else { Err("the run has no duration".to_owned()) }
}

fn client_metrics(client: Option<&ClientFile>) -> [Measured; 3] {
    let missing = || "no client file".to_owned();
    let median = |of: fn(&ClientFile) -> Option<Distribution>| {
        let client = client.ok_or_else(missing)?;
        of(client).map(|found| found.p50).ok_or_else(|| "requests have no planned arrival in a closed loop".to_owned())
    };
    [
        (Measure::TtftFromIntendedP50, median(|client| client.ttft_from_intended_ms)),
        (Measure::E2elFromIntendedP50, median(|client| client.e2el_from_intended_ms)),
        (Measure::MeanConcurrency, client.map(|client| client.mean_concurrency).ok_or_else(missing)),
    ]
}

fn prefix_hit_rate(servers: &[ServerRecord]) -> Result<f64, String> {
    let counts: Option<Vec<(u64, u64)>> =
        servers.iter().map(|server| server.prefix_cache_hits.zip(server.prefix_cache_queries)).collect();
    let counts = counts.ok_or_else(|| "a server's prefix cache counters were not read".to_owned())?;
    let (hits, queries) = counts.iter().fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1));
    if queries == 0 {
        return Err("no prompt token was looked up in a prefix cache".to_owned());
    }
    Ok(100.0 * hits as f64 / queries as f64)
}

fn energy_metrics(energy: Option<&EnergyFile>) -> [Measured; 4] {
    const MEASURES: [Measure; 4] =
        [Measure::JoulesPerOutputToken, Measure::JoulesPerTotalToken, Measure::JoulesPerRequest, Measure::MeanPower];
    let Some(energy) = energy else {
        return MEASURES.map(|measure| (measure, Err("no energy file".to_owned())));
    };
    let reason = || match energy.reasons.as_slice() {
        [] => "not measured".to_owned(),
        reasons => reasons.join("; "),
    };
    // A degraded figure, on which the two methods disagree, is kept out of the numbers as an absent one is.
    let usable = matches!(energy.verdict, EnergyVerdict::Ok | EnergyVerdict::Warn);
    let value = |value: Option<f64>| value.filter(|_| usable).ok_or_else(reason);
    let power =
        energy.counter_joules.filter(|_| energy.window_seconds > 0.0).map(|joules| joules / energy.window_seconds);
    let [output, total, request, mean_power] = MEASURES;
    [
        (output, value(energy.joules_per_output_token)),
        (total, value(energy.joules_per_total_token)),
        (request, value(energy.joules_per_request)),
        (mean_power, value(power)),
    ]
}
