//! ToolBench-like prompts, generated without a network: one system prompt for all, a block for each tool, a query.
//!
//! The shape is that of the ToolBench prompts of PlanetServe's evaluation: an agent's fixed instructions, the
//! documentation of the one tool it may use, and a user's request; tools are as popular as Zipf's law has it.

mod popularity;
mod text;

use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, LogNormal};
use teebench_api::campaign::dataset::{Reuse, ToolbenchDataset};

use self::popularity::Popularity;
use super::tokens::BYTES_PER_TOKEN;
use super::{DatasetError, PlannedRequest, Prompt, RequestSource};
use crate::seed::stream;

/// Mean length of a tool's block in tokens, over all tools and over all requests.
const BLOCK_MEAN_TOKENS: f64 = 1_100.0;
/// Bounds of a block's length in tokens.
const BLOCK_TOKENS: (f64, f64) = (150.0, 3_500.0);
/// Standard deviation of the logarithm of a block's length: 5 % of the tools are longer than 2,500 tokens.
const BLOCK_LOG_DEVIATION: f64 = 0.6;
/// Bounds of a query's length in tokens.
const QUERY_TOKENS: (usize, usize) = (60, 200);
/// Orders of the tools that are tried for one in which popular tools are not longer than others.
const ORDERS_TRIED: usize = 64;

/// Generated ToolBench-like prompts.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolbenchSpec {
    /// Requests.
    pub prompts: usize,
    /// Tools, each with a block of its own.
    pub tools: usize,
    /// Exponent of their popularity: the tool of rank k is asked for with weight k^-exponent.
    pub zipf_exponent: f64,
    /// What prompts share.
    pub reuse: Reuse,
    /// Share of prompts that repeat an earlier one exactly, from 0 to 1.
    pub exact_duplicates: f64,
    /// Cap of the output in tokens.
    pub output_tokens: u32,
}

impl ToolbenchSpec {
    pub(super) fn of_campaign(dataset: &ToolbenchDataset, output_tokens: u32) -> ToolbenchSpec {
        let ToolbenchDataset { prompts, tools, zipf_exponent_milli, reuse, exact_duplicates_permille } = dataset;
        ToolbenchSpec {
            prompts: *prompts as usize,
            tools: *tools as usize,
            zipf_exponent: f64::from(*zipf_exponent_milli) / 1000.0,
            reuse: *reuse,
            exact_duplicates: f64::from(*exact_duplicates_permille) / 1000.0,
            output_tokens,
        }
    }
}

/// The requests of a [`ToolbenchSpec`].
#[derive(Clone, Debug)]
pub struct ToolbenchSource {
    seed: u64,
    reuse: Reuse,
    output_tokens: u32,
    /// Length of each tool's block in tokens, by rank of popularity.
    block_tokens: Vec<u32>,
    draws: Vec<Draw>,
}

/// What one prompt is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Draw {
    /// Rank of its tool, from 0.
    tool: u32,
    /// The request whose query it has: its own, or that of the one it repeats.
    query: u32,
}

impl ToolbenchSource {
    /// Requests that depend on nothing but these.
    pub fn new(spec: &ToolbenchSpec, seed: u64) -> ToolbenchSource {
        let ToolbenchSpec { prompts, tools, zipf_exponent, reuse, exact_duplicates, output_tokens } = *spec;
        let popularity = Popularity::zipf(tools, zipf_exponent);
        // Independent draws come in no order, as if a drawn list had been shuffled.
        let mut rng = stream("toolbench draws", seed, 0);
        let mut draws: Vec<Draw> = Vec::with_capacity(prompts);
        for index in 0..prompts {
            let repeats = index > 0 && rng.random::<f64>() < exact_duplicates;
            let draw = if repeats {
                draws[rng.random_range(0..index)]
            } else {
                Draw { tool: popularity.draw(&mut rng) as u32, query: index as u32 }
            };
            draws.push(draw);
        }
        ToolbenchSource { seed, reuse, output_tokens, block_tokens: draw_block_tokens(&popularity, seed), draws }
    }

    fn text(&self, draw: Draw) -> String {
        let Draw { tool, query } = draw;
        let mut query_rng = stream("toolbench query", self.seed, query.into());
        let query_bytes = query_rng.random_range(QUERY_TOKENS.0..=QUERY_TOKENS.1) * BYTES_PER_TOKEN;
        let mut text = match self.reuse {
            Reuse::Tools => {
                let block_bytes = self.block_tokens[tool as usize] as usize * BYTES_PER_TOKEN;
                let mut text = String::with_capacity(text::SYSTEM_PROMPT.len() + block_bytes + query_bytes);
                text.push_str(text::SYSTEM_PROMPT);
                text::append_block(&mut text, block_bytes, &mut stream("toolbench block", self.seed, tool.into()));
                text
            }
            Reuse::None => {
                let mut rng = stream("toolbench unshared", self.seed, query.into());
                let mut text = text::unshared_system_prompt(&mut rng);
                let block_bytes = block_tokens(&mut rng) as usize * BYTES_PER_TOKEN;
                text::append_block(&mut text, block_bytes, &mut rng);
                text
            }
        };
        text::append_query(&mut text, query_bytes, &mut query_rng);
        text
    }
}

impl RequestSource for ToolbenchSource {
    fn len(&self) -> usize {
        self.draws.len()
    }

    fn request(&self, index: usize) -> Result<PlannedRequest, DatasetError> {
        let text = self.text(self.draws[index]);
        Ok(PlannedRequest {
            expected_prompt_tokens: text.len().div_ceil(BYTES_PER_TOKEN) as u32,
            prompt: Prompt::Text(text),
            max_tokens: self.output_tokens,
            temperature: None,
        })
    }
}

/// The length of one block in tokens.
fn block_tokens(rng: &mut ChaCha8Rng) -> u32 {
    // The mean of a log-normal distribution is exp(mu + sigma^2 / 2).
    let mu = BLOCK_MEAN_TOKENS.ln() - BLOCK_LOG_DEVIATION * BLOCK_LOG_DEVIATION / 2.0;
    let lengths = LogNormal::new(mu, BLOCK_LOG_DEVIATION).expect("a constant, positive deviation");
    lengths.sample(rng).clamp(BLOCK_TOKENS.0, BLOCK_TOKENS.1).round() as u32
}

/// The length of each tool's block, by rank.
///
/// A fifth of all requests is for the first tool, so an unlucky order would make a run's prompts half as long again as
/// another's: of several drawn orders, that is taken in which the mean over requests is nearest to the mean over tools.
fn draw_block_tokens(popularity: &Popularity, seed: u64) -> Vec<u32> {
    let mut rng = stream("toolbench blocks", seed, 0);
    let mut lengths: Vec<u32> = (0..popularity.len()).map(|_| block_tokens(&mut rng)).collect();
    let distance = |lengths: &[u32]| {
        let mean: f64 =
            lengths.iter().enumerate().map(|(rank, &length)| popularity.share(rank) * f64::from(length)).sum();
        (mean - BLOCK_MEAN_TOKENS).abs()
    };
    let mut best = lengths.clone();
    for _ in 1..ORDERS_TRIED {
        lengths.shuffle(&mut rng);
        if distance(&lengths) < distance(&best) {
            best.clone_from(&lengths);
        }
    }
    best
}

#[cfg(test)]
mod tests;
