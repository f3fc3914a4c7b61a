//! The metrics that are known, with unit, meaning and the direction that is better.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A metric of one run. Latencies cover completed requests only.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each metric's definition is its `definition`, which the report prints")]
pub enum Measure {
    OutputThroughput,
    TotalTokenThroughput,
    RequestThroughput,
    Goodput,
    TtftMean,
    TtftP50,
    TtftP95,
    TtftP99,
    ItlMean,
    ItlP50,
    ItlP95,
    ItlP99,
    TpotMean,
    TpotP50,
    TpotP95,
    TpotP99,
    E2elMean,
    E2elP50,
    E2elP95,
    E2elP99,
    TtftFromIntendedP50,
    E2elFromIntendedP50,
    MeanConcurrency,
    PrefixHitRate,
    JoulesPerOutputToken,
    JoulesPerTotalToken,
    JoulesPerRequest,
    MeanPower,
    FailedRequests,
    Duration,
}

/// A statistic over the requests of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistic {
    /// Arithmetic mean.
    Mean,
    /// A percentile.
    Percentile(u32),
}

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// More is better.
    Higher,
    /// Less is better.
    Lower,
    /// Neither: a circumstance.
    Neutral,
}

/// The statistics of each latency.
const STATISTICS: [Statistic; 4] =
    [Statistic::Mean, Statistic::Percentile(50), Statistic::Percentile(95), Statistic::Percentile(99)];

impl Measure {
    /// All metrics, in the order in which they are shown.
    pub const ALL: [Self; 30] = [
        Self::OutputThroughput,
        Self::TotalTokenThroughput,
        Self::RequestThroughput,
        Self::Goodput,
        Self::TtftMean,
        Self::TtftP50,
        Self::TtftP95,
        Self::TtftP99,
        Self::ItlMean,
        Self::ItlP50,
        Self::ItlP95,
        Self::ItlP99,
        Self::TpotMean,
        Self::TpotP50,
        Self::TpotP95,
        Self::TpotP99,
        Self::E2elMean,
        Self::E2elP50,
        Self::E2elP95,
        Self::E2elP99,
        Self::TtftFromIntendedP50,
        Self::E2elFromIntendedP50,
        Self::MeanConcurrency,
        Self::PrefixHitRate,
        Self::JoulesPerOutputToken,
        Self::JoulesPerTotalToken,
        Self::JoulesPerRequest,
        Self::MeanPower,
        Self::FailedRequests,
        Self::Duration,
    ];

    /// The four that lead every report: what a user of the service feels.
    pub const LEADING: [Self; 4] = [Self::OutputThroughput, Self::TtftP50, Self::ItlP50, Self::E2elP50];

    /// Time to first token, by statistic.
    pub const TTFT: [(Statistic, Self); 4] =
        by_statistic([Self::TtftMean, Self::TtftP50, Self::TtftP95, Self::TtftP99]);
    /// Inter-token latency, by statistic.
    pub const ITL: [(Statistic, Self); 4] = by_statistic([Self::ItlMean, Self::ItlP50, Self::ItlP95, Self::ItlP99]);
    /// Time per output token, by statistic.
    pub const TPOT: [(Statistic, Self); 4] =
        by_statistic([Self::TpotMean, Self::TpotP50, Self::TpotP95, Self::TpotP99]);
    /// End-to-end latency, by statistic.
    pub const E2EL: [(Statistic, Self); 4] =
        by_statistic([Self::E2elMean, Self::E2elP50, Self::E2elP95, Self::E2elP99]);

    /// The name in files.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::OutputThroughput => "output_throughput",
            Self::TotalTokenThroughput => "total_token_throughput",
            Self::RequestThroughput => "request_throughput",
            Self::Goodput => "goodput",
            Self::TtftMean => "ttft_mean",
            Self::TtftP50 => "ttft_p50",
            Self::TtftP95 => "ttft_p95",
            Self::TtftP99 => "ttft_p99",
            Self::ItlMean => "itl_mean",
            Self::ItlP50 => "itl_p50",
            Self::ItlP95 => "itl_p95",
            Self::ItlP99 => "itl_p99",
            Self::TpotMean => "tpot_mean",
            Self::TpotP50 => "tpot_p50",
            Self::TpotP95 => "tpot_p95",
            Self::TpotP99 => "tpot_p99",
            Self::E2elMean => "e2el_mean",
            Self::E2elP50 => "e2el_p50",
            Self::E2elP95 => "e2el_p95",
            Self::E2elP99 => "e2el_p99",
            Self::TtftFromIntendedP50 => "ttft_from_intended_p50",
            Self::E2elFromIntendedP50 => "e2el_from_intended_p50",
            Self::MeanConcurrency => "mean_concurrency",
            Self::PrefixHitRate => "prefix_hit_rate",
            Self::JoulesPerOutputToken => "joules_per_output_token",
            Self::JoulesPerTotalToken => "joules_per_total_token",
            Self::JoulesPerRequest => "joules_per_request",
            Self::MeanPower => "mean_power",
            Self::FailedRequests => "failed_requests",
            Self::Duration => "duration",
        }
    }

    /// The name for people.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::OutputThroughput => "output throughput",
            Self::TotalTokenThroughput => "total token throughput",
            Self::RequestThroughput => "request throughput",
            Self::Goodput => "goodput",
            Self::TtftMean => "mean TTFT",
            Self::TtftP50 => "median TTFT",
            Self::TtftP95 => "p95 TTFT",
            Self::TtftP99 => "p99 TTFT",
            Self::ItlMean => "mean ITL",
            Self::ItlP50 => "median ITL",
            Self::ItlP95 => "p95 ITL",
            Self::ItlP99 => "p99 ITL",
            Self::TpotMean => "mean TPOT",
            Self::TpotP50 => "median TPOT",
            Self::TpotP95 => "p95 TPOT",
            Self::TpotP99 => "p99 TPOT",
            Self::E2elMean => "mean E2E latency",
            Self::E2elP50 => "median E2E latency",
            Self::E2elP95 => "p95 E2E latency",
            Self::E2elP99 => "p99 E2E latency",
            Self::TtftFromIntendedP50 => "median TTFT from the planned arrival",
            Self::E2elFromIntendedP50 => "median E2E latency from the planned arrival",
            Self::MeanConcurrency => "mean concurrency",
            Self::PrefixHitRate => "prefix cache hit rate",
            Self::JoulesPerOutputToken => "energy per output token",
            Self::JoulesPerTotalToken => "energy per token",
            Self::JoulesPerRequest => "energy per request",
            Self::MeanPower => "mean GPU power",
            Self::FailedRequests => "failed requests",
            Self::Duration => "duration",
        }
    }

    /// The unit; empty for counts.
    #[must_use]
    pub const fn unit(self) -> &'static str {
        match self {
            Self::OutputThroughput | Self::TotalTokenThroughput => "tok/s",
            Self::RequestThroughput | Self::Goodput => "req/s",
            Self::TtftMean
            | Self::TtftP50
            | Self::TtftP95
            | Self::TtftP99
            | Self::ItlMean
            | Self::ItlP50
            | Self::ItlP95
            | Self::ItlP99
            | Self::TpotMean
            | Self::TpotP50
            | Self::TpotP95
            | Self::TpotP99
            | Self::E2elMean
            | Self::E2elP50
            | Self::E2elP95
            | Self::E2elP99
            | Self::TtftFromIntendedP50
            | Self::E2elFromIntendedP50 => "ms",
            Self::MeanConcurrency => "requests",
            Self::PrefixHitRate => "%",
            Self::JoulesPerOutputToken | Self::JoulesPerTotalToken => "J/token",
            Self::JoulesPerRequest => "J/request",
            Self::MeanPower => "W",
            Self::FailedRequests => "",
            Self::Duration => "s",
        }
    }

    /// What exactly is counted.
    #[must_use]
    pub const fn definition(self) -> &'static str {
        match self {
            Self::OutputThroughput => "output tokens of completed requests over the duration",
            Self::TotalTokenThroughput => "prompt and output tokens of completed requests over the duration",
            Self::RequestThroughput => "completed requests over the duration",
            Self::Goodput => "completed requests that meet every service-level objective, over the duration",
            Self::TtftMean | Self::TtftP50 | Self::TtftP95 | Self::TtftP99 => {
                "from sending a request to its first chunk that carries output"
            }
            Self::ItlMean | Self::ItlP50 | Self::ItlP95 | Self::ItlP99 => {
                "between two consecutive chunks of a request, all chunks of a run together"
            }
            Self::TpotMean | Self::TpotP50 | Self::TpotP95 | Self::TpotP99 => {
                "a request's time after its first token over its further tokens"
            }
            Self::E2elMean | Self::E2elP50 | Self::E2elP95 | Self::E2elP99 => {
                "from sending a request to its last chunk"
            }
            Self::TtftFromIntendedP50 | Self::E2elFromIntendedP50 => {
                "the same latency from when the request was to be sent: what a late send hides (open loop only)"
            }
            Self::MeanConcurrency => "requests in flight, averaged over the window",
            Self::PrefixHitRate => {
                "prompt tokens found in a server's prefix cache over those looked up, all servers together, in the window"
            }
            Self::JoulesPerOutputToken => "gross energy of the GPU boards in the window over output tokens",
            Self::JoulesPerTotalToken => "gross energy of the GPU boards in the window over prompt and output tokens",
            Self::JoulesPerRequest => "gross energy of the GPU boards in the window over completed requests",
            Self::MeanPower => "gross energy of the GPU boards over the window's length",
            Self::FailedRequests => "requests without a complete answer",
            Self::Duration => "first send to last completion, failed requests too",
        }
    }

    /// Which way is better.
    #[must_use]
    pub const fn direction(self) -> Direction {
        match self {
            Self::OutputThroughput
            | Self::TotalTokenThroughput
            | Self::RequestThroughput
            | Self::Goodput
            | Self::PrefixHitRate => Direction::Higher,
            Self::MeanConcurrency | Self::MeanPower | Self::Duration => Direction::Neutral,
            _ => Direction::Lower,
        }
    }

    /// Whether two cells are compared by the ratio of this metric. Counts and shares, which may be zero, are not.
    #[must_use]
    pub const fn is_compared(self) -> bool {
        !matches!(self, Self::MeanConcurrency | Self::PrefixHitRate | Self::FailedRequests | Self::Duration)
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.title())
    }
}

const fn by_statistic(measures: [Measure; 4]) -> [(Statistic, Measure); 4] {
    let [mean, p50, p95, p99] = measures;
    [(STATISTICS[0], mean), (STATISTICS[1], p50), (STATISTICS[2], p95), (STATISTICS[3], p99)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_listed_once_and_named_as_in_files() {
        for measure in Measure::ALL {
            assert_eq!(serde_json::to_value(measure).unwrap(), measure.key());
            assert_eq!(Measure::ALL.iter().filter(|other| **other == measure).count(), 1);
        }
    }
}
