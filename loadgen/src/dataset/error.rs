//! Why a data set gives no requests.

use std::path::PathBuf;

use super::tokens::TokenizeError;

/// Why a data set gives no requests.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// None or several kinds are given.
    #[error("dataset: give exactly one kind of data set")]
    Choice,
    /// A random data set has no prompt length.
    #[error("dataset.random: no prompt length; give inputTokens, or inputTokens in the experiment's points")]
    NoInputTokens,
    /// A generated data set has no output length.
    #[error("dataset: no output length; give outputTokens, or outputTokens in the experiment's points")]
    NoOutputTokens,
    /// A data set from a file was given none.
    #[error(
        "dataset: its file is not there; a local run reads `path`, or --dataset EXPERIMENT=FILE for another source"
    )]
    NoFile,
    /// The shared prefix fills the shortest prompt.
    #[error(
        "dataset.random: sharedPrefixTokens {prefix} leaves nothing of the shortest prompt, {shortest} tokens; \
         lower it or raise inputTokens"
    )]
    PrefixTooLong {
        /// Tokens of the prefix.
        prefix: u32,
        /// Tokens of the shortest prompt.
        shortest: u32,
    },
    /// A length range is no share.
    #[error("dataset.random: range ratio {0}; give a number from 0 to less than 1")]
    RangeRatio(f64),
    /// More prefixes than requests.
    #[error("prefix repetition: {prefixes} prefixes for {prompts} prompts leave some prefix out; ask for fewer")]
    TooManyPrefixes {
        /// Prefixes.
        prefixes: u32,
        /// Requests.
        prompts: usize,
    },
    /// The file cannot be read.
    #[error("data set {path}: cannot be read", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// A line is wrong; nothing of the file is used.
    #[error("data set {path}, line {line}: {reason}", path = path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1; that on which the request begins.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// The file has no request.
    #[error("data set {path}: no request in it{left_out}; give a file with one JSON object a line", path = path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// How many were left out, in words; empty when none was.
        left_out: String,
    },
    /// The file has fewer requests than are asked for.
    #[error(
        "data set {path}: {there} requests in it{left_out} and {wanted} are asked for; ask for fewer, or go through it \
         again (--oversample; in a campaign `oversample: true`)", path = path.display()
    )]
    TooFew {
        /// The file.
        path: PathBuf,
        /// Requests that can be used.
        there: usize,
        /// Requests that are asked for.
        wanted: usize,
        /// How many were left out, in words; empty when none was.
        left_out: String,
    },
    /// The file is not the one that the run was planned with.
    #[error("data set {path}: its SHA-256 is {found} and not {expected}; restore the file that the campaign began with", path = path.display())]
    Digest {
        /// The file.
        path: PathBuf,
        /// What it should be, in hex.
        expected: String,
        /// What it is, in hex.
        found: String,
    },
    /// The file changed while it was in use.
    #[error("data set {path}: the request at byte {offset} is no longer what was checked; leave the file alone during a run", path = path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// Where the request begins.
        offset: u64,
    },
    /// Text could not be tokenised.
    #[error(transparent)]
    Tokenize(#[from] TokenizeError),
    /// A tokeniser that has hardly a word in one token cannot make texts of a given length.
    #[error("the tokeniser has {0} of our words as one token, too few for texts of exact length; use token ids")]
    NoWords(usize),
}
