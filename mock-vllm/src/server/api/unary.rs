//! A reply in one piece, sent when all answers are finished.

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::chunk::{End, Endpoint, ReplyHead};
use super::error::ApiError;
use super::params::Params;
use crate::engine::FinishReason;
use crate::server::handle::Generation;
use crate::server::state::InProgress;
use crate::server::stop::StopMatcher;
use crate::server::tokenizer;

struct Choice {
    matcher: StopMatcher,
    text: String,
    output_tokens: u32,
    end: Option<End>,
}

/// Waits for all answers and puts them into one reply.
///
/// # Errors
/// When the server ends before the answers do.
pub async fn respond(
    head: ReplyHead,
    params: &Params,
    mut generation: Generation,
    _progress: InProgress,
) -> Result<Response, ApiError> {
    let mut choices: Vec<Choice> = (0..head.choices())
        .map(|_| Choice { matcher: StopMatcher::new(params.stops()), text: String::new(), output_tokens: 0, end: None })
        .collect();
    let mut events = Vec::new();
    while !generation.is_finished() {
        if !generation.take(&mut events).await {
            return Err(ApiError::interrupted());
        }
        for event in events.drain(..) {
            if !generation.accepts(&event) {
                continue;
            }
            let choice = &mut choices[event.choice as usize];
            choice.output_tokens = event.output_tokens;
            let released = choice.matcher.push(&tokenizer::decode(&[event.token]), event.finish.is_some());
            choice.text.push_str(&released.text);
            if let Some(stop) = released.stopped_by {
                choice.end = Some(End { reason: FinishReason::Stop, stop: Some(stop), usage_follows: false });
                generation.stop(event.choice);
            } else {
                choice.end = event.finish.map(|reason| End { reason, stop: None, usage_follows: false });
            }
        }
    }
    Ok(Json(body(&head, &choices)).into_response())
}

fn body(head: &ReplyHead, choices: &[Choice]) -> Value {
    let prompt_tokens = head.total_prompt_tokens();
    let completion_tokens: u32 = choices.iter().map(|choice| choice.output_tokens).sum();
    let usage = json!({
        "prompt_tokens": prompt_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "completion_tokens": completion_tokens,
        "prompt_tokens_details": null,
    });
    let choices: Vec<Value> = choices.iter().enumerate().map(|(index, choice)| choice.json(head, index)).collect();
    let ReplyHead { endpoint, id, created, model, prompt_tokens: _, choices_per_prompt: _, system_fingerprint } = head;
    match endpoint {
        Endpoint::Completions => json!({
            "id": id, "object": "text_completion", "created": created, "model": model, "choices": choices,
            "service_tier": null, "system_fingerprint": system_fingerprint, "usage": usage, "kv_transfer_params": null,
            "metrics": null,
        }),
        Endpoint::Chat => json!({
            "id": id, "object": "chat.completion", "created": created, "model": model, "choices": choices,
            "service_tier": null, "system_fingerprint": system_fingerprint, "usage": usage, "prompt_logprobs": null,
            "prompt_token_ids": null, "prompt_text": null, "kv_transfer_params": null, "metrics": null,
        }),
    }
}

impl Choice {
    fn json(&self, head: &ReplyHead, index: usize) -> Value {
        let finish_reason = self.end.as_ref().map(|end| end.reason.as_str());
        let stop_reason = self.end.as_ref().and_then(|end| end.stop.as_deref());
        match head.endpoint {
            Endpoint::Completions => json!({
                "index": index, "text": self.text, "logprobs": null, "finish_reason": finish_reason,
                "stop_reason": stop_reason, "token_ids": null, "prompt_logprobs": null, "prompt_token_ids": null,
                "routed_experts": null,
            }),
            Endpoint::Chat => json!({
                "index": index,
                "message": {
                    "role": "assistant", "content": self.text, "refusal": null, "annotations": null, "audio": null,
                    "function_call": null, "reasoning": null,
                },
                "logprobs": null, "finish_reason": finish_reason, "stop_reason": stop_reason, "token_ids": null,
                "routed_experts": null,
            }),
        }
    }
}
