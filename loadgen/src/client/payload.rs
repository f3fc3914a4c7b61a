//! The body of a request, rendered with one pass over its prompt.

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{Backend, LoadError};
use crate::dataset::{PlannedRequest, Prompt};

/// What all bodies of a run share, rendered once.
pub(super) struct PayloadTemplate {
    backend: Backend,
    /// The shared keys as `"key":value` members, joined by commas.
    shared_members: Vec<u8>,
    max_tokens_key: Option<&'static str>,
    takes_temperature: bool,
}

impl PayloadTemplate {
    /// `extra_body` wins over what the client itself sets.
    pub(super) fn new(
        backend: Backend,
        model: &str,
        ignore_eos: bool,
        stream: bool,
        extra_body: &Map<String, Value>,
    ) -> PayloadTemplate {
        let mut shared = Map::new();
        shared.insert("model".to_owned(), json!(model));
        shared.insert("stream".to_owned(), json!(stream));
        if stream {
            shared.insert("stream_options".to_owned(), json!({"include_usage": true}));
        }
        if ignore_eos {
            shared.insert("ignore_eos".to_owned(), json!(true));
        }
        shared.extend(extra_body.clone());
        let max_tokens_key = match backend {
            Backend::Openai | Backend::Vllm => "max_tokens",
            Backend::OpenaiChat => "max_completion_tokens",
        };
        let rendered = Value::Object(shared.clone()).to_string().into_bytes();
        PayloadTemplate {
            backend,
            shared_members: rendered[1..rendered.len() - 1].to_vec(),
            max_tokens_key: (!shared.contains_key(max_tokens_key)).then_some(max_tokens_key),
            takes_temperature: !shared.contains_key("temperature"),
        }
    }

    /// The body of one request.
    pub(super) fn render(&self, request: &PlannedRequest) -> Result<Bytes, LoadError> {
        let PlannedRequest { prompt, expected_prompt_tokens: _, max_tokens, temperature } = request;
        let mut body = Vec::with_capacity(prompt.rendered_size_hint() + self.shared_members.len() + 128);
        match (self.backend, prompt) {
            (Backend::Openai | Backend::Vllm, Prompt::Text(text)) => {
                body.extend_from_slice(b"{\"prompt\":");
                append_json(&mut body, text);
            }
            (Backend::Openai | Backend::Vllm, Prompt::TokenIds(ids)) => {
                body.extend_from_slice(b"{\"prompt\":");
                append_json(&mut body, ids);
            }
            (Backend::OpenaiChat, Prompt::Text(text)) => {
                body.extend_from_slice(b"{\"messages\":[{\"role\":\"user\",\"content\":");
                append_json(&mut body, text);
                body.extend_from_slice(b"}]");
            }
            (Backend::OpenaiChat, Prompt::TokenIds(_)) => return Err(LoadError::TokenIdsInChat),
        }
        if let Some(key) = self.max_tokens_key {
            body.extend_from_slice(format!(",\"{key}\":{max_tokens}").as_bytes());
        }
        if let Some(temperature) = temperature.filter(|_| self.takes_temperature) {
            body.extend_from_slice(b",\"temperature\":");
            append_json(&mut body, &temperature);
        }
        body.push(b',');
        body.extend_from_slice(&self.shared_members);
        body.push(b'}');
        Ok(body.into())
    }
}

fn append_json(body: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    serde_json::to_writer(body, value).expect("strings and numbers always serialise, and a Vec takes all bytes");
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn request(prompt: Prompt) -> PlannedRequest {
        PlannedRequest { prompt, expected_prompt_tokens: 3, max_tokens: 16, temperature: Some(0.7) }
    }

    fn rendered(backend: Backend, prompt: Prompt, extra_body: Value) -> Value {
        let Value::Object(extra_body) = extra_body else { panic!("extra body is no object") };
        let template = PayloadTemplate::new(backend, "m", true, true, &extra_body);
        serde_json::from_slice(&template.render(&request(prompt)).unwrap()).unwrap()
    }

    #[rstest]
    #[case::text(Backend::Openai, Prompt::Text("a \"b\"\n".to_owned()), json!({"prompt": "a \"b\"\n", "max_tokens": 16}))]
    #[case::token_ids(Backend::Vllm, Prompt::TokenIds(vec![5, 6]), json!({"prompt": [5, 6], "max_tokens": 16}))]
    #[case::chat(
        Backend::OpenaiChat, Prompt::Text("hi".to_owned()),
        json!({"messages": [{"role": "user", "content": "hi"}], "max_completion_tokens": 16})
    )]
    fn a_body_has_its_prompt_and_the_shared_keys(#[case] backend: Backend, #[case] prompt: Prompt, #[case] own: Value) {
        let mut expected = json!({"model": "m", "stream": true, "stream_options": {"include_usage": true},
            "ignore_eos": true, "temperature": 0.7});
        expected.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        assert_eq!(rendered(backend, prompt, json!({})), expected);
    }

    #[test]
    fn extra_body_wins() {
        let extra = json!({"temperature": 0, "max_tokens": 1, "ignore_eos": false, "top_p": 0.5});
        let body = rendered(Backend::Openai, Prompt::Text("x".to_owned()), extra.clone());
        for (key, value) in extra.as_object().unwrap() {
            assert_eq!(&body[key], value, "{key}");
        }
    }

    #[test]
    fn chat_takes_no_token_ids() {
        let template = PayloadTemplate::new(Backend::OpenaiChat, "m", false, true, &Map::new());
        assert!(matches!(template.render(&request(Prompt::TokenIds(vec![1]))), Err(LoadError::TokenIdsInChat)));
    }
}
