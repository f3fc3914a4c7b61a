//! From a validated request to answers: faults, submission, and the form of the reply.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};

use super::chunk::{Endpoint, ReplyHead};
use super::error::ApiError;
use super::params::Params;
use super::{stream, unary};
use crate::engine::{SamplingKey, SubmitError, TokenId, natural_output_tokens};
use crate::faults::Fate;
use crate::server::handle::Submission;
use crate::server::state::{ServerState, Ticket, unix_seconds};

/// A request whose prompts are known.
pub struct GenerateRequest {
    /// Which endpoint was asked.
    pub endpoint: Endpoint,
    /// Each gets `n` answers.
    pub prompts: Vec<Vec<TokenId>>,
    /// The rest of the request.
    pub params: Params,
}

/// Serves a request that `read` takes from the body, or does to it what a fault demands.
pub async fn serve(
    state: Arc<ServerState>,
    read: impl FnOnce(&ServerState) -> Result<GenerateRequest, ApiError>,
) -> Response {
    let ticket = state.ticket();
    match ticket.fate {
        Fate::Served => answer(state, ticket, read).await.unwrap_or_else(IntoResponse::into_response),
        Fate::Failed => ApiError::simulated_fault().into_response(),
        Fate::Fatal => {
            tracing::error!(request = ticket.ordinal, "simulated crash");
            state.crashed.cancel();
            std::future::pending().await
        }
        Fate::Hung => {
            state.shutdown.cancelled().await;
            ApiError::interrupted().into_response()
        }
    }
}

async fn answer(
    state: Arc<ServerState>,
    ticket: Ticket,
    read: impl FnOnce(&ServerState) -> Result<GenerateRequest, ApiError>,
) -> Result<Response, ApiError> {
    let request = read(&state)?;
    let GenerateRequest { endpoint, prompts, params } = &request;
    let prompt_tokens = prompts.iter().map(|prompt| prompt.len() as u32).collect();
    let submissions = submissions(&state, *endpoint, prompts, params)?;
    let generation = state.settings.engine.submit(submissions, params.choices()).map_err(ApiError::refused)?;
    let head = ReplyHead {
        endpoint: *endpoint,
        id: format!("{}-{}", endpoint.id_prefix(), state.request_id(ticket)),
        created: unix_seconds(),
        model: state.settings.model.clone(),
        prompt_tokens,
        choices_per_prompt: params.choices(),
        system_fingerprint: state.system_fingerprint.clone(),
    };
    let progress = state.enter();
    if params.streams() {
        Ok(stream::respond(&state, head, params, generation, progress))
    } else {
        unary::respond(head, params, generation, progress).await
    }
}

fn submissions(
    state: &ServerState,
    endpoint: Endpoint,
    prompts: &[Vec<TokenId>],
    params: &Params,
) -> Result<Vec<Submission>, ApiError> {
    if prompts.is_empty() {
        return Err(ApiError::refused(SubmitError::EmptyPrompt));
    }
    let mut submissions = Vec::new();
    for prompt in prompts {
        let max_tokens = params
            .max_tokens()
            .unwrap_or_else(|| endpoint.default_max_tokens(state.settings.max_model_len, prompt.len()));
        state.settings.engine.check(prompt.len(), max_tokens).map_err(ApiError::refused)?;
        params.validate_sampling(max_tokens)?;
        for choice in 0..params.choices() {
            let sampling_key = SamplingKey::new(state.settings.seed, params.seed(), prompt, choice);
            submissions.push(Submission {
                prompt: prompt.clone(),
                max_tokens,
                natural_tokens: (!params.ignores_eos())
                    .then(|| natural_output_tokens(sampling_key).max(params.min_tokens())),
                streams: params.streams(),
                cache_salt: params.cache_salt().map(str::to_owned),
                sampling_key,
            });
        }
    }
    Ok(submissions)
}
