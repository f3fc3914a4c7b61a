//! Merges what several load generators measured of one plan into what one of them would have measured.

use std::num::TryFromIntError;

use crate::record::{ClientUsage, Measured, Offered, ProbeLatencies, RateChange, RequestRecord, Window};

/// Why parts are not those of one run.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// There is nothing to merge.
    #[error("merge: no part; give at least one")]
    NoPart,
    /// A request is in two parts.
    #[error("merge: request {index} is in two parts; give each part once, and each generator a share of its own")]
    Twice {
        /// Its number in the plan.
        index: usize,
    },
    /// A request is in no part, though all generators say that they sent all of theirs.
    #[error("merge: request {index} is in no part; give the parts of all {planned} requests")]
    Missing {
        /// Its number in the plan.
        index: usize,
        /// Requests that the given parts planned.
        planned: usize,
    },
    /// Some parts are of an open loop and some of a closed one, or some with a limit and some without.
    #[error("merge: the parts were offered in different ways; give the parts of one run")]
    Offered,
    /// The sum of the limits is out of range.
    #[error("merge: the limits of the parts do not add up")]
    Limit(#[source] TryFromIntError),
}

/// Clocks that agree to this are taken for the same: instants of one machine are compared without rounding.
const SAME_CLOCK_S: f64 = 1e-6;

/// Merges the parts, in any order. Instants are told on the monotonic clock of the first part; parts from other machines
/// are aligned by their Unix clocks, so that starts and ends are as true as those agree, and latencies exact.
///
/// # Errors
/// When the parts are not those of one run.
pub fn merge(parts: Vec<Measured>) -> Result<Measured, MergeError> {
    let mut parts = parts.into_iter();
    let mut whole = parts.next().ok_or(MergeError::NoPart)?;
    let reference = whole.window;
    for part in parts {
        let Measured { records, window, ended_at, offered, rate_changes, probe, client, partial } = part;
        let shift_s = shift_s(&window, &reference);
        whole.records.extend(records.into_iter().map(|record| shifted(record, shift_s)));
        whole.window = joined(&whole.window, &window, shift_s);
        whole.ended_at = whole.ended_at.max(ended_at);
        whole.offered = added(whole.offered, offered)?;
        whole.rate_changes.extend(rate_changes);
        whole.probe = both(whole.probe.take(), probe);
        let ClientUsage { cpu_share, sockets_opened } = client;
        // The busiest worker decides on the verdict, whichever machine it was on.
        whole.client.cpu_share = whole.client.cpu_share.max(cpu_share);
        whole.client.sockets_opened += sockets_opened;
        whole.partial |= partial;
    }
    whole.records.sort_unstable_by_key(|record| record.index);
    whole.rate_changes = first_of_each(whole.rate_changes);
    check(&whole)?;
    Ok(whole)
}

/// What turns instants of a part's monotonic clock into those of the reference's.
fn shift_s(part: &Window, reference: &Window) -> f64 {
    let unix_s = (i128::from(part.start_unix_ns) - i128::from(reference.start_unix_ns)) as f64 / 1e9;
    let shift_s = unix_s - (part.start_s - reference.start_s);
    if shift_s.abs() <= SAME_CLOCK_S { 0.0 } else { shift_s }
}

fn shifted(record: RequestRecord, shift_s: f64) -> RequestRecord {
    RequestRecord {
        intended_s: record.intended_s + shift_s,
        start_s: record.start_s + shift_s,
        end_s: record.end_s + shift_s,
        ..record
    }
}

fn joined(whole: &Window, part: &Window, shift_s: f64) -> Window {
    Window {
        start_s: whole.start_s.min(part.start_s + shift_s),
        end_s: whole.end_s.max(part.end_s + shift_s),
        start_unix_ns: whole.start_unix_ns.min(part.start_unix_ns),
        end_unix_ns: whole.end_unix_ns.max(part.end_unix_ns),
    }
}

fn added(whole: Offered, part: Offered) -> Result<Offered, MergeError> {
    let Offered { planned_requests, timed, max_concurrency } = part;
    let max_concurrency = match (whole.max_concurrency, max_concurrency) {
        (None, None) => None,
        (Some(of_whole), Some(of_part)) => {
            Some(u32::try_from(u64::from(of_whole) + u64::from(of_part)).map_err(MergeError::Limit)?)
        }
        _ => return Err(MergeError::Offered),
    };
    if timed != whole.timed {
        return Err(MergeError::Offered);
    }
    Ok(Offered { planned_requests: whole.planned_requests + planned_requests, timed, max_concurrency })
}

fn both(whole: Option<ProbeLatencies>, part: Option<ProbeLatencies>) -> Option<ProbeLatencies> {
    match (whole, part) {
        (Some(mut whole), Some(ProbeLatencies { latencies_s, failed })) => {
            whole.latencies_s.extend(latencies_s);
            whole.failed += failed;
            Some(whole)
        }
        (whole, part) => whole.or(part),
    }
}

/// The first generator to reach a rate has reached it for all.
fn first_of_each(mut changes: Vec<RateChange>) -> Vec<RateChange> {
    changes.sort_unstable_by_key(|change| (change.rps, change.at));
    changes.dedup_by_key(|change| change.rps);
    changes
}

fn check(whole: &Measured) -> Result<(), MergeError> {
    for pair in whole.records.windows(2) {
        if pair[0].index == pair[1].index {
            return Err(MergeError::Twice { index: pair[0].index });
        }
    }
    let planned = whole.offered.planned_requests;
    let missing = (0..planned).find(|&index| whole.records.get(index).is_none_or(|record| record.index != index));
    match missing {
        // A generator that was stopped has not sent all of its share.
        Some(index) if !whole.partial => Err(MergeError::Missing { index, planned }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
