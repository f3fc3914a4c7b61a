//! The pure simulation of vLLM's V1 engine: continuous batching over a paged KV cache with prefix reuse.
//!
//! Nothing here reads a clock. Time is a [`Duration`](std::time::Duration) since the engine's start and comes from
//! outside: [`Engine::begin_step`] decides what the next step computes and when it ends, [`Engine::finish_step`]
//! yields the tokens of that step, [`Engine::deliver`] those that have left the API server. The same submissions at
//! the same times therefore always give the same tokens at the same times.

mod api_server;
mod block_hash;
mod block_pool;
mod config;
mod cost;
mod free_list;
mod outcome;
mod request;
mod sampler;
mod scheduler;

pub use block_hash::{BLOCK_TOKENS, BlockHash};
pub use block_pool::{BlockId, BlockPool};
pub use config::{ConfigError, EngineConfig};
pub use cost::{ApiServerCost, Batch, ConfidentialCost, StepCost, StepTime};
pub use outcome::{Begin, Counters, Delivery, Emission, FinishReason, RequestTimes, Snapshot, StepOutcome};
pub use request::{NewRequest, RequestId, TokenId};
pub use sampler::{SamplingKey, natural_output_tokens, output_token};
pub use scheduler::{Engine, SubmitError};
