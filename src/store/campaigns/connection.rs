//! How remote stores are reached: HTTP/1.1 by hyper, TLS by the same rustls and the same certificates of the system as
//! everything else here, so that no second TLS stack is linked.

use std::{error::Error as StdError, io, sync::Arc, time::Duration};

use async_trait::async_trait;
use http_body_util::BodyExt;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector as TcpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use object_store::client::{
    ClientOptions, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse,
    HttpResponseBody, HttpService,
};
use rustls::{ClientConfig, RootCertStore};
use tokio::time::timeout;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a store may take until its answer begins. A part of a file takes the longest, 8 MiB; slower than 140 KiB/s a
/// store is of no use to a campaign.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Makes connections to remote stores.
#[derive(Debug)]
pub struct Connector {
    /// Whether an address may be plain HTTP, as of stores for tests and of those behind a mesh.
    pub allow_http: bool,
}

impl HttpConnector for Connector {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        let fail = |source: Box<dyn StdError + Send + Sync>| object_store::Error::Generic { store: "HTTP", source };
        let mut roots = RootCertStore::empty();
        let (usable, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if usable == 0 && !self.allow_http {
            return Err(fail(
                "the system has no certificates of authorities; mount some and name them by SSL_CERT_FILE".into(),
            ));
        }
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| fail(error.into()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut tcp = TcpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        tcp.set_nodelay(true);
        let builder = HttpsConnectorBuilder::new().with_tls_config(config);
        let builder = if self.allow_http { builder.https_or_http() } else { builder.https_only() };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .build(builder.enable_http1().wrap_connector(tcp));
        Ok(HttpClient::new(Connection(client)))
    }
}

#[derive(Debug)]
struct Connection(Client<HttpsConnector<TcpConnector>, HttpRequestBody>);

#[async_trait]
impl HttpService for Connection {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        match timeout(ANSWER_TIMEOUT, self.0.request(request)).await {
            Ok(Ok(response)) => Ok(response.map(|body| HttpResponseBody::new(body.map_err(of_body)))),
            Ok(Err(error)) => {
                let kind = if error.is_connect() { HttpErrorKind::Connect } else { HttpErrorKind::Request };
                Err(HttpError::new(kind, error))
            }
            Err(elapsed) => {
                Err(HttpError::new(HttpErrorKind::Timeout, io::Error::new(io::ErrorKind::TimedOut, elapsed)))
            }
        }
    }
}

fn of_body(error: hyper::Error) -> HttpError {
    HttpError::new(HttpErrorKind::Interrupted, error)
}
