//! `client.json`: how well the load generator itself did, and the true figures that result files have no room for.

mod concurrency;
mod cpu;

use teebench_api::files::client::{ClientFile, ClientVerdict, Distribution};

use self::concurrency::{Concurrency, peak_output_rate, steady_state};
pub(crate) use self::cpu::CpuMeter;
use crate::record::{ClientUsage, Measured, Offered, RequestRecord};
use crate::stats;

/// Send lateness beyond which the client shapes the run: its 99th percentile in milliseconds.
const LATENESS_LIMIT_MS: f64 = 5.0;
/// Share of its core beyond which the busiest worker shapes the run.
const CPU_SHARE_LIMIT: f64 = 0.8;

/// The client's account of a run.
pub fn client_file(measured: &Measured) -> ClientFile {
    let Measured { records, window, ended_at: _, offered, rate_changes: _, probe: _, client, partial } = measured;
    let Offered { planned_requests: _, timed, max_concurrency: _ } = *offered;
    let ClientUsage { cpu_share, sockets_opened } = *client;
    let concurrency = Concurrency::of(records, window);
    let lateness_ms = if timed { distribution(records.iter().map(|record| record.lateness_s)) } else { None };
    let reasons = reasons(lateness_ms.as_ref(), cpu_share);
    let successes = || records.iter().filter(|record| record.succeeded());
    // Waiting before the start: behind other requests at the concurrency limit, or for the client itself.
    let delay_s = |record: &RequestRecord| record.start_s - record.intended_s;
    let timed_only = |values: Option<Distribution>| values.filter(|_| timed);
    ClientFile {
        schema_version: 1,
        verdict: if reasons.is_empty() { ClientVerdict::Ok } else { ClientVerdict::ClientBottleneck },
        reasons,
        window_start_unix_ns: window.start_unix_ns,
        window_end_unix_ns: window.end_unix_ns,
        send_lateness_ms: lateness_ms,
        e2el_from_intended_ms: timed_only(distribution(successes().map(|record| delay_s(record) + record.latency_s))),
        ttft_from_intended_ms: timed_only(distribution(
            successes().filter_map(|record| Some(delay_s(record) + record.ttft_s?)),
        )),
        ttft_first_chunk_ms: distribution(successes().filter_map(|record| record.ttft_first_chunk_s)),
        ttft_first_output_ms: distribution(successes().filter_map(|record| record.ttft_s)),
        peak_concurrency: concurrency.peak,
        mean_concurrency: concurrency.mean,
        peak_output_tokens_per_s: peak_output_rate(records, window),
        cpu_share,
        sockets_opened,
        steady_state: steady_state(records, window, *offered),
        partial: *partial,
        intended_start_s: intended_start_s(records, timed),
    }
}

fn reasons(lateness_ms: Option<&Distribution>, cpu_share: f64) -> Vec<String> {
    let late = lateness_ms.filter(|lateness| lateness.p99 > LATENESS_LIMIT_MS).map(|lateness| {
        format!(
            "1 % of the requests were sent {:.1} ms late or later; the limit is {LATENESS_LIMIT_MS} ms",
            lateness.p99
        )
    });
    let busy = (cpu_share > CPU_SHARE_LIMIT).then(|| {
        format!("the client used {:.0} % of a core; the limit is {:.0} %", cpu_share * 100.0, CPU_SHARE_LIMIT * 100.0)
    });
    late.into_iter().chain(busy).collect()
}

fn intended_start_s(records: &[RequestRecord], timed: bool) -> Vec<f64> {
    match records.first() {
        Some(first) if timed => records.iter().map(|record| record.intended_s - first.intended_s).collect(),
        _ => Vec::new(),
    }
}

/// Values in seconds as a distribution in milliseconds; `None` of no values.
fn distribution(values_s: impl Iterator<Item = f64>) -> Option<Distribution> {
    let sorted = stats::sorted(values_s.map(|value_s| value_s * 1000.0).collect());
    Some(Distribution {
        count: sorted.len(),
        mean: stats::mean(&sorted)?,
        p50: stats::percentile_of_sorted(&sorted, 50.0)?,
        p95: stats::percentile_of_sorted(&sorted, 95.0)?,
        p99: stats::percentile_of_sorted(&sorted, 99.0)?,
        max: *sorted.last()?,
    })
}

#[cfg(test)]
mod tests;
