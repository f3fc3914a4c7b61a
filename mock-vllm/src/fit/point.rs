//! One measured load and its figures, measured or simulated.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::closed_loop::{Served, closed_loop};
use crate::engine::{Engine, EngineConfig, StepCost};

/// Measurements of one model on one GPU, as `fit/extract.py` writes them.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MeasuredPoints {
    /// How they were made.
    pub source: String,
    /// `--max-num-seqs` of the server.
    pub max_num_seqs: u32,
    /// `--max-num-batched-tokens` of the server.
    pub max_num_batched_tokens: u32,
    /// The points.
    pub points: Vec<Point>,
}

impl MeasuredPoints {
    /// Settings of the server that was measured, with a KV pool that no point exhausts, and without a prefix cache: no
    /// random prompt would find anything in it.
    #[must_use]
    pub fn config(&self) -> EngineConfig {
        EngineConfig {
            max_num_seqs: self.max_num_seqs,
            max_num_batched_tokens: self.max_num_batched_tokens,
            max_model_len: 16_384,
            num_gpu_blocks: 50_000,
            enable_prefix_caching: false,
            enforce_eager: false,
        }
    }

    /// The points in five folds that span the loads: a fold has each prompt length at another concurrency. No figure
    /// has a say in the division.
    #[must_use]
    pub fn folds(&self) -> [Vec<&Point>; 5] {
        let rank = |value: usize, of: fn(&Point) -> usize| {
            let lesser: BTreeSet<usize> = self.points.iter().map(of).filter(|other| *other < value).collect();
            lesser.len()
        };
        let mut folds: [Vec<&Point>; 5] = Default::default();
        for point in &self.points {
            let concurrency = rank(point.concurrency, |point| point.concurrency);
            let input_tokens = rank(point.input_tokens, |point| point.input_tokens);
            folds[(concurrency + input_tokens) % 5].push(point);
        }
        folds
    }
}

/// A closed loop that was measured.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Point {
    /// Requests in flight.
    pub concurrency: usize,
    /// Tokens of each prompt.
    pub input_tokens: usize,
    /// Tokens of each answer.
    pub output_tokens: u32,
    /// First dispatch to last completion, in seconds.
    pub duration_s: f64,
    /// Percentiles of the gaps between tokens, pooled over the requests, in milliseconds.
    pub itl_ms: Percentiles,
    /// When each request was sent, in milliseconds since the first.
    pub start_ms: Vec<f64>,
    /// Time to the first token of each request, in milliseconds.
    pub ttft_ms: Vec<f64>,
    /// Time to the last token of each request, in milliseconds.
    pub latency_ms: Vec<f64>,
}

/// Percentiles in milliseconds.
#[derive(Clone, Copy, PartialEq, Debug, Deserialize)]
pub struct Percentiles {
    /// 25th.
    pub p25: f64,
    /// Median.
    pub p50: f64,
    /// 75th.
    pub p75: f64,
    /// 95th.
    pub p95: f64,
    /// 99th.
    pub p99: f64,
}

/// What a load amounts to.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// Output tokens a second.
    pub output_throughput: f64,
    /// Median time to the first token, in milliseconds.
    pub median_ttft_ms: f64,
    /// Median gap between tokens, in milliseconds.
    pub median_itl_ms: f64,
}

impl Figures {
    /// The figures with their names.
    #[must_use]
    pub fn named(&self) -> [(&'static str, f64); 3] {
        let Self { output_throughput, median_ttft_ms, median_itl_ms } = *self;
        [("throughput", output_throughput), ("TTFT", median_ttft_ms), ("ITL", median_itl_ms)]
    }
}

impl Point {
    /// The point's name, as its file had it.
    #[must_use]
    pub fn name(&self) -> String {
        format!("c{}_i{}_o{}", self.concurrency, self.input_tokens, self.output_tokens)
    }

    /// What was measured.
    #[must_use]
    pub fn measured(&self) -> Figures {
        let output_tokens = self.ttft_ms.len() as f64 * f64::from(self.output_tokens);
        Figures {
            output_throughput: output_tokens / self.duration_s,
            median_ttft_ms: median(self.ttft_ms.clone()),
            median_itl_ms: self.itl_ms.p50,
        }
    }

    /// What an engine with this cost gives for the same load; `None` when its settings do not take it.
    #[must_use]
    pub fn simulated(&self, config: EngineConfig, cost: StepCost) -> Option<Figures> {
        let engine = Engine::new(config, cost).ok()?;
        let requests = self.ttft_ms.len();
        let served = closed_loop(engine, self.concurrency, requests, self.input_tokens, self.output_tokens).ok()?;
        let last = served.iter().filter_map(|request| request.tokens.last()).max()?;
        Some(Figures {
            output_throughput: requests as f64 * f64::from(self.output_tokens) / last.as_secs_f64(),
            median_ttft_ms: median(served.iter().filter_map(Served::ttft_ms).collect()),
            median_itl_ms: median(served.iter().flat_map(Served::itls_ms).collect()),
        })
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) }
}
