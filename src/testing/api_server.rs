//! An API server as far as the results service and `fetch` call one: it reviews tokens, knows campaigns, and proxies to
//! the results service.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Request, State},
    response::{IntoResponse, Response},
    routing::{any, get, post},
};
use http::{StatusCode, Uri};
use http_body_util::{BodyExt, Empty};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::service::{Https, https_client};

/// A running API server.
pub struct ApiServer {
    /// A client of it.
    pub client: kube::Client,
    state: Arc<Known>,
}

#[derive(Default)]
struct Known {
    /// What a review of each token says.
    tokens: Mutex<HashMap<String, Value>>,
    reviews: AtomicUsize,
    /// Uids of campaigns by namespace and name.
    campaigns: Mutex<HashMap<(String, String), String>>,
    /// The results service's read port.
    results: Mutex<Option<(Https, String)>>,
    /// Files that are to break off half-way.
    cut: AtomicUsize,
}

impl ApiServer {
    /// Starts it on a free port.
    pub async fn start() -> Self {
        let state = Arc::new(Known::default());
        let routes = Router::new()
            .route("/apis/authentication.k8s.io/v1/tokenreviews", post(review))
            .route("/apis/teebench.dev/v1alpha1/namespaces/{namespace}/benchmarkcampaigns/{name}", get(campaign))
            .route("/api/v1/namespaces/{namespace}/services/{service}/proxy/{*path}", any(proxy))
            .with_state(Arc::clone(&state));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        let mut config = kube::Config::new(format!("http://{address}").parse().unwrap());
        config.default_retry = false;
        Self { client: kube::Client::try_from(config).unwrap(), state }
    }

    /// Makes a token that a review speaks of in these words.
    pub fn token(&self, token: &str, status: Value) {
        self.state.tokens.lock().unwrap().insert(token.to_owned(), status);
    }

    /// How many tokens it has reviewed.
    pub fn reviews(&self) -> usize {
        self.state.reviews.load(Ordering::SeqCst)
    }

    /// Makes a campaign, or removes it.
    pub fn set_campaign(&self, namespace: &str, name: &str, uid: Option<&str>) {
        let mut campaigns = self.state.campaigns.lock().unwrap();
        let key = (namespace.to_owned(), name.to_owned());
        match uid {
            Some(uid) => drop(campaigns.insert(key, uid.to_owned())),
            None => drop(campaigns.remove(&key)),
        }
    }

    /// Proxies to the results service's read port from now on.
    pub fn proxy_to(&self, base: &str, ca_pem: &str) {
        *self.state.results.lock().unwrap() = Some((https_client(ca_pem), base.to_owned()));
    }

    /// Breaks off the next `count` files that it proxies half-way.
    pub fn cut_files(&self, count: usize) {
        self.state.cut.store(count, Ordering::SeqCst);
    }
}

async fn review(State(known): State<Arc<Known>>, Json(review): Json<Value>) -> Json<Value> {
    known.reviews.fetch_add(1, Ordering::SeqCst);
    assert_eq!(review["spec"]["audiences"], json!(["teebench-results"]));
    let token = review["spec"]["token"].as_str().unwrap_or_default();
    let unknown = json!({"authenticated": false, "error": "invalid bearer token"});
    let status = known.tokens.lock().unwrap().get(token).cloned().unwrap_or(unknown);
    Json(json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "metadata": {},
        "spec": review["spec"], "status": status}))
}

async fn campaign(State(known): State<Arc<Known>>, Path((namespace, name)): Path<(String, String)>) -> Response {
    let Some(uid) = known.campaigns.lock().unwrap().get(&(namespace.clone(), name.clone())).cloned() else {
        return status(StatusCode::NOT_FOUND, "NotFound");
    };
    let planned = super::planned();
    let metadata = json!({"name": name, "namespace": namespace, "uid": uid});
    let spec = serde_json::to_value(planned.spec).unwrap();
    Json(
        json!({"apiVersion": "teebench.dev/v1alpha1", "kind": "BenchmarkCampaign", "metadata": metadata, "spec": spec}),
    )
    .into_response()
}

async fn proxy(
    State(known): State<Arc<Known>>,
    Path((namespace, service, path)): Path<(String, String, String)>,
    request: Request,
) -> Response {
    let to = known.results.lock().unwrap().clone();
    let Some((client, base)) =
        to.filter(|_| (namespace.as_str(), service.as_str()) == ("teebench-system", "https:teebench-results:read"))
    else {
        return status(StatusCode::NOT_FOUND, "NotFound");
    };
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let uri: Uri = format!("{base}/{path}{query}").parse().unwrap();
    let empty = Empty::new().map_err(|never| match never {}).boxed_unsync();
    let onward = http::Request::builder().method(request.method()).uri(uri).body(empty).unwrap();
    let answer = client.request(onward).await.unwrap();
    let (parts, body) = answer.into_parts();
    let is_file = path.matches('/').count() > 3 && !path.ends_with('/');
    let cut = is_file && known.cut.try_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
    if !cut {
        return Response::from_parts(parts, Body::new(body));
    }
    let whole = body.collect().await.unwrap().to_bytes();
    let half = whole.slice(..whole.len() / 2);
    let pieces = [Ok(half), Err(std::io::Error::other("cut off"))];
    Response::from_parts(parts, Body::from_stream(futures::stream::iter(pieces)))
}

fn status(code: StatusCode, reason: &str) -> Response {
    let status = json!({"apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure", "reason": reason,
        "message": reason, "code": code.as_u16()});
    (code, Json(status)).into_response()
}
