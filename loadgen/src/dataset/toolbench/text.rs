//! The texts of ToolBench-like prompts; all of it ASCII, so that a length in bytes is a length in characters.

use std::ops::Range;

use rand::{Rng, RngExt};

use crate::dataset::tokens::BYTES_PER_TOKEN;
use crate::dataset::words::{append_words, word};

/// Length of the system prompt in tokens.
const SYSTEM_TOKENS: usize = 321;

/// The instructions that open every prompt: of the kind that AutoGPT-like agents are given.
pub(super) const SYSTEM_PROMPT: &str = "\
You are Meridian, an autonomous agent that solves a user's task by calling the tools documented below. You work alone: \
nobody will answer questions while you work, so decide with what you have.

GOALS
1. Understand the task, and what a complete answer to it must contain.
2. Gather facts with tool calls only; never invent a value that a tool could return.
3. Finish as soon as the answer is complete, and say so.

CONSTRAINTS
1. Your memory holds about 4,000 words. Note down early what later steps will need.
2. One step is one thought followed by one call. A call that failed may be repeated once with other arguments.
3. Use only the functions listed under TOOL, with the argument names and types given there.
4. If no function can help, call `finish` with the reason.

RESPONSE FORMAT
Answer each step with one JSON object and nothing else:
{\"thought\": \"what is known, what is missing, what to do next\",
 \"call\": {\"function\": \"name\", \"arguments\": {\"argument\": \"value\"}},
 \"remember\": [\"facts for later steps\"]}

PERFORMANCE
Every call costs time and money, so reach the goal in as few steps as you can. Review each result before the next step. \
Prefer exact figures to summaries; quote units as returned. \
When done, call `finish` with the answer as the user should read it.

TOOL
";

/// Appends the documentation of a tool, cut to `bytes` bytes, and an empty line.
pub(super) fn append_block(text: &mut String, bytes: usize, rng: &mut impl Rng) {
    let end = text.len() + bytes;
    let tool = format!("{}_{}_{:04x}", word(rng), word(rng), rng.random::<u16>());
    text.push_str(&format!(
        "{{\"tool\": \"{tool}\", \"version\": \"{}.{}\",",
        rng.random_range(1..9),
        rng.random_range(0..40)
    ));
    text.push_str(" \"functions\": [\n");
    while text.len() < end {
        append_function(text, &tool, rng);
    }
    text.truncate(end - 2);
    text.push_str("\n\n");
}

fn append_function(text: &mut String, tool: &str, rng: &mut impl Rng) {
    text.push_str(&format!("{{\"name\": \"{tool}.{}_{}\", \"description\": ", word(rng), word(rng)));
    append_sentence(text, 60..240, rng);
    text.push_str(", \"parameters\": {");
    for index in 0..rng.random_range(1..6) {
        let separator = if index == 0 { "" } else { ", " };
        let kind = ["string", "integer", "number", "boolean"][rng.random_range(0..4)];
        text.push_str(&format!("{separator}\"{}_{}\": {{\"type\": \"{kind}\", \"about\": ", word(rng), word(rng)));
        append_sentence(text, 20..80, rng);
        text.push_str(&format!(", \"required\": {}}}", rng.random::<bool>()));
    }
    text.push_str(&format!("}}, \"limit_per_min\": {}}},\n", rng.random_range(10..1000)));
}

/// Appends words in quotes.
fn append_sentence(text: &mut String, bytes: Range<usize>, rng: &mut impl Rng) {
    let end = text.len() + rng.random_range(bytes);
    text.push('"');
    text.push_str(word(rng));
    append_words(text, end, rng);
    text.push('"');
}

/// Appends a user's task of `bytes` bytes in all.
pub(super) fn append_query(text: &mut String, bytes: usize, rng: &mut impl Rng) {
    let end = text.len() + bytes;
    text.push_str("TASK\nI need to");
    while text.len() < end {
        let sentence = (text.len() + rng.random_range(40..120)).min(end);
        append_words(text, sentence, rng);
        text.push_str(". Also");
    }
    text.truncate(end - 1);
    text.push('?');
}

/// A system prompt that shares not even its first bytes with another's, as long as the shared one.
pub(super) fn unshared_system_prompt(rng: &mut impl Rng) -> String {
    let mut text = format!("{:032x}", rng.random::<u128>());
    let bytes = SYSTEM_TOKENS * BYTES_PER_TOKEN - 2;
    append_words(&mut text, bytes, rng);
    text.truncate(bytes);
    text.push_str("\n\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_prompt_has_about_321_tokens() {
        let tokens = SYSTEM_PROMPT.len() as f64 / BYTES_PER_TOKEN as f64;
        assert!((tokens / SYSTEM_TOKENS as f64 - 1.0).abs() < 0.05, "{tokens} tokens");
        assert!(SYSTEM_PROMPT.is_ascii());
    }
}
