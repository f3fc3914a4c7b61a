//! The results service as the API server's proxy shows it.

use std::time::Duration;

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use kube::{Client, client::Body};
use serde::de::DeserializeOwned;
use tokio::time::sleep;

use super::FetchError;
use crate::store::service::Refusal;

/// How often a request is tried, with pauses that double from the first.
const TRIES: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Most bytes of a listing: a campaign of 20,000 attempts with a hundred files each.
const MOST_LISTING_BYTES: usize = 512 << 20;
/// Most bytes of a refusal.
const MOST_REFUSAL_BYTES: usize = 64 << 10;

/// A way to the results service.
#[derive(Clone)]
pub struct Results {
    client: Client,
    base: String,
}

impl Results {
    /// The service of this name.
    #[must_use]
    pub fn new(client: Client, namespace: &str, service: &str) -> Self {
        let base = format!("/api/v1/namespaces/{namespace}/services/https:{service}:read/proxy");
        Self { client, base }
    }

    /// The client of the cluster.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// A JSON answer; `None` where there is no such thing.
    pub async fn get_json<T: DeserializeOwned>(&self, path: &str, action: &str) -> Result<Option<T>, FetchError> {
        let Some(response) = self.get(path, action).await? else { return Ok(None) };
        let body = Limited::new(response.into_body(), MOST_LISTING_BYTES).collect().await;
        let refused = |message: String| FetchError::Refused { action: action.to_owned(), message };
        let text = body.map_err(|error| refused(error.to_string()))?.to_bytes();
        serde_json::from_slice(&text)
            .map(Some)
            .map_err(|error| refused(format!("its answer is not understood: {error}")))
    }

    /// An answer, tried several times; `None` where the service has no such thing.
    pub async fn get(&self, path: &str, action: &str) -> Result<Option<Response<Body>>, FetchError> {
        let mut pause = FIRST_PAUSE;
        for _ in 1..TRIES {
            match self.get_once(path, action).await {
                Err(Failure::Passing(error)) => {
                    tracing::warn!(error = format!("{:#}", anyhow::Error::from(error)), "trying again");
                }
                Err(Failure::Final(error)) => return Err(error),
                Ok(response) => return Ok(response),
            }
            sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
            pause *= 2;
        }
        self.get_once(path, action).await.map_err(|failure| match failure {
            Failure::Passing(error) | Failure::Final(error) => error,
        })
    }

    async fn get_once(&self, path: &str, action: &str) -> Result<Option<Response<Body>>, Failure> {
        let request = Request::get(format!("{}{path}", self.base)).body(Body::empty());
        let request = request.expect("names of a namespace, a service and files of the tree make an address");
        let response = self
            .client
            .send(request)
            .await
            .map_err(|source| Failure::Passing(FetchError::Cluster { action: action.to_owned(), source }))?;
        let status = response.status();
        if status.is_success() {
            return Ok(Some(response));
        }
        let text = Limited::new(response.into_body(), MOST_REFUSAL_BYTES).collect().await;
        let text = text.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let ours = serde_json::from_slice::<Refusal>(&text).ok();
        // The API server's own 404 says that there is no such service.
        if status == StatusCode::NOT_FOUND && ours.is_some() {
            return Ok(None);
        }
        let message = match ours {
            Some(refusal) => refusal.message,
            None => format!("{status}: {}", said_by_the_api_server(&text)),
        };
        let refused = FetchError::Refused { action: action.to_owned(), message };
        let passing = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
        Err(if passing { Failure::Passing(refused) } else { Failure::Final(refused) })
    }
}

enum Failure {
    Passing(FetchError),
    Final(FetchError),
}

fn said_by_the_api_server(text: &[u8]) -> String {
    let status: Option<serde_json::Value> = serde_json::from_slice(text).ok();
    let message = status.as_ref().and_then(|status| status.get("message")?.as_str());
    message.map_or_else(|| String::from_utf8_lossy(text).chars().take(200).collect(), str::to_owned)
}
