//! How many requests were truly in flight, and what was received when.

use teebench_api::files::client::SteadyState;

use crate::record::{Offered, RequestRecord, Window};

/// Bins of one second: the busiest second is found to the millisecond.
const BINS_PER_SECOND: usize = 1000;

/// Requests in flight over the window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Concurrency {
    pub(super) peak: u32,
    pub(super) mean: f64,
}

impl Concurrency {
    pub(super) fn of(records: &[RequestRecord], window: &Window) -> Concurrency {
        let busy_s: f64 = records.iter().map(|record| record.end_s - record.start_s).sum();
        let duration_s = window.duration_s();
        Concurrency {
            peak: levels(records).map(|(_, level)| level).max().unwrap_or(0),
            mean: if duration_s > 0.0 { busy_s / duration_s } else { 0.0 },
        }
    }
}

/// The number in flight after each start and end, in order of time; an end comes before a start at the same instant.
fn levels(records: &[RequestRecord]) -> impl Iterator<Item = (f64, u32)> {
    // An exchange that took no measurable time was never in flight with another.
    let lasting = records.iter().filter(|record| record.end_s > record.start_s);
    let mut events: Vec<(f64, bool)> =
        lasting.flat_map(|record| [(record.start_s, true), (record.end_s, false)]).collect();
    events.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    events.into_iter().scan(0_u32, |level, (instant_s, begins)| {
        *level = if begins { *level + 1 } else { *level - 1 };
        Some((instant_s, *level))
    })
}

/// Most output tokens received within any second, aligned or not; a chunk counts as its share of its request's tokens.
pub(super) fn peak_output_rate(records: &[RequestRecord], window: &Window) -> f64 {
    let bins = (window.duration_s() * BINS_PER_SECOND as f64) as usize + 1;
    let mut received = vec![0.0_f64; bins];
    for record in records {
        for_each_output(record, |instant_s, tokens| {
            let bin = ((instant_s - window.start_s) * BINS_PER_SECOND as f64) as usize;
            received[bin.min(bins - 1)] += tokens;
        });
    }
    let (mut within, mut peak) = (0.0_f64, 0.0_f64);
    for (bin, tokens) in received.iter().enumerate() {
        within += tokens;
        if let Some(left) = bin.checked_sub(BINS_PER_SECOND) {
            within -= received[left];
        }
        peak = peak.max(within);
    }
    peak
}

/// The part of a closed loop between reaching its limit and the last start; `None` if there is no such part.
pub(super) fn steady_state(records: &[RequestRecord], window: &Window, offered: Offered) -> Option<SteadyState> {
    let target = offered.max_concurrency?;
    let (reached_s, _) = levels(records).find(|&(_, level)| level >= target)?;
    let last_start_s = records.iter().map(|record| record.start_s).max_by(f64::total_cmp)?;
    let duration_s = last_start_s - reached_s;
    if duration_s <= 0.0 {
        return None;
    }
    let within = |instant_s: f64| (reached_s..last_start_s).contains(&instant_s);
    let completed = records.iter().filter(|record| record.succeeded() && within(record.end_s)).count();
    let mut tokens_received = 0.0;
    for record in records {
        for_each_output(record, |instant_s, tokens| tokens_received += if within(instant_s) { tokens } else { 0.0 });
    }
    Some(SteadyState {
        start_s: reached_s - window.start_s,
        end_s: last_start_s - window.start_s,
        request_throughput: completed as f64 / duration_s,
        output_throughput: tokens_received / duration_s,
    })
}

/// Calls `visit` with the instant of each chunk of output and the tokens it stands for; failures have none.
fn for_each_output(record: &RequestRecord, mut visit: impl FnMut(f64, f64)) {
    let Some(ttft_s) = record.ttft_s.filter(|_| record.succeeded()) else { return };
    let tokens = record.output_tokens() as f64 / record.output_chunks() as f64;
    let mut instant_s = record.start_s + ttft_s;
    visit(instant_s, tokens);
    for itl_s in &record.itls_s {
        instant_s += itl_s;
        visit(instant_s, tokens);
    }
}
