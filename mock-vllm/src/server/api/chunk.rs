//! The bytes of replies and stream chunks, field for field as vLLM 0.25 writes them.
//!
//! Chunks are put together from prepared pieces, since one is written for every token: for nearly all of them two
//! copies around four bytes of text.

use bytes::{BufMut, BytesMut};

use crate::engine::{FinishReason, TokenId};
use crate::server::tokenizer;

/// Output tokens of a completion when none are asked for, as in OpenAI's interface.
const DEFAULT_COMPLETION_TOKENS: u32 = 16;

/// Which endpoint answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Endpoint {
    /// `/v1/completions`.
    Completions,
    /// `/v1/chat/completions`.
    Chat,
}

impl Endpoint {
    /// First part of a request's id.
    pub fn id_prefix(self) -> &'static str {
        match self {
            Self::Completions => "cmpl",
            Self::Chat => "chatcmpl",
        }
    }

    fn stream_object(self) -> &'static str {
        match self {
            Self::Completions => "text_completion",
            Self::Chat => "chat.completion.chunk",
        }
    }

    /// Output tokens when none are asked for.
    pub fn default_max_tokens(self, max_model_len: u32, prompt_tokens: usize) -> u32 {
        match self {
            Self::Completions => DEFAULT_COMPLETION_TOKENS,
            Self::Chat => max_model_len.saturating_sub(u32::try_from(prompt_tokens).unwrap_or(u32::MAX)).max(1),
        }
    }
}

/// What all parts of a reply have in common.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReplyHead {
    /// Which endpoint answers.
    pub endpoint: Endpoint,
    /// The request's id.
    pub id: String,
    /// Seconds since the Unix epoch.
    pub created: u64,
    /// Served model name.
    pub model: String,
    /// Tokens of each prompt.
    pub prompt_tokens: Vec<u32>,
    /// Answers to each prompt.
    pub choices_per_prompt: u32,
    /// What the reply says of the server.
    pub system_fingerprint: String,
}

impl ReplyHead {
    /// Number of answers.
    pub fn choices(&self) -> u32 {
        self.prompt_tokens.len() as u32 * self.choices_per_prompt
    }

    /// Tokens of the prompt to which an answer belongs.
    pub fn prompt_tokens_of(&self, choice: u32) -> u32 {
        self.prompt_tokens[(choice / self.choices_per_prompt) as usize]
    }

    /// Tokens of all prompts.
    pub fn total_prompt_tokens(&self) -> u32 {
        self.prompt_tokens.iter().sum()
    }
}

/// Tokens of a prompt and of its answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Usage {
    /// Prompt.
    pub prompt_tokens: u32,
    /// Answer.
    pub completion_tokens: u32,
}

impl Usage {
    fn json(self) -> String {
        let Self { prompt_tokens, completion_tokens } = self;
        let total_tokens = prompt_tokens + completion_tokens;
        format!(
            r#"{{"prompt_tokens":{prompt_tokens},"total_tokens":{total_tokens},"completion_tokens":{completion_tokens}}}"#
        )
    }
}

/// How an answer ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct End {
    /// The reason.
    pub reason: FinishReason,
    /// The stop string, when one ended it.
    pub stop: Option<String>,
    /// Whether a chunk with the usage ends the stream.
    pub usage_follows: bool,
}

/// Writes the chunks of one stream to the end of a buffer.
#[derive(Clone, Debug)]
pub struct ChunkWriter {
    endpoint: Endpoint,
    /// Everything up to the list of choices.
    opening: Vec<u8>,
    /// What the last chunk of a stream has after its usage.
    fingerprint: String,
    /// What surrounds the text of each choice's chunks, but for the last one.
    frames: Vec<Frame>,
}

#[derive(Clone, Debug)]
struct Frame {
    before: Vec<u8>,
    after: Vec<u8>,
}

impl ChunkWriter {
    /// Prepares the pieces that do not change.
    pub fn new(head: &ReplyHead) -> Self {
        let opening = format!(
            r#"data: {{"id":"{}","object":"{}","created":{},"model":{},"choices":["#,
            head.id,
            head.endpoint.stream_object(),
            head.created,
            json_string(&head.model),
        );
        let fingerprint = format!(r#","system_fingerprint":{}"#, json_string(&head.system_fingerprint));
        let mut writer =
            Self { endpoint: head.endpoint, opening: opening.into_bytes(), fingerprint, frames: Vec::new() };
        writer.frames = (0..head.choices()).map(|choice| writer.frame(choice)).collect();
        writer
    }

    fn frame(&self, choice: u32) -> Frame {
        let mut chunk = BytesMut::new();
        self.text(&mut chunk, choice, "", None, None);
        // The text is the only empty string that comes after the index.
        let text = self.opening.len() + self.before_text(choice).len();
        Frame { before: chunk[..text].to_vec(), after: chunk[text..].to_vec() }
    }

    fn before_text(&self, choice: u32) -> String {
        match self.endpoint {
            Endpoint::Completions => format!(r#"{{"index":{choice},"text":""#),
            Endpoint::Chat => format!(r#"{{"index":{choice},"delta":{{"content":""#),
        }
    }

    /// The chunk that opens an answer of a chat.
    pub fn role(&self, out: &mut BytesMut, choice: u32, usage: Option<Usage>) {
        let delta = format!(
            r#"{{"index":{choice},"delta":{{"role":"assistant","content":""}},"logprobs":null,"finish_reason":null}}"#
        );
        self.chunk(out, &[&delta], usage, r#","prompt_token_ids":null,"prompt_text":null"#);
    }

    /// The chunk of a token that is not the last one and comes without usage.
    pub fn token(&self, out: &mut BytesMut, choice: u32, token: TokenId) {
        let text = token.0.to_le_bytes();
        if text.iter().all(|byte| (b' '..=b'~').contains(byte) && !matches!(byte, b'"' | b'\\')) {
            let Frame { before, after } = &self.frames[choice as usize];
            out.reserve(before.len() + text.len() + after.len());
            out.put_slice(before);
            out.put_slice(&text);
            out.put_slice(after);
        } else {
            self.text(out, choice, &tokenizer::decode(&[token]), None, None);
        }
    }

    /// The chunk of any text. An answer that ends without a usage to follow bears the fingerprint.
    pub fn text(&self, out: &mut BytesMut, choice: u32, text: &str, end: Option<&End>, usage: Option<Usage>) {
        let reason = end.map_or("null", |end| match end.reason {
            FinishReason::Stop => r#""stop""#,
            FinishReason::Length => r#""length""#,
        });
        let stop = end.and_then(|end| end.stop.as_deref()).map_or_else(|| "null".to_owned(), json_string);
        let after = match end {
            Some(End { usage_follows: false, reason: _, stop: _ }) => self.fingerprint.as_str(),
            _ => "",
        };
        let before = self.before_text(choice);
        let quoted = json_string(text);
        // The opening quotation mark is part of what comes before.
        let text = &quoted[1..];
        match self.endpoint {
            Endpoint::Completions => self.chunk(
                out,
                &[
                    &before,
                    text,
                    r#","logprobs":null,"finish_reason":"#,
                    reason,
                    r#","stop_reason":"#,
                    &stop,
                    r#","prompt_token_ids":null,"token_ids":null}"#,
                ],
                usage,
                after,
            ),
            Endpoint::Chat => {
                let ending = if end.is_some() { [r#","stop_reason":"#, &stop] } else { ["", ""] };
                self.chunk(
                    out,
                    &[
                        &before,
                        text,
                        r#"},"logprobs":null,"finish_reason":"#,
                        reason,
                        ending[0],
                        ending[1],
                        r#","token_ids":null}"#,
                    ],
                    usage,
                    after,
                );
            }
        }
    }

    /// The last chunk, which holds the usage alone.
    pub fn usage(&self, out: &mut BytesMut, usage: Usage) {
        self.chunk(out, &[], Some(usage), &self.fingerprint);
    }

    /// The end marker.
    pub fn done(out: &mut BytesMut) {
        out.put_slice(b"data: [DONE]\n\n");
    }

    fn chunk(&self, out: &mut BytesMut, choice: &[&str], usage: Option<Usage>, after: &str) {
        out.put_slice(&self.opening);
        for piece in choice {
            out.put_slice(piece.as_bytes());
        }
        out.put_slice(b"]");
        if let Some(usage) = usage {
            out.put_slice(br#","usage":"#);
            out.put_slice(usage.json().as_bytes());
        }
        out.put_slice(after.as_bytes());
        out.put_slice(b"}\n\n");
    }
}

/// A text as a JSON string.
pub fn json_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn writer(endpoint: Endpoint) -> ChunkWriter {
        ChunkWriter::new(&ReplyHead {
            endpoint,
            id: "x-1".to_owned(),
            created: 1,
            model: "a \"quoted\" model".to_owned(),
            prompt_tokens: vec![3],
            choices_per_prompt: 12,
            system_fingerprint: "f".to_owned(),
        })
    }

    #[rstest]
    #[case::plain(*b" dog")]
    #[case::quotation_mark(*b" \"a\"")]
    #[case::backslash(*b"\\abc")]
    #[case::control(*b"a\nbc")]
    #[case::short([b'a', 0, 0, 0])]
    #[case::not_ascii([0xc3, 0xbc, b'a', b'b'])]
    fn a_prepared_chunk_is_the_one_that_is_put_together(
        #[values(Endpoint::Completions, Endpoint::Chat)] endpoint: Endpoint,
        #[values(0, 11)] choice: u32,
        #[case] token: [u8; 4],
    ) {
        let writer = writer(endpoint);
        let token = TokenId(u32::from_le_bytes(token));
        let (mut prepared, mut together) = (BytesMut::new(), BytesMut::new());
        writer.token(&mut prepared, choice, token);
        writer.text(&mut together, choice, &tokenizer::decode(&[token]), None, None);
        assert_eq!(prepared, together);
        let json = prepared.strip_prefix(b"data: ").unwrap();
        let chunk: serde_json::Value = serde_json::from_slice(json).unwrap();
        assert_eq!((&chunk["choices"][0]["index"], &chunk["model"]), (&choice.into(), &"a \"quoted\" model".into()));
    }
}
