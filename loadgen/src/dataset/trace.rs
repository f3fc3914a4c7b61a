//! Requests of a recorded trace in Mooncake's format: when they came, how long they were and which blocks they shared.
//!
//! A line is `{"timestamp": ms, "input_length": tokens, "output_length": tokens, "hash_ids": [id, …]}`. A trace has no
//! texts; each hash id stands for a block of tokens (512 in Mooncake's own traces) that is drawn from the seed, so that
//! requests share exactly the blocks that they shared when they were recorded.

use std::path::Path;

use serde::Deserialize;

use super::file::{parse, scan};
use super::tokens::{PromptMaker, TokenCounter};
use super::{DatasetError, PlannedRequest, PromptForm, RequestSource};
use crate::seed::stream;

/// Longest prompt and output that a line may name, in tokens.
const MOST_TOKENS: u32 = 10_485_760;

/// What of a trace is replayed, and how fast.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceSpec {
    /// Requests: the first of the trace; `None` for all.
    pub prompts: Option<usize>,
    /// How much faster than recorded requests arrive; 1 is as recorded.
    pub speed: f64,
    /// Tokens of the block that a hash id stands for.
    pub block_tokens: u32,
    /// Requests with longer prompts are left out.
    pub maximum_input_tokens: Option<u32>,
    /// Cap of every output in tokens, in place of the recorded lengths.
    pub output_tokens: Option<u32>,
}

/// The requests of a trace, in the order of their time stamps.
#[derive(Clone, Debug)]
pub struct TraceSource {
    maker: PromptMaker,
    seed: u64,
    spec: TraceSpec,
    sha256: String,
    /// Requests that can be used; the run takes the first.
    there: usize,
    rows: Vec<Row>,
    /// The hash ids of all rows, one after the other.
    hash_ids: Vec<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Row {
    arrives_ms: f64,
    input_tokens: u32,
    output_tokens: u32,
    first_hash: usize,
    hashes: usize,
}

impl TraceSource {
    /// Checks the whole trace and keeps what is replayed of it; texts are made exact by `counter`.
    ///
    /// # Errors
    /// When the file cannot be read, a line is wrong, or there are fewer requests than are asked for.
    pub fn open(
        path: &Path,
        spec: TraceSpec,
        form: PromptForm,
        counter: &TokenCounter,
        seed: u64,
    ) -> Result<TraceSource, DatasetError> {
        let (mut rows, mut hash_ids, mut left_out) = (Vec::new(), Vec::new(), 0_usize);
        let sha256 = scan(path, |record| {
            let line: TraceLine = parse(record.bytes)?;
            line.check(spec.block_tokens)?;
            let TraceLine { timestamp, input_length, output_length, hash_ids: hashes } = line;
            if spec.maximum_input_tokens.is_some_and(|most| input_length > most) {
                left_out += 1;
                return Ok(());
            }
            rows.push(Row {
                arrives_ms: timestamp,
                input_tokens: input_length,
                output_tokens: output_length,
                first_hash: hash_ids.len(),
                hashes: hashes.len(),
            });
            hash_ids.extend(hashes);
            Ok(())
        })?;
        let there = rows.len();
        let wanted = spec.prompts.unwrap_or(there);
        let left_out = match left_out {
            0 => String::new(),
            count => format!(" ({count} with longer prompts are left out)"),
        };
        let path = path.to_owned();
        if there == 0 {
            return Err(DatasetError::Empty { path, left_out });
        }
        if there < wanted {
            return Err(DatasetError::TooFew { path, there, wanted, left_out });
        }
        // Recorders write a request when it ends, so lines need not be in the order of arrival.
        rows.sort_by(|a, b| a.arrives_ms.total_cmp(&b.arrives_ms));
        rows.truncate(wanted);
        Ok(TraceSource { maker: PromptMaker::new(form, counter)?, seed, spec, sha256, there, rows, hash_ids })
    }

    /// Requests of the trace that can be used, replayed or not.
    pub(super) fn there(&self) -> usize {
        self.there
    }

    /// Prompt and recorded output tokens of every replayed request.
    pub(super) fn lengths(&self) -> impl Iterator<Item = (u32, u32)> {
        self.rows.iter().map(|row| (row.input_tokens, row.output_tokens))
    }
}

impl RequestSource for TraceSource {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn request(&self, index: usize) -> Result<PlannedRequest, DatasetError> {
        let Row { arrives_ms: _, input_tokens, output_tokens, first_hash, hashes } = self.rows[index];
        let block_tokens = self.spec.block_tokens;
        let shared = self.hash_ids[first_hash..first_hash + hashes].iter().enumerate().map(|(block, id)| {
            let before = block as u32 * block_tokens;
            (block_tokens.min(input_tokens - before), stream("trace block", self.seed, *id))
        });
        let own_tokens = input_tokens.saturating_sub(hashes as u32 * block_tokens);
        let own = (own_tokens, stream("trace own tokens", self.seed, index as u64));
        Ok(PlannedRequest {
            prompt: self.maker.prompt(shared.chain([own])),
            expected_prompt_tokens: input_tokens,
            max_tokens: self.spec.output_tokens.unwrap_or(output_tokens),
            temperature: None,
        })
    }

    fn arrivals_s(&self) -> Option<Vec<f64>> {
        let first_ms = self.rows.first()?.arrives_ms;
        Some(self.rows.iter().map(|row| (row.arrives_ms - first_ms) / 1000.0 / self.spec.speed).collect())
    }

    fn file_sha256(&self) -> Option<&str> {
        Some(&self.sha256)
    }
}

#[derive(Deserialize)]
struct TraceLine {
    timestamp: f64,
    input_length: u32,
    output_length: u32,
    #[serde(default)]
    hash_ids: Vec<u64>,
}

impl TraceLine {
    fn check(&self, block_tokens: u32) -> Result<(), String> {
        let TraceLine { timestamp, input_length, output_length, hash_ids } = self;
        if *timestamp < 0.0 {
            return Err(format!("timestamp is {timestamp}; give milliseconds from 0"));
        }
        if *input_length == 0 {
            return Err("input_length is 0; give 1 or more".to_owned());
        }
        if *output_length == 0 {
            return Err("output_length is 0; give 1 or more".to_owned());
        }
        for (key, tokens) in [("input_length", input_length), ("output_length", output_length)] {
            if *tokens > MOST_TOKENS {
                return Err(format!("{key} is {tokens}; no model takes more than {MOST_TOKENS}"));
            }
        }
        // Some recorders name the last, partial block, others do not; without any nothing is shared.
        let (whole, all) = (input_length / block_tokens, input_length.div_ceil(block_tokens));
        let named = hash_ids.len() as u64;
        if named != 0 && named != u64::from(whole) && named != u64::from(all) {
            return Err(format!(
                "{named} hash_ids for {input_length} tokens, which are {all} blocks of {block_tokens}; \
                 give one for each block, or another number of tokens for a block"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use rstest::rstest;

    use super::*;
    use crate::dataset::Prompt;

    const SPEC: TraceSpec =
        TraceSpec { prompts: None, speed: 1.0, block_tokens: 4, maximum_input_tokens: None, output_tokens: None };

    fn open(lines: &str, spec: TraceSpec, seed: u64) -> Result<TraceSource, DatasetError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(lines.as_bytes()).unwrap();
        TraceSource::open(file.path(), spec, PromptForm::TokenIds, &TokenCounter::Estimate, seed)
    }

    fn line(timestamp: u32, input: u32, hash_ids: &[u32]) -> String {
        format!(
            "{{\"timestamp\": {timestamp}, \"input_length\": {input}, \"output_length\": 7, \"hash_ids\": {hash_ids:?}}}\n"
        )
    }

    fn ids(source: &TraceSource, index: usize) -> Vec<u32> {
        match source.request(index).unwrap().prompt {
            Prompt::TokenIds(ids) => ids,
            Prompt::Text(text) => panic!("text: {text}"),
        }
    }

    #[test]
    fn requests_share_the_blocks_that_they_name_and_nothing_else() {
        let lines =
            [line(0, 10, &[0, 1, 2]), line(5, 9, &[0, 1, 3]), line(9, 10, &[0, 1, 2]), line(9, 6, &[])].concat();
        let source = open(&lines, SPEC, 1).unwrap();
        let prompts: Vec<_> = (0..4).map(|index| ids(&source, index)).collect();
        assert_eq!(prompts.iter().map(Vec::len).collect::<Vec<_>>(), [10, 9, 10, 6]);
        assert_eq!(prompts[0], prompts[2]);
        assert_eq!(prompts[0][..8], prompts[1][..8]);
        assert_ne!(prompts[0][8], prompts[1][8]);
        assert_ne!(prompts[0][0], prompts[3][0]);
        assert_eq!(source.request(1).unwrap().max_tokens, 7);
        assert_ne!(prompts[0], ids(&open(&lines, SPEC, 2).unwrap(), 0));
    }

    #[test]
    fn arrivals_are_the_time_stamps_from_the_first_in_their_order_at_the_speed_asked_for() {
        let lines = [line(3000, 4, &[0]), line(1000, 5, &[0]), line(2500, 8, &[0, 1])].concat();
        let source = open(&lines, TraceSpec { speed: 2.0, ..SPEC }, 1).unwrap();
        assert_eq!(source.arrivals_s().unwrap(), [0.0, 0.75, 1.0]);
        assert_eq!(source.lengths().map(|(input, _)| input).collect::<Vec<_>>(), [5, 8, 4]);
    }

    #[test]
    fn the_first_requests_are_taken_and_long_ones_left_out() {
        let lines = [line(0, 40, &[]), line(1, 4, &[]), line(2, 5, &[]), line(3, 6, &[])].concat();
        let spec = TraceSpec { prompts: Some(2), maximum_input_tokens: Some(8), output_tokens: Some(3), ..SPEC };
        let source = open(&lines, spec.clone(), 1).unwrap();
        assert_eq!((source.len(), source.there()), (2, 3));
        assert_eq!((source.request(0).unwrap().expected_prompt_tokens, source.request(0).unwrap().max_tokens), (4, 3));
        let error = open(&lines, TraceSpec { prompts: Some(4), ..spec }, 1).unwrap_err().to_string();
        assert!(error.contains("3 requests in it (1 with longer prompts are left out) and 4"), "{error}");
    }

    #[rstest]
    #[case::too_few_blocks(&line(0, 12, &[1, 2]), "2 hash_ids for 12 tokens, which are 3 blocks of 4")]
    #[case::too_many_blocks(&line(0, 4, &[1, 2]), "2 hash_ids for 4 tokens")]
    #[case::no_prompt(&line(0, 0, &[]), "input_length is 0")]
    #[case::no_output(r#"{"timestamp": 0, "input_length": 4, "output_length": 0}"#, "output_length is 0")]
    #[case::beyond_any_model(&line(0, 20_000_000, &[]), "input_length is 20000000; no model")]
    #[case::before_time(r#"{"timestamp": -1, "input_length": 4, "output_length": 1}"#, "timestamp is -1")]
    #[case::no_time(r#"{"input_length": 4, "output_length": 1}"#, "missing field `timestamp`")]
    fn a_bad_line_is_named(#[case] bad: &str, #[case] reason: &str) {
        let error = open(&format!("{}{bad}", line(0, 4, &[1])), SPEC, 1).unwrap_err();
        assert!(matches!(&error, DatasetError::Line { line: 2, reason: why, .. } if why.contains(reason)), "{error}");
    }
}
