//! What a data set is like: lengths, what its prompts share, and how often each shared beginning is asked for.

mod prefixes;
mod text;

use serde::Serialize;

use self::prefixes::Prefixes;
use super::tokens::BYTES_PER_TOKEN;
use super::{DatasetError, PlannedRequest, Prompt, RequestSource, TokenCounter};

pub(super) use self::text::text;

/// What was found in a data set; lengths are in tokens.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Description {
    /// Requests.
    pub(super) requests: usize,
    /// Whether lengths are the model's own, or four bytes to a token.
    pub(super) exact_tokens: bool,
    /// SHA-256 of the file, in hex; absent for a generated set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sha256: Option<String>,
    /// Lengths of prompts.
    pub(super) prompt_tokens: Lengths,
    /// Caps of outputs.
    pub(super) output_tokens: Lengths,
    /// From the first arrival to the last in seconds, for a trace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) arrivals_seconds: Option<f64>,
    /// What prompts share with earlier ones.
    pub(super) sharing: Sharing,
}

/// A distribution of lengths in tokens.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Lengths {
    pub(super) minimum: u32,
    pub(super) mean: f64,
    pub(super) p50: u32,
    pub(super) p95: u32,
    pub(super) p99: u32,
    pub(super) maximum: u32,
    /// Prompts in each of equally wide ranges from the shortest to the longest.
    pub(super) histogram: Vec<Bin>,
}

/// Lengths from `from` up to `to`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Bin {
    pub(super) from: u32,
    pub(super) to: u32,
    pub(super) count: usize,
}

/// What prompts share with earlier ones.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Sharing {
    /// Share of all prompt tokens that an earlier prompt begins with too: what an unbounded prefix cache would find.
    pub(super) shared_token_share: f64,
    /// Share of prompts that repeat an earlier one exactly.
    pub(super) exact_duplicate_share: f64,
    /// Tokens that all prompts begin with.
    pub(super) common_prefix_tokens: u32,
    /// By depth: how many prompts are that long, and how many of them begin as an earlier one does up to there.
    pub(super) by_depth: Vec<Depth>,
    /// Different beginnings after the common one: tools, or shared prefixes.
    pub(super) groups: usize,
    /// The groups that are asked for most.
    pub(super) top_groups: Vec<Group>,
    /// Share of the ten groups that are asked for most.
    pub(super) top_ten_share: f64,
}

/// What is shared up to one depth.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Depth {
    /// Tokens from the beginning.
    pub(super) tokens: u32,
    /// Prompts that are at least so long.
    pub(super) prompts: usize,
    /// Share of all prompts that begin as an earlier one does up to there.
    pub(super) shared: f64,
}

/// Prompts that begin alike beyond what all begin with.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Group {
    /// How it begins.
    pub(super) label: String,
    /// Share of all prompts.
    pub(super) share: f64,
}

/// Ranges of a histogram.
const BINS: u32 = 16;
/// Depths that are told.
const DEPTHS: usize = 16;
/// Groups that are told.
const TOP_GROUPS: usize = 10;

/// Looks at every request twice: once for lengths and what all have in common, once for what is shared beyond.
/// `progress` is told how many requests are done, of twice as many as there are.
///
/// # Errors
/// When a request cannot be read, or its tokens cannot be counted.
pub(super) fn describe(
    source: &dyn RequestSource,
    counter: &TokenCounter,
    progress: &dyn Fn(u64),
) -> Result<Description, DatasetError> {
    let mut prompts = Vec::with_capacity(source.len());
    let mut outputs = Vec::with_capacity(source.len());
    let mut exact = true;
    let mut common: Option<Vec<u8>> = None;
    for index in 0..source.len() {
        let PlannedRequest { prompt, max_tokens, .. } = source.request(index)?;
        exact &= counter.is_exact() || matches!(prompt, Prompt::TokenIds(_));
        prompts.push(tokens(&prompt, counter)?);
        outputs.push(max_tokens);
        let units = Units::of(prompt);
        match &mut common {
            Some(common) => common.truncate(units.common_bytes(common)),
            None => common = Some(units.bytes),
        }
        progress(index as u64 + 1);
    }
    let mut prefixes = Prefixes::new(common.map_or(0, |common| common.len()));
    for index in 0..source.len() {
        prefixes.add(&Units::of(source.request(index)?.prompt));
        progress((source.len() + index) as u64 + 1);
    }
    Ok(Description {
        requests: source.len(),
        exact_tokens: exact,
        sha256: source.file_sha256().map(ToOwned::to_owned),
        prompt_tokens: Lengths::of(prompts),
        output_tokens: Lengths::of(outputs),
        arrivals_seconds: source.arrivals_s().and_then(|arrivals| arrivals.last().copied()),
        sharing: prefixes.finish(),
    })
}

fn tokens(prompt: &Prompt, counter: &TokenCounter) -> Result<u32, DatasetError> {
    Ok(match prompt {
        Prompt::Text(text) => counter.count(text)?,
        Prompt::TokenIds(ids) => ids.len() as u32,
    })
}

/// A prompt as bytes of which four are about a token, so that texts and token ids are compared alike.
pub(super) struct Units {
    bytes: Vec<u8>,
    is_text: bool,
}

impl Units {
    fn of(prompt: Prompt) -> Units {
        match prompt {
            Prompt::Text(text) => Units { bytes: text.into_bytes(), is_text: true },
            Prompt::TokenIds(ids) => {
                Units { bytes: ids.iter().flat_map(|id| id.to_be_bytes()).collect(), is_text: false }
            }
        }
    }

    /// How many bytes it begins with that the other begins with too; whole ids where it is token ids.
    fn common_bytes(&self, other: &[u8]) -> usize {
        let common = self.bytes.iter().zip(other).take_while(|(a, b)| a == b).count();
        if self.is_text { common } else { common - common % BYTES_PER_TOKEN }
    }
}

impl Lengths {
    fn of(mut lengths: Vec<u32>) -> Lengths {
        lengths.sort_unstable();
        let at = |share: f64| {
            let last = lengths.len().saturating_sub(1);
            lengths.get((last as f64 * share).round() as usize).copied().unwrap_or(0)
        };
        let (minimum, maximum) = (at(0.0), at(1.0));
        let sum: u64 = lengths.iter().copied().map(u64::from).sum();
        let width = (maximum - minimum + 1).div_ceil(BINS).max(1);
        let bins = (maximum - minimum + 1).div_ceil(width);
        let histogram = (0..bins).map(|bin| {
            let (from, to) = (minimum + bin * width, minimum + (bin + 1) * width - 1);
            let count = lengths.partition_point(|length| *length <= to) - lengths.partition_point(|l| *l < from);
            Bin { from, to, count }
        });
        Lengths {
            minimum,
            mean: sum as f64 / lengths.len().max(1) as f64,
            p50: at(0.5),
            p95: at(0.95),
            p99: at(0.99),
            maximum,
            histogram: histogram.collect(),
        }
    }
}

#[cfg(test)]
mod tests;
