//! A real HTTP server on the loopback that answers each request with what a test scripted.

use std::fmt::Debug;
use std::io;
use std::net::TcpListener as StdListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, Version, header};
use axum::response::Response;
use axum::serve::{Listener, ListenerExt};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use serde_json::Value;
use teebench_loadgen::client::Target;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

/// A request as the server saw it; GET requests have a null body.
#[derive(Clone, Debug)]
pub struct Seen {
    pub path: String,
    pub version: Version,
    pub headers: HeaderMap,
    pub body: Value,
}

/// What to answer.
pub enum Reply {
    /// HTTP 200 and these pieces, each a chunk of the transfer encoding.
    Stream(Vec<Vec<u8>>),
    /// As `Stream`, and then the connection breaks.
    BreakOff(Vec<Vec<u8>>),
    /// As `Stream`, and then nothing more.
    Hang(Vec<Vec<u8>>),
    /// Another status.
    Status(u16, &'static str),
}

type Script = dyn Fn(usize, &Seen) -> Reply + Send + Sync;

struct Shared {
    script: Box<Script>,
    seen: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
    in_flight: AtomicUsize,
    peak_in_flight: AtomicUsize,
}

/// A running server; dropping it stops it.
pub struct Server {
    pub base_url: String,
    shared: Arc<Shared>,
    _task: AbortOnDropHandle<()>,
}

impl Server {
    /// Answers the n-th request (from 0) with what `script` says.
    pub async fn start(script: impl Fn(usize, &Seen) -> Reply + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}", listener.local_addr().unwrap());
        // Or small pieces would wait for the client's acknowledgement.
        let listener = listener.tap_io(|socket| socket.set_nodelay(true).unwrap());
        Server::start_on(base_url, listener, script)
    }

    /// The same on a listener that is reached at `base_url`.
    pub fn start_on<L: Listener<Addr: Debug>>(
        base_url: String,
        listener: L,
        script: impl Fn(usize, &Seen) -> Reply + Send + Sync + 'static,
    ) -> Server {
        let shared = Arc::new(Shared {
            script: Box::new(script),
            seen: Mutex::default(),
            connections: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            peak_in_flight: AtomicUsize::new(0),
        });
        let counted = Arc::clone(&shared);
        let listener = listener.tap_io(move |_| {
            counted.connections.fetch_add(1, Ordering::SeqCst);
        });
        let app = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Server { base_url, shared, _task: AbortOnDropHandle::new(task) }
    }

    pub fn target(&self) -> Target {
        Target { base_url: self.base_url.clone(), max_in_flight: None }
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Most requests that were in the server at once.
    pub fn peak_in_flight(&self) -> usize {
        self.shared.peak_in_flight.load(Ordering::SeqCst)
    }
}

/// The base URL of a port that nobody listens on.
pub fn refused_url() -> String {
    let listener = StdListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// Counts a request as in flight until its answer has been sent or dropped.
struct InFlight(Arc<Shared>);

impl InFlight {
    fn begin(shared: Arc<Shared>) -> InFlight {
        let now = shared.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        shared.peak_in_flight.fetch_max(now, Ordering::SeqCst);
        InFlight(shared)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    version: Version,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let in_flight = InFlight::begin(Arc::clone(&shared));
    let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
    let seen = Seen { path: uri.path().to_owned(), version, headers, body };
    let number = {
        let mut all = shared.seen.lock().unwrap();
        all.push(seen.clone());
        all.len() - 1
    };
    let (status, pieces): (u16, BoxStream<'static, io::Result<Vec<u8>>>) = match (shared.script)(number, &seen) {
        Reply::Stream(pieces) => (200, stream::iter(pieces).map(Ok).boxed()),
        Reply::BreakOff(pieces) => {
            let broken = stream::once(async { Err(io::Error::other("scripted to break off")) });
            (200, stream::iter(pieces).map(Ok).chain(broken).boxed())
        }
        Reply::Hang(pieces) => (200, stream::iter(pieces).map(Ok).chain(stream::pending()).boxed()),
        Reply::Status(status, text) => (status, stream::once(async { Ok(text.into()) }).boxed()),
    };
    let pieces = pieces.then(move |piece| {
        // Held for as long as the body is being sent; and each piece is sent by itself.
        let _ = &in_flight;
        async move {
            tokio::task::yield_now().await;
            piece
        }
    });
    Response::builder()
        .status(StatusCode::from_u16(status).unwrap())
        .header(header::CONTENT_TYPE, "text/event-stream")
        .body(Body::from_stream(pieces))
        .unwrap()
}

/// One event with this data.
pub fn event(data: &str) -> Vec<u8> {
    format!("data: {data}\n\n").into_bytes()
}

/// The events of a completion: one a token, then usage and the end.
pub fn completion(tokens: usize) -> Vec<Vec<u8>> {
    let mut events: Vec<Vec<u8>> =
        (0..tokens).map(|index| event(&format!(r#"{{"choices":[{{"index":0,"text":" t{index}"}}]}}"#))).collect();
    events.push(usage(tokens));
    events.push(event("[DONE]"));
    events
}

/// The event that reports usage: 7 prompt tokens.
pub fn usage(tokens: usize) -> Vec<u8> {
    event(&format!(r#"{{"choices":[],"usage":{{"prompt_tokens":7,"completion_tokens":{tokens}}}}}"#))
}
