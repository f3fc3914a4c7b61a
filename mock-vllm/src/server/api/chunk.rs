//! The bytes of replies and stream chunks, field for field as vLLM 0.25 writes them.
//!
//! Chunks are put together from prepared pieces, since one is written for every token.

use crate::engine::FinishReason;

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
}

/// Writes the chunks of one stream.
#[derive(Clone, Debug)]
pub struct ChunkWriter {
    endpoint: Endpoint,
    /// Everything up to the list of choices.
    opening: String,
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
        Self { endpoint: head.endpoint, opening }
    }

    /// The chunk that opens an answer; only chat has one.
    pub fn role(&self, choice: u32, usage: Option<Usage>) -> Option<String> {
        (self.endpoint == Endpoint::Chat).then(|| {
            let delta = format!(
                r#"{{"index":{choice},"delta":{{"role":"assistant","content":""}},"logprobs":null,"finish_reason":null}}"#
            );
            self.chunk(&[&delta], usage, r#","prompt_token_ids":null"#)
        })
    }

    /// The chunk of a token's text.
    pub fn text(&self, choice: u32, text: &str, end: Option<&End>, usage: Option<Usage>) -> String {
        let reason = end.map_or("null", |end| match end.reason {
            FinishReason::Stop => r#""stop""#,
            FinishReason::Length => r#""length""#,
        });
        let stop = end.and_then(|end| end.stop.as_deref()).map_or_else(|| "null".to_owned(), json_string);
        let index = choice.to_string();
        let text = json_string(text);
        match self.endpoint {
            Endpoint::Completions => self.chunk(
                &[
                    r#"{"index":"#,
                    &index,
                    r#","text":"#,
                    &text,
                    r#","logprobs":null,"finish_reason":"#,
                    reason,
                    r#","stop_reason":"#,
                    &stop,
                    r#","prompt_token_ids":null,"token_ids":null}"#,
                ],
                usage,
                "",
            ),
            Endpoint::Chat => {
                let ending = if end.is_some() { [r#","stop_reason":"#, &stop] } else { ["", ""] };
                self.chunk(
                    &[
                        r#"{"index":"#,
                        &index,
                        r#","delta":{"content":"#,
                        &text,
                        r#"},"logprobs":null,"finish_reason":"#,
                        reason,
                        ending[0],
                        ending[1],
                        r#","token_ids":null}"#,
                    ],
                    usage,
                    "",
                )
            }
        }
    }

    /// The last chunk, which holds the usage alone.
    pub fn usage(&self, usage: Usage) -> String {
        self.chunk(&[], Some(usage), "")
    }

    /// The end marker.
    pub fn done() -> &'static str {
        "data: [DONE]\n\n"
    }

    fn chunk(&self, choice: &[&str], usage: Option<Usage>, after: &str) -> String {
        let usage = match (usage, self.endpoint) {
            (Some(usage), _) => usage.json(),
            (None, Endpoint::Completions) => "null".to_owned(),
            (None, Endpoint::Chat) => String::new(),
        };
        let length = self.opening.len() + choice.iter().map(|piece| piece.len()).sum::<usize>() + usage.len() + 48;
        let mut chunk = String::with_capacity(length);
        chunk.push_str(&self.opening);
        chunk.extend(choice.iter().copied());
        chunk.push(']');
        if !usage.is_empty() {
            chunk.push_str(r#","usage":"#);
            chunk.push_str(&usage);
        }
        chunk.push_str(after);
        chunk.push_str("}\n\n");
        chunk
    }
}

/// A text as a JSON string.
pub fn json_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
