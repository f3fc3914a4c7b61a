//! Shapes of models: what their size says about the cost of a step, so that a profile fitted to one predicts another.

use clap::ValueEnum;

/// Bytes of a weight and of a KV entry, as bfloat16.
const ELEMENT_BYTES: f64 = 2.0;

/// Width of a head whose matrix products take as long as its exponentials.
const EXPONENTIAL_AS_WIDTH: f64 = 64.0;

/// A dense decoder, by the sizes that decide what a step costs.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ModelShape {
    /// Layers.
    pub layers: u32,
    /// Query heads times their dimension.
    pub attention_width: u32,
    /// Key-value heads times their dimension.
    pub kv_width: u32,
    /// Dimension of a head.
    pub head_width: u32,
    /// Parameters that a step reads and a decoded token passes: all but the table of input embeddings.
    pub active_parameters: f64,
    /// Those of them that turn the last state into a choice of token: a prompt passes them with its last token alone.
    pub output_parameters: f64,
    /// Parameters that the GPU holds.
    pub parameters: f64,
}

/// Shapes that a profile can be asked for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, ValueEnum)]
pub enum ModelSize {
    /// 16 layers of width 2,048 with 8 KV heads of 64, as Llama 3.2 1B.
    #[value(name = "1b")]
    B1,
    /// 32 layers of width 4,096 with 8 KV heads of 128, as Llama 3.1 8B: what the profiles were fitted to.
    #[default]
    #[value(name = "8b")]
    B8,
    /// 40 layers of width 5,120 with 8 KV heads of 128, as Mistral Small 24B.
    #[value(name = "24b")]
    B24,
    /// 64 layers of width 5,120 with 8 KV heads of 128, as Qwen3 32B.
    #[value(name = "32b")]
    B32,
}

impl ModelSize {
    /// The shape of that size.
    #[must_use]
    pub fn shape(self) -> ModelShape {
        match self {
            Self::B1 => ModelShape {
                layers: 16,
                attention_width: 2048,
                kv_width: 512,
                head_width: 64,
                active_parameters: 1.236e9,
                output_parameters: 0.263e9,
                parameters: 1.236e9,
            },
            Self::B8 => ModelShape {
                layers: 32,
                attention_width: 4096,
                kv_width: 1024,
                head_width: 128,
                active_parameters: 7.505e9,
                output_parameters: 0.525e9,
                parameters: 8.030e9,
            },
            Self::B24 => ModelShape {
                layers: 40,
                attention_width: 4096,
                kv_width: 1024,
                head_width: 128,
                active_parameters: 22.90e9,
                output_parameters: 0.671e9,
                parameters: 23.57e9,
            },
            Self::B32 => ModelShape {
                layers: 64,
                attention_width: 8192,
                kv_width: 1024,
                head_width: 128,
                active_parameters: 31.98e9,
                output_parameters: 0.778e9,
                parameters: 32.76e9,
            },
        }
    }
}

impl ModelShape {
    /// Bytes of the weights that a step reads, however many tokens it computes.
    #[must_use]
    pub fn active_weight_bytes(&self) -> f64 {
        self.active_parameters * ELEMENT_BYTES
    }

    /// Parameters that each token of a prompt passes.
    #[must_use]
    pub fn prefill_parameters(&self) -> f64 {
        self.active_parameters - self.output_parameters
    }

    /// Time of attention for a pair of query and key over all layers, in units that compare shapes.
    ///
    /// Two matrix products grow with the head's dimension, one exponential a head does not. On an H100 (989 Tflop/s, and
    /// 3.9 T exponentials/s) the exponentials of a head of dimension 128 take half the time of its products ("FlashAttention-3",
    /// 2024), hence as long as the products of a dimension of 64.
    #[must_use]
    pub fn attention_time(&self) -> f64 {
        let heads = self.attention_width / self.head_width;
        f64::from(self.layers) * f64::from(heads) * (f64::from(self.head_width) + EXPONENTIAL_AS_WIDTH)
    }

    /// Time to read a cached token from memory, given that of the weights that a step reads: both come at one rate.
    #[must_use]
    pub fn per_kv_token_us(&self, weights_us: f64) -> f64 {
        weights_us * self.kv_bytes_per_token() / self.active_weight_bytes()
    }

    /// Bytes of all weights.
    #[must_use]
    pub fn weight_bytes(&self) -> f64 {
        self.parameters * ELEMENT_BYTES
    }

    /// Bytes of a token's keys and values.
    #[must_use]
    pub fn kv_bytes_per_token(&self) -> f64 {
        2.0 * ELEMENT_BYTES * f64::from(self.layers) * f64::from(self.kv_width)
    }

    /// Queries of a prefill that share one reading of the cache, such that attention runs at the matrix products' rate.
    ///
    /// A token takes 2 operations a parameter, a pair of query and key 4 operations an element of the attention's
    /// width in every layer (scores and values); a tile of queries reads each key once.
    #[must_use]
    pub fn prefill_tile_tokens(&self, per_kv_token_us: f64, per_prefill_token_us: f64) -> f64 {
        let pair_to_token =
            4.0 * f64::from(self.attention_width) * f64::from(self.layers) / (2.0 * self.prefill_parameters());
        per_kv_token_us / (per_prefill_token_us * pair_to_token)
    }
}
