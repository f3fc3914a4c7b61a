//! What the data of one event says: the end, an error, or a chunk of a completion.

use std::borrow::Cow;
use std::fmt;

use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::record::Usage;

/// The data of one event.
#[derive(Debug, PartialEq)]
pub(super) enum StreamEvent<'a> {
    /// `[DONE]`.
    Done,
    /// An error object; its message.
    Error(String),
    /// A chunk.
    Chunk(Chunk<'a>),
}

/// A chunk of a completion or chat completion.
#[derive(Debug, PartialEq)]
pub(super) struct Chunk<'a> {
    pub(super) content: Content<'a>,
    pub(super) usage: Option<Usage>,
}

/// What a chunk brings of the answer.
#[derive(Debug, PartialEq)]
pub(super) enum Content<'a> {
    /// No choice at all, such as the chunk that only reports usage.
    None,
    /// A choice without output: it opens (the role alone) or closes the answer.
    Frame,
    /// Output of the model. The text may be empty: a token can be a part of a character.
    Output(Cow<'a, str>),
}

impl<'a> StreamEvent<'a> {
    /// Reads the data of an event.
    pub(super) fn parse(data: &'a [u8]) -> Result<StreamEvent<'a>, serde_json::Error> {
        if data == b"[DONE]" {
            return Ok(StreamEvent::Done);
        }
        let Wire { choices, usage, error, object, message } = serde_json::from_slice(data)?;
        if let Some(error) = error {
            return Ok(StreamEvent::Error(error_message(&error)));
        }
        // vLLM before 0.10 sends the error's fields without an object around them.
        if object.is_some_and(|Text(object)| object == "error") {
            return Ok(StreamEvent::Error(message.map_or_else(|| "no message".to_owned(), |Text(text)| text.into())));
        }
        let content = choices.map_or(Content::None, |Choices(content)| content);
        let usage =
            usage.map(|WireUsage { prompt_tokens, completion_tokens }| Usage { prompt_tokens, completion_tokens });
        Ok(StreamEvent::Chunk(Chunk { content, usage }))
    }
}

/// The message inside an error object, else the whole of it.
fn error_message(error: &serde_json::Value) -> String {
    match error.get("message").unwrap_or(error) {
        serde_json::Value::String(message) => message.clone(),
        other => other.to_string(),
    }
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    choices: Option<Choices<'a>>,
    usage: Option<WireUsage>,
    error: Option<serde_json::Value>,
    #[serde(borrow)]
    object: Option<Text<'a>>,
    #[serde(borrow)]
    message: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct WireUsage {
    #[serde(default)]
    prompt_tokens: u32,
    #[serde(default)]
    completion_tokens: u32,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow)]
    text: Option<Text<'a>>,
    #[serde(borrow)]
    delta: Option<Delta<'a>>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    role: Option<IgnoredAny>,
    #[serde(borrow)]
    content: Option<Text<'a>>,
    #[serde(borrow)]
    reasoning: Option<Text<'a>>,
    #[serde(borrow)]
    reasoning_content: Option<Text<'a>>,
    tool_calls: Option<Vec<IgnoredAny>>,
}

impl<'a> Choice<'a> {
    fn content(self) -> Content<'a> {
        let Choice { text, delta } = self;
        if let Some(Text(text)) = text {
            return Content::Output(text);
        }
        let Some(Delta { role, content, reasoning, reasoning_content, tool_calls }) = delta else {
            return Content::Frame;
        };
        let calls_tools = tool_calls.is_some_and(|calls| !calls.is_empty());
        match [content, reasoning, reasoning_content].into_iter().flatten().max_by_key(|Text(text)| text.len()) {
            // The opening chunk has the role and an empty content; no token has been generated for it.
            Some(Text(text)) if role.is_none() || !text.is_empty() => Content::Output(text),
            _ if calls_tools => Content::Output(Cow::Borrowed("")),
            _ => Content::Frame,
        }
    }
}

/// A string borrowed from the event where it has no escapes.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

/// The list of choices, folded to the first that has output: the usual single choice costs no allocation.
struct Choices<'a>(Content<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for Choices<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ChoicesVisitor;
        impl<'de> Visitor<'de> for ChoicesVisitor {
            type Value = Choices<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a list of choices")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut found = Content::None;
                while let Some(choice) = list.next_element::<Choice<'de>>()? {
                    if !matches!(found, Content::Output(_)) {
                        found = choice.content();
                    }
                }
                Ok(Choices(found))
            }
        }
        deserializer.deserialize_seq(ChoicesVisitor)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn output(text: &str) -> Content<'_> {
        Content::Output(Cow::Borrowed(text))
    }

    #[rstest]
    #[case::completion(r#"{"choices":[{"index":0,"text":" tok","logprobs":null}]}"#, output(" tok"))]
    #[case::part_of_a_character(r#"{"choices":[{"text":""}]}"#, output(""))]
    #[case::escapes(r#"{"choices":[{"text":"a\n\u00e9"}]}"#, output("a\né"))]
    #[case::chat(r#"{"choices":[{"delta":{"content":"hi"}}]}"#, output("hi"))]
    #[case::role_with_text(r#"{"choices":[{"delta":{"role":"assistant","content":"hi"}}]}"#, output("hi"))]
    #[case::last_token_without_text(r#"{"choices":[{"delta":{"content":""},"finish_reason":"stop"}]}"#, output(""))]
    #[case::reasoning(r#"{"choices":[{"delta":{"reasoning_content":"so"}}]}"#, output("so"))]
    #[case::reasoning_under_both_names(
        r#"{"choices":[{"delta":{"reasoning":"so","reasoning_content":"so"}}]}"#,
        output("so")
    )]
    #[case::tool_call(r#"{"choices":[{"delta":{"content":null,"tool_calls":[{"index":0}]}}]}"#, output(""))]
    #[case::role_alone(r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#, Content::Frame)]
    #[case::closing(r#"{"choices":[{"delta":{},"finish_reason":"length"}]}"#, Content::Frame)]
    #[case::usage_alone(r#"{"choices":[],"usage":null}"#, Content::None)]
    #[case::second_choice_has_the_output(r#"{"choices":[{"delta":{}},{"delta":{"content":"b"}}]}"#, output("b"))]
    fn a_chunk_brings_output_or_not(#[case] data: &str, #[case] expected: Content<'_>) {
        let event = StreamEvent::parse(data.as_bytes()).unwrap();
        assert_eq!(event, StreamEvent::Chunk(Chunk { content: expected, usage: None }));
    }

    #[test]
    fn usage_is_read_with_its_details_ignored() {
        let data = br#"{"choices":[],"usage":{"prompt_tokens":7,"total_tokens":9,"completion_tokens":2,"x":{}}}"#;
        let usage = Some(Usage { prompt_tokens: 7, completion_tokens: 2 });
        assert_eq!(StreamEvent::parse(data).unwrap(), StreamEvent::Chunk(Chunk { content: Content::None, usage }));
    }

    #[rstest]
    #[case(r#"{"error":{"message":"boom","code":500}}"#, "boom")]
    #[case(r#"{"error":"boom"}"#, "boom")]
    #[case(r#"{"object":"error","message":"boom"}"#, "boom")]
    #[case(r#"{"error":{"code":500}}"#, r#"{"code":500}"#)]
    fn an_error_object_is_an_error(#[case] data: &str, #[case] expected: &str) {
        assert_eq!(StreamEvent::parse(data.as_bytes()).unwrap(), StreamEvent::Error(expected.to_owned()));
    }

    #[test]
    fn an_event_that_is_no_json_is_refused() {
        assert!(StreamEvent::parse(b"{\"choices\":").is_err());
    }

    #[test]
    fn plain_text_is_not_copied() {
        let Ok(StreamEvent::Chunk(chunk)) = StreamEvent::parse(br#"{"choices":[{"text":" plain"}]}"#) else {
            panic!("not a chunk");
        };
        assert!(matches!(chunk.content, Content::Output(Cow::Borrowed(" plain"))));
    }
}
