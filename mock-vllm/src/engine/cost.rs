//! What requests and steps cost: the model that every profile fills with its own coefficients.
//!
//! A request first passes the API server, one Python process that it shares with all others ([`ApiServerCost`]), and
//! then waits for what no other request delays ([`StepCost::per_request_us`]). A step takes the sum of its parts; one
//! that is too large for the captured CUDA graphs takes at least as long as launching its kernels one by one.

use std::time::Duration;

/// The work of one step.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Batch {
    /// Sequences that compute exactly one token after their prompt.
    pub decode_sequences: u32,
    /// Tokens computed for prompts, and for sequences that recompute after a preemption.
    pub prefill_tokens: u32,
    /// Cached tokens that attention reads.
    pub kv_tokens_read: f64,
    /// Sequences that yield a token at the end of the step.
    pub output_tokens: u32,
    /// Requests that the step admits.
    pub new_requests: u32,
}

impl Batch {
    /// Tokens that the step computes.
    #[must_use]
    pub fn tokens(&self) -> u32 {
        self.decode_sequences + self.prefill_tokens
    }
}

/// Time of a step = base + decoding sequences + prefill tokens + KV tokens read, each with its coefficient, and not
/// less than what the host does for it meanwhile.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct StepCost {
    /// From the end of the API server's work on a request until the scheduler can see it: waits and hand-overs.
    pub per_request_us: f64,
    /// Work of the API server.
    pub api_server: ApiServerCost,
    /// Of any step: reading the weights, launching kernels, sampling.
    pub base_us: f64,
    /// Of each sequence that decodes.
    pub per_decode_sequence_us: f64,
    /// Of each token of a prompt.
    pub per_prefill_token_us: f64,
    /// Of each cached token that is read.
    pub per_kv_token_us: f64,
    /// Queries of a prefill that share one reading of the cache, as attention kernels work in tiles.
    pub prefill_tile_tokens: f64,
    /// Launching the kernels of a step that no CUDA graph covers.
    pub launch_us: f64,
    /// Work of the engine's own process on any step, during which the GPU computes an earlier one: scheduling, results.
    pub schedule_us: f64,
    /// The same for each sequence that yields a token.
    pub schedule_per_sequence_us: f64,
    /// The same for each request that begins: taken from the API server, given its blocks and its row of the batch.
    pub schedule_per_new_request_us: f64,
    /// What confidential computing adds, when it is on.
    pub confidential: Option<ConfidentialCost>,
}

/// Work of the API server, each part of which keeps all other requests and streams waiting.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ApiServerCost {
    /// Of each request, whatever its length: connection, headers, checks, hand-over to the engine.
    pub per_request_us: f64,
    /// Of each token of a prompt: parsing, tokenising.
    pub per_prompt_token_us: f64,
    /// Of each token that the engine yields: reading it, turning it into text, finding its stream.
    pub per_output_token_us: f64,
    /// Of each chunk of a stream, however many tokens it joins: writing it as JSON and to the socket.
    pub per_chunk_us: f64,
}

impl ApiServerCost {
    /// A process that takes no time.
    pub const NONE: Self =
        Self { per_request_us: 0.0, per_prompt_token_us: 0.0, per_output_token_us: 0.0, per_chunk_us: 0.0 };

    /// Work on a request on its way in.
    #[must_use]
    pub fn request(&self, prompt_tokens: usize) -> Duration {
        microseconds(self.per_request_us + self.per_prompt_token_us * prompt_tokens as f64)
    }

    /// Work on the tokens of a step before their streams get them.
    #[must_use]
    pub fn sorting(&self, tokens: usize) -> Duration {
        microseconds(self.per_output_token_us * tokens as f64)
    }

    /// Work on one chunk.
    #[must_use]
    pub fn chunk(&self) -> Duration {
        microseconds(self.per_chunk_us)
    }
}

/// What confidential computing adds. These are costs of mechanisms; loss of throughput and latency follow from them.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ConfidentialCost {
    /// Of each request before it is scheduled: its bytes cross the guest's shared buffers (network, tokeniser).
    pub per_request_us: f64,
    /// Of each step: launches and small copies pass an encrypted, authenticated channel.
    pub per_step_us: f64,
    /// Of each prompt token, whose inputs and metadata pass the bounce buffer to the GPU.
    pub per_prefill_token_us: f64,
    /// Of each token that comes back from the GPU through the bounce buffer.
    pub per_output_token_us: f64,
    /// Loading takes this many times as long, since weights are encrypted on their way.
    pub load_factor: f64,
}

/// How long a step takes, and what the GPU does meanwhile.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct StepTime {
    /// Its length.
    pub duration: Duration,
    /// Share of it in which the GPU computes, 0 to 1; else it waits for launches or for encrypted copies.
    pub computing_share: f64,
}

impl StepCost {
    /// Time from the end of the API server's work on a request until it can be scheduled.
    #[must_use]
    pub fn request(&self) -> Duration {
        microseconds(self.per_request_us + self.confidential.map_or(0.0, |cost| cost.per_request_us))
    }

    /// Time that a step takes on a GPU which runs at `speed` times its usual clock; `graph` tells whether a captured
    /// CUDA graph covers it.
    #[must_use]
    pub fn step(&self, batch: &Batch, graph: bool, speed: f64) -> StepTime {
        let computing = self.base_us
            + self.per_decode_sequence_us * f64::from(batch.decode_sequences)
            + self.per_prefill_token_us * f64::from(batch.prefill_tokens)
            + self.per_kv_token_us * batch.kv_tokens_read;
        let confidential = self.confidential.map_or(0.0, |cost| {
            cost.per_step_us
                + cost.per_prefill_token_us * f64::from(batch.prefill_tokens)
                + cost.per_output_token_us * f64::from(batch.output_tokens)
        });
        // The host works while the GPU computes, so the slower of both counts; the clock is the GPU's alone.
        let launching = if graph { 0.0 } else { self.launch_us };
        let host = launching
            + self.schedule_us
            + self.schedule_per_sequence_us * f64::from(batch.output_tokens)
            + self.schedule_per_new_request_us * f64::from(batch.new_requests);
        let total = (computing / speed).max(host) + confidential;
        StepTime { duration: microseconds(total), computing_share: (computing / speed / total).min(1.0) }
    }

    /// Cached tokens that attention reads to decode one token after `context` tokens.
    #[must_use]
    pub fn kv_read_by_decode(&self, context: usize) -> f64 {
        context as f64
    }

    /// Cached tokens that attention reads to compute `tokens` prompt tokens after `context` tokens.
    #[must_use]
    pub fn kv_read_by_prefill(&self, context: usize, tokens: usize) -> f64 {
        let tokens = tokens as f64;
        tokens * (context as f64 + tokens / 2.0) / self.prefill_tile_tokens
    }
}

fn microseconds(value: f64) -> Duration {
    Duration::from_nanos((value * 1e3).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const PLAIN: StepCost = StepCost {
        per_request_us: 500.0,
        api_server: ApiServerCost::NONE,
        base_us: 1000.0,
        per_decode_sequence_us: 10.0,
        per_prefill_token_us: 20.0,
        per_kv_token_us: 0.5,
        prefill_tile_tokens: 10.0,
        launch_us: 1160.0,
        schedule_us: 0.0,
        schedule_per_sequence_us: 0.0,
        schedule_per_new_request_us: 0.0,
        confidential: None,
    };
    const CONFIDENTIAL: StepCost = StepCost {
        confidential: Some(ConfidentialCost {
            per_request_us: 40.0,
            per_step_us: 100.0,
            per_prefill_token_us: 2.0,
            per_output_token_us: 3.0,
            load_factor: 2.0,
        }),
        ..PLAIN
    };

    #[rstest]
    #[case::empty(Batch::default(), 1000, 1100)]
    #[case::decode(Batch { decode_sequences: 4, kv_tokens_read: 200.0, output_tokens: 4, ..Batch::default() }, 1140, 1252)]
    #[case::prefill(Batch { prefill_tokens: 10, output_tokens: 1, ..Batch::default() }, 1200, 1323)]
    fn a_step_costs_the_sum_of_its_parts(#[case] batch: Batch, #[case] plain_us: u64, #[case] confidential_us: u64) {
        assert_eq!(PLAIN.step(&batch, true, 1.0).duration, Duration::from_micros(plain_us));
        assert_eq!(CONFIDENTIAL.step(&batch, true, 1.0).duration, Duration::from_micros(confidential_us));
    }

    #[test]
    fn a_slower_clock_stretches_computing_but_not_the_encrypted_channel() {
        assert_eq!(CONFIDENTIAL.step(&Batch::default(), true, 0.5).duration, Duration::from_micros(2100));
    }

    #[rstest]
    #[case::small(4, 1160, 1080.0 / 1160.0)]
    #[case::large(40, 1800, 1.0)]
    fn without_a_graph_a_step_takes_at_least_its_launch(
        #[case] prefill_tokens: u32,
        #[case] expected_us: u64,
        #[case] computing_share: f64,
    ) {
        let batch = Batch { prefill_tokens, ..Batch::default() };
        let expected = StepTime { duration: Duration::from_micros(expected_us), computing_share };
        assert_eq!(PLAIN.step(&batch, false, 1.0), expected);
    }

    #[test]
    fn a_step_of_many_sequences_takes_at_least_what_the_host_does_for_each() {
        let cost = StepCost { schedule_us: 400.0, schedule_per_sequence_us: 50.0, ..PLAIN };
        let batch = |sequences| Batch { decode_sequences: sequences, output_tokens: sequences, ..Batch::default() };
        assert_eq!(cost.step(&batch(10), true, 1.0).duration, Duration::from_micros(1100));
        assert_eq!(cost.step(&batch(40), true, 1.0).duration, Duration::from_micros(2400));
    }

    #[test]
    fn a_step_in_which_many_requests_begin_takes_at_least_what_the_host_does_for_each() {
        let cost = StepCost { schedule_per_new_request_us: 800.0, ..PLAIN };
        let batch = |requests| Batch { new_requests: requests, output_tokens: requests, ..Batch::default() };
        assert_eq!(cost.step(&batch(1), true, 1.0).duration, Duration::from_micros(1000));
        assert_eq!(cost.step(&batch(5), true, 1.0).duration, Duration::from_micros(4000));
    }

    #[test]
    fn a_request_pays_its_own_part_once() {
        assert_eq!(PLAIN.request(), Duration::from_micros(500));
        assert_eq!(CONFIDENTIAL.request(), Duration::from_micros(540));
    }

    #[test]
    fn chunks_of_a_prefill_read_as_much_as_the_whole() {
        let whole = PLAIN.kv_read_by_prefill(0, 100);
        let chunks = PLAIN.kv_read_by_prefill(0, 60) + PLAIN.kv_read_by_prefill(60, 40);
        assert!((whole - chunks).abs() < 1e-9);
    }
}
