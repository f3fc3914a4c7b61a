//! `/v1/chat/completions`: the conversation becomes a prompt by a fixed template.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::Value;

use super::chunk::Endpoint;
use super::error::ApiError;
use super::generate::{GenerateRequest, serve};
use super::params::{Params, read_json};
use crate::engine::TokenId;
use crate::server::state::ServerState;
use crate::server::tokenizer;

#[derive(Deserialize)]
struct ChatRequest {
    messages: Vec<Message>,
    tools: Option<Vec<Value>>,
    #[serde(flatten)]
    params: Params,
}

/// One message of a conversation.
#[derive(Clone, Debug, Deserialize)]
pub struct Message {
    role: String,
    content: Option<Content>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Clone, Debug, Deserialize)]
struct Part {
    text: Option<String>,
}

impl Message {
    fn texts(&self) -> impl Iterator<Item = &str> {
        let (text, parts) = match &self.content {
            None => (None, &[][..]),
            Some(Content::Text(text)) => (Some(text.as_str()), &[][..]),
            Some(Content::Parts(parts)) => (None, parts.as_slice()),
        };
        text.into_iter().chain(parts.iter().filter_map(|part| part.text.as_deref()))
    }
}

/// The prompt of a conversation: tools first, then the messages in order, so that conversations which begin alike
/// share a prefix.
///
/// Headers and contents are tokenised apart, as real templates do with special tokens: an answer thus has the same
/// tokens when it comes back in the next turn.
pub fn render(messages: &[Message], tools: &[Value]) -> Vec<TokenId> {
    let mut prompt = Vec::new();
    for tool in tools {
        prompt.extend(header("tool"));
        prompt.extend(tokenizer::encode(&tool.to_string()));
    }
    for message in messages {
        prompt.extend(header(&message.role));
        prompt.extend(tokenizer::encode(&message.texts().collect::<String>()));
    }
    prompt.extend(header("assistant"));
    prompt
}

fn header(role: &str) -> Vec<TokenId> {
    tokenizer::encode(&format!("<|{role}|>"))
}

pub async fn handle(State(state): State<Arc<ServerState>>, headers: HeaderMap, body: Bytes) -> Response {
    serve(state, |state| read(state, &headers, &body)).await
}

fn read(state: &ServerState, headers: &HeaderMap, body: &[u8]) -> Result<GenerateRequest, ApiError> {
    let ChatRequest { messages, tools, params } = read_json(headers, body)?;
    params.validate(&state.settings.model)?;
    if messages.is_empty() {
        return Err(ApiError::bad_request("messages must hold at least one message"));
    }
    let prompt = render(&messages, &tools.unwrap_or_default());
    Ok(GenerateRequest { endpoint: Endpoint::Chat, prompts: vec![prompt], params })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn conversation(value: Value) -> Vec<Message> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_next_turn_begins_with_the_previous_one_and_its_answer() {
        let first = json!([{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]);
        let mut second = first.clone();
        let turns = [json!({"role": "assistant", "content": " the dog"}), json!({"role": "user", "content": "more"})];
        second.as_array_mut().unwrap().extend(turns);
        let first = [render(&conversation(first), &[]), tokenizer::encode(" the dog")].concat();
        assert!(render(&conversation(second), &[]).starts_with(&first));
    }

    #[test]
    fn parts_are_read_as_their_texts() {
        let parts =
            json!([{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]);
        let text = json!([{"role": "user", "content": "ab"}]);
        assert_eq!(render(&conversation(parts), &[]), render(&conversation(text), &[]));
    }

    #[test]
    fn tools_come_before_messages() {
        let messages = conversation(json!([{"role": "user", "content": "hi"}]));
        let prompt = tokenizer::decode(&render(&messages, &[json!({"name": "t"})]));
        assert_eq!(prompt, "<|tool|>{\"name\":\"t\"}<|user|>hi<|assistant|>");
    }
}
