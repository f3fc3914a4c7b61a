//! The engine's settings, named and bounded as vLLM's flags.

use thiserror::Error;

use super::block_hash::BLOCK_TOKENS;

/// Settings of one engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EngineConfig {
    /// Sequences that run at once, `--max-num-seqs`.
    pub max_num_seqs: u32,
    /// Tokens computed in one step, `--max-num-batched-tokens`; a longer prompt is computed in chunks.
    pub max_num_batched_tokens: u32,
    /// Prompt and output of one request together, in tokens, `--max-model-len`.
    pub max_model_len: u32,
    /// KV blocks in the pool, `--num-gpu-blocks-override`.
    pub num_gpu_blocks: u32,
    /// Whether computed prefixes are reused, `--enable-prefix-caching`.
    pub enable_prefix_caching: bool,
    /// Whether no CUDA graphs are captured, `--enforce-eager`.
    pub enforce_eager: bool,
}

/// Settings under which no engine can serve.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum ConfigError {
    /// A setting that must be positive is zero.
    #[error("{flag} is 0: give at least 1")]
    Zero {
        /// The flag in question.
        flag: &'static str,
    },
    /// A step could not hold one token of each running sequence.
    #[error(
        "--max-num-batched-tokens {batched} is less than --max-num-seqs {seqs}: raise the first or lower the second"
    )]
    BatchTooSmall {
        /// `--max-num-batched-tokens`.
        batched: u32,
        /// `--max-num-seqs`.
        seqs: u32,
    },
    /// A request of the greatest length would never fit.
    #[error(
        "--max-model-len {length} needs {needed} KV blocks but --num-gpu-blocks is {blocks}, one of which vLLM keeps: \
         lower the first or raise the second"
    )]
    PoolTooSmall {
        /// `--max-model-len`.
        length: u32,
        /// Blocks for one request of that length.
        needed: u32,
        /// `--num-gpu-blocks`.
        blocks: u32,
    },
}

/// Tokens of the largest CUDA graph that vLLM captures at any setting.
const GREATEST_GRAPH_TOKENS: u32 = 512;

impl EngineConfig {
    /// Tokens of the largest step that a captured CUDA graph covers: by vLLM's default twice `--max-num-seqs`.
    #[must_use]
    pub fn graph_tokens(&self) -> u32 {
        if self.enforce_eager { 0 } else { self.max_num_seqs.saturating_mul(2).min(GREATEST_GRAPH_TOKENS) }
    }

    /// KV blocks that requests can get: all but the one that vLLM keeps as a placeholder.
    #[must_use]
    pub fn usable_blocks(&self) -> u32 {
        self.num_gpu_blocks.saturating_sub(1)
    }

    /// Checks that any request that is accepted can also be finished.
    ///
    /// # Errors
    /// When a setting is zero, or contradicts another.
    pub fn validate(&self) -> Result<(), ConfigError> {
        for (flag, value) in [
            ("--max-num-seqs", self.max_num_seqs),
            ("--max-num-batched-tokens", self.max_num_batched_tokens),
            ("--max-model-len", self.max_model_len),
            ("--num-gpu-blocks", self.num_gpu_blocks),
        ] {
            if value == 0 {
                return Err(ConfigError::Zero { flag });
            }
        }
        if self.max_num_batched_tokens < self.max_num_seqs {
            return Err(ConfigError::BatchTooSmall { batched: self.max_num_batched_tokens, seqs: self.max_num_seqs });
        }
        let needed = self.max_model_len.div_ceil(BLOCK_TOKENS as u32);
        if needed > self.usable_blocks() {
            return Err(ConfigError::PoolTooSmall { length: self.max_model_len, needed, blocks: self.num_gpu_blocks });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const GOOD: EngineConfig = EngineConfig {
        max_num_seqs: 4,
        max_num_batched_tokens: 64,
        max_model_len: 160,
        num_gpu_blocks: 11,
        enable_prefix_caching: true,
        enforce_eager: false,
    };

    #[rstest]
    #[case::few(4, false, 8)]
    #[case::many(1024, false, 512)]
    #[case::eager(4, true, 0)]
    fn graphs_cover_twice_the_sequences(#[case] max_num_seqs: u32, #[case] enforce_eager: bool, #[case] tokens: u32) {
        assert_eq!(EngineConfig { max_num_seqs, enforce_eager, ..GOOD }.graph_tokens(), tokens);
    }

    #[rstest]
    #[case::good(GOOD, None)]
    #[case::zero(EngineConfig { max_num_seqs: 0, ..GOOD }, Some("--max-num-seqs is 0"))]
    #[case::batch(EngineConfig { max_num_batched_tokens: 3, ..GOOD }, Some("--max-num-batched-tokens 3 is less"))]
    #[case::pool(EngineConfig { max_model_len: 161, ..GOOD }, Some("--max-model-len 161 needs 11 KV blocks"))]
    fn settings_that_could_block_a_request_forever_are_refused(
        #[case] config: EngineConfig,
        #[case] expected: Option<&str>,
    ) {
        match (config.validate(), expected) {
            (Ok(()), None) => {}
            (Err(error), Some(start)) => assert!(error.to_string().starts_with(start), "{error}"),
            (got, expected) => panic!("got {got:?}, expected {expected:?}"),
        }
    }
}
