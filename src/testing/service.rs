//! A running results service over a directory, with real TLS, and a client that may send it anything.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header::AUTHORIZATION};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use serde_json::{Value, json};
use teebench_api::{files::run::Reason, plan::Plan};
use tempfile::TempDir;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::sync::CancellationToken;

use super::{ApiServer, key, planned, start};
use crate::store::{
    CampaignStore, Committed, ResultsStore,
    service::{AttemptIdentity, Attempts, Limits, Listeners, ResultsService, Tls},
};

/// A client that trusts one authority.
pub type Https = Client<HttpsConnector<HttpConnector>, UnsyncBoxBody<Bytes, io::Error>>;

/// Pods as a test sets them.
#[derive(Default)]
pub struct Pods {
    /// Attempts by namespace, name and uid of their pods.
    pub attempts: Mutex<HashMap<(String, String, String), AttemptIdentity>>,
    /// Why attempts were broken off, by epoch.
    pub broken_off: Mutex<HashMap<u64, Reason>>,
    /// Epochs of attempts that the service said it has committed.
    pub committed: Mutex<Vec<u64>>,
    /// Whether nothing is known yet.
    pub unready: AtomicBool,
}

impl Attempts for Pods {
    fn ready(&self) -> bool {
        !self.unready.load(Ordering::SeqCst)
    }

    fn of_pod(&self, namespace: &str, pod: &str, uid: &str) -> Option<AttemptIdentity> {
        self.attempts.lock().unwrap().get(&(namespace.to_owned(), pod.to_owned(), uid.to_owned())).cloned()
    }

    fn broken_off(&self, attempt: &AttemptIdentity) -> Option<Reason> {
        self.broken_off.lock().unwrap().get(&attempt.epoch).cloned()
    }

    fn committed(&self, attempt: &AttemptIdentity, _: &Committed) {
        self.committed.lock().unwrap().push(attempt.epoch);
    }
}

/// A results service with a store, an API server, a campaign that has begun, and pods `load-1`, `load-2`, … whose tokens
/// are `token-1`, `token-2`, …
pub struct Lab {
    /// The store's directory.
    pub dir: TempDir,
    /// The store.
    pub store: ResultsStore,
    /// The API server.
    pub api_server: ApiServer,
    /// The pods.
    pub pods: Arc<Pods>,
    /// The campaign's plan.
    pub plan: Plan,
    /// Base addresses of both ports.
    pub upload: String,
    /// Base address of the read port.
    pub read: String,
    /// The service's authority.
    pub ca_file: PathBuf,
    client: Https,
    stop: CancellationToken,
    served: JoinHandle<()>,
}

/// An answer of the service.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its body as JSON; null when it is none.
    pub body: Value,
}

impl Lab {
    /// Starts everything.
    pub async fn start(limits: Limits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::start_in(dir, limits).await
    }

    /// Starts everything on a directory that may have been used before.
    pub async fn start_in(dir: TempDir, limits: Limits) -> Self {
        let store = ResultsStore::open(&format!("file://{}", dir.path().join("store").display())).unwrap();
        let plan = planned();
        let key = key();
        store.campaign(&key).begin(&plan, b"kind: BenchmarkCampaign\n").await.unwrap();
        let api_server = ApiServer::start().await;
        let pods = Arc::new(Pods::default());
        for index in 0..plan.run_count() {
            let number = index + 1;
            let start = start(&plan, index, number as u64);
            let (pod, uid) = (format!("load-{number}"), format!("uid-{number}"));
            let identity =
                AttemptIdentity { campaign: key.clone(), run: start.run, attempt: start.attempt, epoch: start.epoch };
            pods.attempts.lock().unwrap().insert((key.namespace.clone(), pod.clone(), uid.clone()), identity);
            api_server.token(&format!("token-{number}"), of_pod(&key.namespace, &pod, &uid));
        }
        let tls = Arc::new(Tls::of_our_own(&store, &["localhost".to_owned()]).unwrap());
        let ca_file = dir.path().join("ca.crt");
        fs::write(&ca_file, tls.ca_pem()).unwrap();
        let listeners = Listeners {
            upload: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            read: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        };
        let base = |listener: &TcpListener| format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let (upload, read) = (base(&listeners.upload), base(&listeners.read));
        api_server.proxy_to(&read, tls.ca_pem());
        let client = https_client(tls.ca_pem());
        let stop = CancellationToken::new();
        let attempts: Arc<dyn Attempts> = Arc::<Pods>::clone(&pods);
        let service = ResultsService::new(store.clone(), api_server.client.clone(), attempts, limits);
        let serving = service.serve(tls, listeners, stop.clone());
        let served = tokio::spawn(async move { serving.await.unwrap() });
        Self { dir, store, api_server, pods, plan, upload, read, ca_file, client, stop, served }
    }

    /// Stops the service; the directory stays.
    pub async fn stop(self) -> TempDir {
        self.stop.cancel();
        self.served.await.unwrap();
        self.dir
    }

    /// The campaign's results.
    pub fn campaign(&self) -> CampaignStore {
        self.store.campaign(&key())
    }

    /// The campaign's directory.
    pub fn root(&self) -> PathBuf {
        self.dir.path().join("store").join(key().directory())
    }

    /// Sends the upload port a request with a token.
    pub async fn send(&self, method: Method, path: &str, token: &str, body: impl Into<Bytes>) -> Answer {
        let body = Full::new(body.into()).map_err(|never| match never {}).boxed_unsync();
        let request = Request::builder().method(method).uri(format!("{}{path}", self.upload));
        self.request(request.header(AUTHORIZATION, format!("Bearer {token}")).body(body).unwrap()).await
    }

    /// Uploads a file; its sum.
    pub async fn put(&self, token: &str, content: &[u8]) -> String {
        let sum = crate::store::sha256_hex(content);
        let answer = self.send(Method::PUT, &format!("/v1/blobs/{sum}"), token, content.to_vec()).await;
        assert!(answer.status.is_success(), "{answer:?}");
        sum
    }

    /// Asks for the commit of files by path and sum.
    pub async fn commit(&self, token: &str, files: &[(&str, &str)]) -> Answer {
        let list: String = files.iter().map(|(path, sum)| format!("{sum}  {path}\n")).collect();
        self.send(Method::POST, "/v1/commit", token, list).await
    }

    /// Sends any request.
    pub async fn request(&self, request: Request<UnsyncBoxBody<Bytes, io::Error>>) -> Answer {
        let answer = self.client.request(request).await.unwrap();
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        Answer { status, body: serde_json::from_slice(&body).unwrap_or_default() }
    }

    /// Asks the read port.
    pub async fn get(&self, path: &str) -> Answer {
        let empty = http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync();
        self.request(Request::get(format!("{}{path}", self.read)).body(empty).unwrap()).await
    }
}

/// What a review says of a token that is bound to a pod and made for the results service.
fn of_pod(namespace: &str, pod: &str, uid: &str) -> Value {
    json!({"authenticated": true, "audiences": ["teebench-results"], "user": {
        "username": format!("system:serviceaccount:{namespace}:teebench-load"), "uid": "sa-uid",
        "groups": ["system:serviceaccounts", "system:authenticated"],
        "extra": {"authentication.kubernetes.io/pod-name": [pod], "authentication.kubernetes.io/pod-uid": [uid]}}})
}

/// A client that trusts this authority alone.
pub fn https_client(ca_pem: &str) -> Https {
    let config = trusting(ca_pem);
    let connector = HttpsConnectorBuilder::new().with_tls_config(config).https_only().enable_http1().build();
    Client::builder(TokioExecutor::new()).build(connector)
}

fn trusting(ca_pem: &str) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// What `sha256sum -c SHA256SUMS` says in a directory, when it finds fault.
pub fn sha256sum(dir: &Path) -> Result<(), String> {
    let output = Command::new("sha256sum").args(["--quiet", "--strict", "-c", "SHA256SUMS"]).current_dir(dir).output();
    let output = output.unwrap();
    let said = [output.stdout, output.stderr].concat();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&said).into_owned()) }
}

/// A TLS connection on a socket.
pub async fn handshake(socket: TcpStream, ca_pem: &str) -> TlsStream<TcpStream> {
    let connector = TlsConnector::from(Arc::new(trusting(ca_pem)));
    connector.connect("localhost".try_into().unwrap(), socket).await.unwrap()
}
