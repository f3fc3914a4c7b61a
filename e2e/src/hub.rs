//! A model hub with one gated repository of one revision, small enough for a test.

use std::{net::Ipv4Addr, process::ExitCode, sync::Arc};

use anyhow::Context;
use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header::AUTHORIZATION},
    routing::get,
};
use clap::Parser;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// Serve one gated repository as a model hub does.
#[derive(Parser, Clone, Debug)]
#[command(before_help = "Example: model-hub --repository owner/name --revision 0123... --token secret")]
pub struct Args {
    /// Port to listen on; 0 takes a free one.
    #[arg(long, default_value_t = 8000)]
    pub port: u16,
    /// `owner/name`.
    #[arg(long)]
    pub repository: String,
    /// The one commit that is there.
    #[arg(long)]
    pub revision: String,
    /// The token that opens the repository.
    #[arg(long)]
    pub token: String,
}

type Refusal = (StatusCode, [(&'static str, &'static str); 1]);

const GATED: Refusal = (StatusCode::UNAUTHORIZED, [("x-error-code", "GatedRepo")]);
const NO_REPOSITORY: Refusal = (StatusCode::NOT_FOUND, [("x-error-code", "RepoNotFound")]);
const NO_REVISION: Refusal = (StatusCode::NOT_FOUND, [("x-error-code", "RevisionNotFound")]);
const NO_FILE: Refusal = (StatusCode::NOT_FOUND, [("x-error-code", "EntryNotFound")]);

/// Serves until it is killed; exit code 1 when it cannot.
#[must_use]
pub fn main(args: Args) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let served = runtime.context("cannot start").and_then(|runtime| {
        runtime.block_on(async {
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, args.port)).await;
            axum::serve(listener.context("cannot listen")?, service(args)).await.context("cannot serve")
        })
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("model-hub: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The hub as a service.
pub fn service(args: Args) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok"))
        .route("/api/models/{owner}/{name}/revision/{revision}", get(revision))
        .route("/{owner}/{name}/resolve/{revision}/{file}", get(file))
        .with_state(Arc::new(args))
}

async fn revision(
    State(hub): State<Arc<Args>>,
    Path((owner, name, revision)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<Json<Value>, Refusal> {
    hub.admit(&format!("{owner}/{name}"), &revision, &headers)?;
    let siblings: Vec<Value> = FILES.iter().map(|(name, _)| json!({"rfilename": name})).collect();
    Ok(Json(json!({"id": hub.repository, "sha": revision, "gated": "manual", "siblings": siblings})))
}

async fn file(
    State(hub): State<Arc<Args>>,
    Path((owner, name, revision, file)): Path<(String, String, String, String)>,
    headers: HeaderMap,
) -> Result<Vec<u8>, Refusal> {
    hub.admit(&format!("{owner}/{name}"), &revision, &headers)?;
    let (_, content) = FILES.iter().find(|(name, _)| *name == file).ok_or(NO_FILE)?;
    Ok(content())
}

impl Args {
    /// Who has no token learns nothing of a gated repository, not even its revisions.
    fn admit(&self, repository: &str, revision: &str, headers: &HeaderMap) -> Result<(), Refusal> {
        if repository != self.repository {
            return Err(NO_REPOSITORY);
        }
        let expected = format!("Bearer {}", self.token);
        if headers.get(AUTHORIZATION).is_none_or(|given| given.as_bytes() != expected.as_bytes()) {
            return Err(GATED);
        }
        if revision == self.revision { Ok(()) } else { Err(NO_REVISION) }
    }
}

/// Makes a file's bytes.
type Content = fn() -> Vec<u8>;

/// Name and content of the repository's files.
const FILES: [(&str, Content); 2] = [("config.json", config), ("model.safetensors", weights)];

fn config() -> Vec<u8> {
    let config = json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "vocab_size": 8,
        "max_position_embeddings": 8192,
        "torch_dtype": "bfloat16",
    });
    config.to_string().into_bytes()
}

/// One tensor of eight by eight zeros. The format: the header's length as eight bytes, the header, the data.
fn weights() -> Vec<u8> {
    const DATA_BYTES: usize = 8 * 8 * 2;
    let tensor = json!({"dtype": "BF16", "shape": [8, 8], "data_offsets": [0, DATA_BYTES]});
    let header = json!({"model.embed_tokens.weight": tensor}).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.resize(file.len() + DATA_BYTES, 0);
    file
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::open("owner/name", "abc", Some("Bearer secret"), None)]
    #[case::no_token("owner/name", "abc", None, Some("GatedRepo"))]
    #[case::wrong_token("owner/name", "abc", Some("Bearer other"), Some("GatedRepo"))]
    #[case::no_token_and_wrong_revision("owner/name", "def", None, Some("GatedRepo"))]
    #[case::wrong_revision("owner/name", "def", Some("Bearer secret"), Some("RevisionNotFound"))]
    #[case::wrong_repository("owner/other", "abc", Some("Bearer secret"), Some("RepoNotFound"))]
    fn a_gated_repository_opens_to_its_token_alone(
        #[case] repository: &str,
        #[case] revision: &str,
        #[case] authorization: Option<&str>,
        #[case] refusal: Option<&str>,
    ) {
        let hub = Args { port: 0, repository: "owner/name".into(), revision: "abc".into(), token: "secret".into() };
        let headers = authorization.map(|value| (AUTHORIZATION, value.parse().unwrap())).into_iter().collect();

        let admitted = hub.admit(repository, revision, &headers);

        assert_eq!(admitted.err().map(|(_, [(_, code)])| code), refusal);
    }
}
