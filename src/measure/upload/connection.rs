//! The HTTPS connection to the results service: one authority is trusted, the token is read before each request.

use std::{io, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use futures::{TryStreamExt, stream};
use http::{
    HeaderValue, Method, Request, StatusCode,
    header::{AUTHORIZATION, CONTENT_LENGTH, EXPECT},
};
use http_body_util::{BodyExt, Full, Limited, StreamBody, combinators::UnsyncBoxBody};
use hyper::{body::Frame, ext::on_informational};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use teebench_api::with_causes;
use tokio::{fs::File, io::AsyncReadExt, sync::Notify, time::timeout};

use super::{LocalFile, Target, UploadError};
use crate::store::service::{CommitAnswer, Refusal, RefusalCode};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time for an answer beside what the bytes may take: a commit of thousands of files syncs each.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
/// The slowest that the service bears, in bytes a second.
const SLOWEST_BYTES_PER_SECOND: u64 = 1 << 20;
/// Larger bodies are sent when the service says that it takes them: what it says to one that is under way may be lost.
const ASKED_BYTES: u64 = 64 << 10;
/// How long the service is given to say so; one that does not know the question gets the body then.
const ASKED_TIMEOUT: Duration = Duration::from_secs(10);
/// Pieces of a file.
const PIECE_BYTES: usize = 256 << 10;
/// Most bytes of an answer: it names at most as many sums as an attempt has files.
const MOST_ANSWER_BYTES: usize = 4 << 20;

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Why a request was not granted.
#[derive(Debug)]
pub enum Trouble {
    /// It may be granted another time.
    Passing(String),
    /// The service refuses.
    Refused {
        /// What was asked.
        what: String,
        /// Why.
        refusal: Refusal,
    },
    /// A file of the attempt cannot be read.
    Unreadable(UploadError),
}

/// A way to the results service.
pub struct Connection {
    client: Client<HttpsConnector<HttpConnector>, Body>,
    base: String,
    target: Target,
}

impl Connection {
    /// A way that trusts the target's authority alone. Nothing is sent yet.
    pub fn new(target: &Target) -> Result<Self, UploadError> {
        let url = |reason: &str| UploadError::Url { url: target.url.clone(), reason: reason.to_owned() };
        let base = target.url.trim_end_matches('/').to_owned();
        let uri: http::Uri = base.parse().map_err(|_| url("not an address"))?;
        if uri.scheme_str() != Some("https") || uri.host().is_none() {
            return Err(url("not an https address"));
        }
        let authority = |reason: String| UploadError::Authority { path: target.ca_file.clone(), reason };
        let mut roots = RootCertStore::empty();
        let certificates =
            CertificateDer::pem_file_iter(&target.ca_file).map_err(|error| authority(error.to_string()))?;
        for certificate in certificates {
            let certificate = certificate.map_err(|error| authority(error.to_string()))?;
            roots.add(certificate).map_err(|error| authority(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(authority("has no certificate in PEM".to_owned()));
        }
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| authority(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_connect_timeout(Some(CONNECT_TIMEOUT));
        http.set_nodelay(true);
        let https =
            HttpsConnectorBuilder::new().with_tls_config(config).https_only().enable_http1().wrap_connector(http);
        let client = Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(https);
        Ok(Self { client, base, target: target.clone() })
    }

    /// Sends a file under its sum.
    pub async fn put(&self, sha256: &str, file: &LocalFile) -> Result<(), Trouble> {
        let unreadable = |source| Trouble::Unreadable(UploadError::Read { path: file.path.clone(), source });
        let content = File::open(&file.path).await.map_err(unreadable)?;
        let path = format!("/v1/blobs/{sha256}");
        let what = file.path.display().to_string();
        let welcome = (file.bytes > ASKED_BYTES).then(Arc::<Notify>::default);
        let body = pieces(content, welcome.clone());
        self.send(Method::PUT, &path, &what, file.bytes, body, welcome).await.map(drop)
    }

    /// Asks for the commit of the files in this list.
    pub async fn post_commit(&self, list: &str) -> Result<CommitAnswer, Trouble> {
        let body = Full::new(Bytes::copy_from_slice(list.as_bytes())).map_err(|never| match never {}).boxed_unsync();
        let answer = self.send(Method::POST, "/v1/commit", "the commit", list.len() as u64, body, None).await?;
        serde_json::from_slice(&answer)
            .map_err(|error| Trouble::Passing(format!("the service's answer is not understood: {error}")))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        what: &str,
        bytes: u64,
        body: Body,
        welcome: Option<Arc<Notify>>,
    ) -> Result<Bytes, Trouble> {
        let token = tokio::fs::read_to_string(&self.target.token_file).await;
        let token = token.map_err(|error| {
            Trouble::Passing(format!("cannot read the token in {}: {error}", self.target.token_file.display()))
        })?;
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(AUTHORIZATION, format!("Bearer {}", token.trim()))
            .header(CONTENT_LENGTH, bytes)
            .body(body)
            .map_err(|error| Trouble::Passing(format!("the token is not one line of text: {error}")))?;
        if let Some(welcome) = welcome {
            request.headers_mut().insert(EXPECT, HeaderValue::from_static("100-continue"));
            on_informational(&mut request, move |_| welcome.notify_one());
        }
        let time = ANSWER_TIMEOUT + Duration::from_secs(bytes / SLOWEST_BYTES_PER_SECOND);
        match timeout(time, self.exchange(request)).await {
            Ok(Ok((status, answer))) => judge(status, answer, what),
            Ok(Err(error)) => Err(Trouble::Passing(error)),
            Err(_) => Err(Trouble::Passing(format!("no answer within {} s", time.as_secs()))),
        }
    }

    async fn exchange(&self, request: Request<Body>) -> Result<(StatusCode, Bytes), String> {
        let response = self.client.request(request).await.map_err(|error| with_causes(&error))?;
        let status = response.status();
        let answer = Limited::new(response.into_body(), MOST_ANSWER_BYTES).collect().await;
        Ok((status, answer.map_err(|error| with_causes(&*error))?.to_bytes()))
    }
}

fn judge(status: StatusCode, answer: Bytes, what: &str) -> Result<Bytes, Trouble> {
    if status.is_success() {
        return Ok(answer);
    }
    let refusal = serde_json::from_slice::<Refusal>(&answer);
    let passing =
        status.is_server_error() || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
    match refusal {
        Ok(refusal) if passing => Err(Trouble::Passing(format!("{status}: {}", refusal.message))),
        Ok(refusal) => Err(Trouble::Refused { what: what.to_owned(), refusal }),
        // Something between us and the service has answered.
        Err(_) if status.is_client_error() && !passing => {
            let message = format!("{status}: {}", String::from_utf8_lossy(&answer[..answer.len().min(200)]));
            Err(Trouble::Refused { what: what.to_owned(), refusal: Refusal::new(RefusalCode::BadRequest, message) })
        }
        Err(_) => Err(Trouble::Passing(status.to_string())),
    }
}

/// A file in pieces, the first of them when it is welcome.
fn pieces(file: File, welcome: Option<Arc<Notify>>) -> Body {
    let pieces = stream::try_unfold((file, welcome), |(mut file, welcome)| async move {
        if let Some(welcome) = welcome {
            // No word is as good as a word.
            let _ = timeout(ASKED_TIMEOUT, welcome.notified()).await;
        }
        let mut piece = BytesMut::with_capacity(PIECE_BYTES);
        let count = file.read_buf(&mut piece).await?;
        Ok::<_, io::Error>((count > 0).then(|| (piece.freeze(), (file, None))))
    });
    StreamBody::new(pieces.map_ok(Frame::data)).boxed_unsync()
}
