//! Real servers, real routers and a client for the tests: loopback only, free ports.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Either, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use teebench_router::control::members::Source;
use teebench_router::limits::Limits;
use teebench_router::serve::{Config, Running, start};
use teebench_router::{RouterMetrics, WorkerReport};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

/// Longest wait for a condition: far above what any needs on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// A body whose frames a test sends one by one. Its sender learns when nobody reads it any more.
pub struct FrameByFrame(pub mpsc::Receiver<io::Result<Bytes>>);

impl Body for FrameByFrame {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0.poll_recv(context).map(|frame| frame.map(|frame| frame.map(Frame::data)))
    }
}

pub type UpstreamBody = Either<Full<Bytes>, FrameByFrame>;

/// An answer that is there at once.
pub fn whole(body: impl Into<Bytes>) -> Response<UpstreamBody> {
    Response::new(Either::Left(Full::new(body.into())))
}

/// A stream of events, and what sends them.
pub fn event_stream() -> (Response<UpstreamBody>, mpsc::Sender<io::Result<Bytes>>) {
    let (sender, receiver) = mpsc::channel(16);
    let mut response = Response::new(Either::Right(FrameByFrame(receiver)));
    response.headers_mut().insert("content-type", "text/event-stream; charset=utf-8".parse().unwrap());
    (response, sender)
}

/// A server whose streams a test feeds: each request's sender comes over the channel.
pub async fn streaming() -> (Upstream, mpsc::UnboundedReceiver<mpsc::Sender<io::Result<Bytes>>>) {
    let (streams, started) = mpsc::unbounded_channel();
    let upstream = Upstream::start(move |_, _| {
        let (response, sender) = event_stream();
        streams.send(sender).unwrap();
        async { response }
    });
    (upstream.await, started)
}

/// What a server saw of a request.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: Method,
    pub target: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: Option<HeaderMap>,
}

/// A server behind the router.
pub struct Upstream {
    pub url: String,
    pub seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

impl Upstream {
    /// Serves with `answer` on a free port.
    pub async fn start<F, A>(answer: F) -> Self
    where
        F: Fn(Parts, Bytes) -> A + Clone + Send + 'static,
        A: Future<Output = Response<UpstreamBody>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::serve(listener, answer)
    }

    pub fn serve<F, A>(listener: TcpListener, answer: F) -> Self
    where
        F: Fn(Parts, Bytes) -> A + Clone + Send + 'static,
        A: Future<Output = Response<UpstreamBody>> + Send + 'static,
    {
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let log = seen.clone();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                let (answer, log) = (answer.clone(), log.clone());
                let service = service_fn(move |request: Request<Incoming>| {
                    let (answer, log) = (answer.clone(), log.clone());
                    async move {
                        let (head, body) = request.into_parts();
                        let Ok(body) = body.collect().await else { return Ok(whole("")) };
                        let trailers = body.trailers().cloned();
                        let body = body.to_bytes();
                        log.lock().unwrap().push(Seen {
                            method: head.method.clone(),
                            target: head.uri.to_string(),
                            headers: head.headers.clone(),
                            body: body.clone(),
                            trailers,
                        });
                        Ok::<_, Infallible>(answer(head, body).await)
                    }
                });
                connections.spawn(async move {
                    // A connection that ends early is what several tests are about.
                    drop(
                        hyper::server::conn::http1::Builder::new()
                            .serve_connection(TokioIo::new(stream), service)
                            .await,
                    );
                });
            }
        });
        Self { url, seen, task }
    }

    /// A server that says `text` to everything.
    pub async fn saying(text: &'static str) -> Self {
        Self::start(move |_, _| async move { whole(text) }).await
    }

    pub fn requests(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Closes the port and every connection at once.
    pub async fn kill(self) {
        self.task.abort();
        drop(self.task.await);
    }
}

fn config(control_port: u16, limits: Limits) -> Config {
    Config {
        host: "127.0.0.1".into(),
        port: 0,
        control_port,
        prometheus_port: None,
        threads: 2,
        limits,
        epoch: None,
        watched: None,
        debug_tree: true,
        access_log: true,
    }
}

/// Bodies of at most a megabyte.
pub fn test_limits() -> Limits {
    Limits { body_bytes: 1 << 20, ..Limits::default() }
}

/// A port on which nobody listens.
pub async fn dead_url() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// A router under test; its threads end with it.
pub struct Router {
    running: Option<Running>,
    pub data: String,
    pub control: String,
}

impl Router {
    /// A neutral router on free ports.
    pub fn neutral() -> Self {
        Self::on_port(0)
    }

    /// A neutral router whose control port is given.
    pub fn on_port(control_port: u16) -> Self {
        Self::start(control_port, test_limits())
    }

    /// A router in epoch 1 with one server and limits that a test reaches.
    pub async fn limited(limits: Limits, url: &str) -> Self {
        let router = Self::start(0, limits);
        let policy = json!({"mode": "HashRadixTree", "hashRadixTree": {}});
        assert_eq!(router.begin(&epoch(1, policy, &[url], &[])).await.0, StatusCode::OK);
        router
    }

    /// A round robin over the servers that a source lists.
    pub fn watching(source: Source) -> Self {
        let policy = json!({"mode": "RoundRobin", "maxInFlightPerServer": 2});
        let mut first = epoch(1, policy, &[], &[]);
        first["workers"] = serde_json::to_value(source.read().unwrap()).unwrap();
        Self::run(&Config {
            epoch: Some(serde_json::from_value(first).unwrap()),
            watched: Some(source),
            ..config(0, test_limits())
        })
    }

    fn start(control_port: u16, limits: Limits) -> Self {
        Self::run(&config(control_port, limits))
    }

    fn run(config: &Config) -> Self {
        let running = start(config).unwrap();
        let (data, control) = (running.data.to_string(), running.control.to_string());
        Self { running: Some(running), data, control }
    }

    /// A router in epoch 1 with this policy and these servers.
    pub async fn with(policy: Value, urls: &[&str]) -> Self {
        let router = Self::neutral();
        assert_eq!(router.begin(&epoch(1, policy, urls, &[])).await.0, StatusCode::OK);
        router
    }

    pub async fn begin(&self, epoch: &Value) -> (StatusCode, Value) {
        self.control(Method::PUT, "/epoch", epoch.to_string().into()).await
    }

    /// Calls the control port; an answer that is no JSON comes as a string.
    pub async fn control(&self, method: Method, path: &str, body: Bytes) -> (StatusCode, Value) {
        let (status, body) = self.call(&self.control, method, path, body).await;
        (status, serde_json::from_slice(&body).unwrap_or_else(|_| String::from_utf8_lossy(&body).into()))
    }

    /// Calls the data port.
    pub async fn request(&self, method: Method, path: &str, body: impl Into<Bytes>) -> (StatusCode, Bytes) {
        self.call(&self.data, method, path, body.into()).await
    }

    /// Completes a prompt; returns what the server said.
    pub async fn complete(&self, prompt: &str) -> String {
        let (status, body) = self.request(Method::POST, "/v1/completions", completion(prompt)).await;
        let body = String::from_utf8(body.to_vec()).unwrap();
        assert_eq!(status, StatusCode::OK, "{body}");
        body
    }

    async fn call(&self, authority: &str, method: Method, path: &str, body: Bytes) -> (StatusCode, Bytes) {
        let mut client = Conversation::with(authority).await;
        let request = Request::builder().method(method).uri(path).header("host", authority).body(Full::new(body));
        let response = within("an answer", client.sender.send_request(request.unwrap())).await.unwrap();
        let status = response.status();
        (status, within("its body", response.collect()).await.unwrap().to_bytes())
    }

    pub async fn metrics(&self) -> RouterMetrics {
        serde_json::from_value(self.control(Method::GET, "/metrics.json", Bytes::new()).await.1).unwrap()
    }

    pub async fn worker(&self, index: usize) -> WorkerReport {
        self.metrics().await.workers[index].clone()
    }

    /// Drains for at most `patience`.
    pub fn stop(mut self, patience: Duration) {
        self.running.take().unwrap().stop(patience);
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.abort();
        }
    }
}

/// The body of `PUT /epoch`; servers and peers are named by their place.
pub fn epoch(number: u64, policy: Value, urls: &[&str], peers: &[&str]) -> Value {
    let named = |urls: &[&str], letter: &str| -> Vec<Value> {
        let entries = urls.iter().enumerate();
        entries.map(|(index, url)| json!({"id": format!("{letter}{index}"), "url": url})).collect()
    };
    let peers: Vec<String> = peers.iter().map(|peer| format!("http://{peer}")).collect();
    let peers: Vec<&str> = peers.iter().map(String::as_str).collect();
    let (workers, peers) = (named(urls, "w"), named(&peers, "p"));
    let mut epoch = json!({"epoch": number, "run": "ablation/r1", "workers": workers, "peers": peers});
    epoch["policy"] = policy;
    epoch
}

pub fn completion(prompt: &str) -> String {
    json!({"model": "m", "prompt": prompt, "max_tokens": 8}).to_string()
}

/// A prompt of several chunks: `shared` fills the first four, `own` the rest.
pub fn prompt(shared: &str, own: &str) -> String {
    format!("{shared:-<1024}{own:-<512}")
}

/// A connection of a client that reads an answer frame by frame.
pub struct Conversation {
    pub sender: http1::SendRequest<Full<Bytes>>,
    connection: JoinHandle<()>,
}

impl Conversation {
    pub async fn with(authority: &str) -> Self {
        let stream = TcpStream::connect(authority).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        Self { sender, connection: tokio::spawn(async { drop(connection.await) }) }
    }

    pub async fn post(&mut self, path: &str, body: impl Into<Bytes>) -> Response<Incoming> {
        let request = Request::post(path).header("host", "router").body(Full::new(body.into())).unwrap();
        within("an answer", self.sender.send_request(request)).await.unwrap()
    }

    /// Closes the socket as a client does that goes away.
    pub async fn hang_up(self) {
        self.connection.abort();
        drop(self.connection.await);
    }
}

/// Waits for a future, at most until the deadline.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("waited {DEADLINE:?} for {what}"))
}

/// Waits until `seen` returns true of what `look` returns; the message of a failure says what was seen last.
pub async fn eventually<T, L>(what: &str, mut look: impl FnMut() -> L, seen: impl Fn(&T) -> bool) -> T
where
    T: std::fmt::Debug,
    L: Future<Output = T>,
{
    let deadline = Instant::now() + DEADLINE;
    loop {
        let last = look().await;
        if seen(&last) {
            return last;
        }
        assert!(Instant::now() < deadline, "waited {DEADLINE:?} for {what}; last seen: {last:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
