//! Whose token a request carries: asked of the API server, remembered for a short while.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use http::{HeaderMap, header::AUTHORIZATION};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus, UserInfo};
use kube::{
    Api,
    api::{ObjectMeta, PostParams},
};
use tokio::{sync::Semaphore, time::timeout};

use super::{
    AUDIENCE,
    refusal::{Refusal, RefusalCode},
};
use crate::store::sha256_hex;

/// How long an answer is believed. A pod that is deleted loses its token at the API server at once, here after this.
const BELIEVED: Duration = Duration::from_secs(30);
/// Most answers that are remembered; beyond, all are forgotten, so that unknown tokens cannot fill the memory.
const REMEMBERED: usize = 4096;
/// Reviews at once, so that unknown tokens cannot flood the API server.
const REVIEWS_AT_ONCE: usize = 8;
const REVIEW_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest token in bytes: those of Kubernetes have about 1,200.
const LONGEST_TOKEN: usize = 16 << 10;

const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";

/// The pod that a token was made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub pod: String,
    /// Its uid.
    pub uid: String,
}

/// An answer, and when it was given.
type Believed = (Instant, Result<Caller, Refusal>);

/// Reviews tokens.
pub struct Tokens {
    reviews: Api<TokenReview>,
    at_once: Semaphore,
    /// Answers by the token's SHA-256, so that no token stays in memory.
    believed: Mutex<HashMap<String, Believed>>,
}

impl Tokens {
    /// Reviews through this client.
    pub fn new(client: kube::Client) -> Self {
        let believed = Mutex::new(HashMap::new());
        Self { reviews: Api::all(client), at_once: Semaphore::new(REVIEWS_AT_ONCE), believed }
    }

    /// The pod whose token a request carries.
    pub async fn caller(&self, headers: &HeaderMap) -> Result<Caller, Refusal> {
        let token = bearer(headers)?;
        let key = sha256_hex(token.as_bytes());
        if let Some(answer) = self.remembered(&key) {
            return answer;
        }
        let Ok(_permit) = self.at_once.acquire().await else {
            return Err(unavailable("token reviews have ended"));
        };
        let spec = TokenReviewSpec { audiences: Some(vec![AUDIENCE.to_owned()]), token: Some(token.to_owned()) };
        let review = TokenReview { metadata: ObjectMeta::default(), spec, status: None };
        let answer = match timeout(REVIEW_TIMEOUT, self.reviews.create(&PostParams::default(), &review)).await {
            Ok(Ok(review)) => caller_of(review.status.unwrap_or_default()),
            Ok(Err(error)) => return Err(unavailable(&format!("the API server cannot review tokens: {error}"))),
            Err(_) => return Err(unavailable("the API server does not answer a token review")),
        };
        self.remember(key, answer.clone());
        answer
    }

    fn remembered(&self, key: &str) -> Option<Result<Caller, Refusal>> {
        let believed = self.believed.lock().unwrap_or_else(PoisonError::into_inner);
        believed.get(key).filter(|(at, _)| at.elapsed() < BELIEVED).map(|(_, answer)| answer.clone())
    }

    fn remember(&self, key: String, answer: Result<Caller, Refusal>) {
        let mut believed = self.believed.lock().unwrap_or_else(PoisonError::into_inner);
        if believed.len() >= REMEMBERED {
            believed.clear();
        }
        believed.insert(key, (Instant::now(), answer));
    }
}

fn bearer(headers: &HeaderMap) -> Result<&str, Refusal> {
    let refuse = |reason: &str| Refusal::new(RefusalCode::Unauthenticated, reason);
    let header = headers.get(AUTHORIZATION).ok_or_else(|| refuse("no Authorization header; send the pod's token"))?;
    let text = header.to_str().map_err(|_| refuse("the Authorization header is not text"))?;
    let token = text.strip_prefix("Bearer ").ok_or_else(|| refuse("the Authorization header is no Bearer token"))?;
    if token.len() > LONGEST_TOKEN { Err(refuse("the token is too long")) } else { Ok(token) }
}

/// What the API server says of a token.
fn caller_of(status: TokenReviewStatus) -> Result<Caller, Refusal> {
    let refuse = |reason: String| Err(Refusal::new(RefusalCode::Unauthenticated, reason));
    let TokenReviewStatus { audiences, authenticated, error, user } = status;
    if authenticated != Some(true) {
        let why = error.unwrap_or_else(|| "the API server does not vouch for it".to_owned());
        return refuse(format!("the token is refused: {why}"));
    }
    // An API server that knows no audiences vouches for any token and names none.
    if !audiences.is_some_and(|audiences| audiences.iter().any(|audience| audience == AUDIENCE)) {
        return refuse(format!("the token is not made for the audience {AUDIENCE}"));
    }
    let UserInfo { extra, username, groups: _, uid: _ } = user.unwrap_or_default();
    let extra = extra.unwrap_or_default();
    let one = |key: &str| match extra.get(key).map(Vec::as_slice) {
        Some([value]) => Some(value.clone()),
        _ => None,
    };
    let username = username.unwrap_or_default();
    let account = username.strip_prefix("system:serviceaccount:").and_then(|account| account.split_once(':'));
    match (account, one(POD_NAME), one(POD_UID)) {
        (Some((namespace, _)), Some(pod), Some(uid)) => Ok(Caller { namespace: namespace.to_owned(), pod, uid }),
        _ => refuse("the token is not bound to a pod; use a projected one".to_owned()),
    }
}

fn unavailable(message: &str) -> Refusal {
    tracing::warn!(message, "a token could not be reviewed");
    Refusal::new(RefusalCode::Unavailable, message)
}
