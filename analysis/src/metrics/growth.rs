//! Overload inside a run: arrivals outrun completions, and latency grows with the length of the run.

/// Fewest requests over which growth is looked at: ten a quarter.
const MINIMUM_REQUESTS: usize = 40;

/// Share of the requests that must be unanswered at the last arrival before overload is considered.
const BACKLOG_SHARE: f64 = 0.1;

/// How much the backlog must grow over the second half of the arrivals. A service that keeps up has a backlog that
/// stays; one that does not doubles it.
const BACKLOG_GROWTH: f64 = 1.25;

/// How much the latency of the last quarter of requests must exceed that of the first.
const LATENCY_GROWTH: f64 = 1.25;

/// What the course of an open-loop run shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Growth {
    /// Median end-to-end latency of the last quarter of arrivals over that of the first quarter.
    pub latency_ratio: f64,
    /// Requests unanswered at half of the arrivals' time.
    pub backlog_half_way: usize,
    /// Requests unanswered at the last arrival.
    pub backlog_at_end: usize,
    /// Whether arrivals outran completions.
    pub overloaded: bool,
}

/// Looks at (start, latency) of all completed requests of an open-loop run, both in seconds, in any order; `None`
/// under 40 requests, or when all start at once.
#[must_use]
pub fn growth(requests: &[(f64, f64)]) -> Option<Growth> {
    if requests.len() < MINIMUM_REQUESTS {
        return None;
    }
    let mut requests = requests.to_vec();
    requests.sort_by(|left, right| left.0.total_cmp(&right.0));
    let (first, last) = (requests.first()?.0, requests.last()?.0);
    if last <= first {
        return None;
    }
    let backlog = |at: f64| requests.iter().filter(|(start, latency)| *start <= at && start + latency > at).count();
    let (backlog_half_way, backlog_at_end) = (backlog(f64::midpoint(first, last)), backlog(last));
    let quarter = requests.len() / 4;
    let median_latency = |part: &[(f64, f64)]| {
        let latencies: Vec<f64> = part.iter().map(|(_, latency)| *latency).collect();
        crate::stats::median(&latencies)
    };
    let early = median_latency(&requests[..quarter])?;
    let late = median_latency(&requests[requests.len() - quarter..])?;
    let latency_ratio = if early > 0.0 { late / early } else { 1.0 };
    let overloaded = backlog_at_end as f64 > BACKLOG_SHARE * requests.len() as f64
        && backlog_at_end as f64 > BACKLOG_GROWTH * backlog_half_way as f64
        && latency_ratio > LATENCY_GROWTH;
    Some(Growth { latency_ratio, backlog_half_way, backlog_at_end, overloaded })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One server that takes `service_s` for each request, arrivals evenly spaced.
    fn queue(count: u32, gap_s: f64, service_s: f64) -> Vec<(f64, f64)> {
        let mut free_at = 0.0_f64;
        (0..count)
            .map(|index| {
                let start = f64::from(index) * gap_s;
                free_at = free_at.max(start) + service_s;
                (start, free_at - start)
            })
            .collect()
    }

    #[test]
    fn arrivals_at_twice_the_capacity_are_overload() {
        let found = growth(&queue(200, 0.05, 0.1)).unwrap();
        assert!(found.overloaded, "{found:?}");
    }

    #[test]
    fn a_service_that_keeps_up_is_not_overloaded() {
        let found = growth(&queue(200, 0.1, 0.09)).unwrap();
        assert!(!found.overloaded, "{found:?}");
    }

    #[test]
    fn a_run_shorter_than_one_request_is_not_called_overload() {
        let requests: Vec<(f64, f64)> = (0..100).map(|index| (f64::from(index) * 0.001, 5.0)).collect();
        assert!(!growth(&requests).unwrap().overloaded);
    }
}
