//! A server as the client sees it: its address, its idle connections, its cap.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use http_body_util::Full;
use tokio::net::lookup_host;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::clock::Clock;
use super::connection::{Connection, OpenError, Route};
use super::tls::{self, HttpVersion, TlsError, Trust};
use super::transport::Tls;

/// Where to send requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// `http://host:port` or `https://host:port`, with or without a path before the endpoint's.
    pub base_url: String,
    /// Most requests in flight at this target; `None` for no bound.
    ///
    /// It stands for the bound that a router holds, so waiting for it counts as latency, as waiting in a router does.
    pub max_in_flight: Option<NonZeroU32>,
}

/// How HTTP is spoken with all targets of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpOptions {
    /// Headers of every request, beside the client's own.
    pub headers: HeaderMap,
    /// The version.
    pub version: HttpVersion,
    /// Whose certificates are trusted.
    pub trust: Trust,
}

/// Why a target cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The URL cannot be read, or is not of HTTP.
    #[error("target {base_url:?}: no URL of an HTTP server; give http://HOST:PORT or https://HOST:PORT")]
    Url {
        /// The URL.
        base_url: String,
    },
    /// No TLS can be spoken with it.
    #[error("target {base_url:?}: no TLS can be spoken with it")]
    Tls {
        /// The URL.
        base_url: String,
        /// What is wrong with the trusted certificates.
        #[source]
        source: TlsError,
    },
    /// The name has no address.
    #[error("target {base_url:?}: its host has no address; look at the name and at the resolver")]
    Resolve {
        /// The URL.
        base_url: String,
        /// What the resolver says.
        #[source]
        source: std::io::Error,
    },
}

/// What all workers share of a target: where it is, and its cap.
pub(super) struct ResolvedTarget {
    route: Route,
    headers: HeaderMap,
    /// What stands before the path in a request's line: nothing in HTTP/1.1, scheme and authority in HTTP/2.
    uri_origin: String,
    base_path: String,
    clock: Clock,
    cap: Option<Arc<Semaphore>>,
}

impl ResolvedTarget {
    /// Resolves the target once, so that no request waits for a name.
    pub(super) async fn resolve(target: &Target, http: &HttpOptions, clock: Clock) -> Result<Self, TargetError> {
        let Target { base_url, max_in_flight } = target;
        let HttpOptions { headers, version, trust } = http;
        let unusable = || TargetError::Url { base_url: base_url.clone() };
        let Origin { scheme, authority, base_path } = Origin::of(base_url).ok_or_else(unusable)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let is_tls = scheme == Scheme::HTTPS;
        let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let addresses: Vec<SocketAddr> = lookup_host((host, port))
            .await
            .map_err(|source| TargetError::Resolve { base_url: base_url.clone(), source })?
            .collect();
        let tls = if is_tls {
            let config = tls::client_config(trust, *version)
                .map_err(|source| TargetError::Tls { base_url: base_url.clone(), source })?;
            Some(Tls { config, server_name: tls::server_name(host).map_err(|_| unusable())? })
        } else {
            None
        };
        let mut own_headers = HeaderMap::new();
        if *version == HttpVersion::Http1 {
            own_headers.insert(HOST, HeaderValue::from_str(authority.as_str()).map_err(|_| unusable())?);
        }
        own_headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        own_headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        own_headers.extend(headers.clone());
        Ok(ResolvedTarget {
            route: Route { addresses, tls, version: *version },
            headers: own_headers,
            uri_origin: match version {
                HttpVersion::Http1 => String::new(),
                HttpVersion::Http2 => format!("{scheme}://{authority}"),
            },
            base_path,
            clock,
            cap: max_in_flight.map(|limit| Arc::new(Semaphore::new(limit.get() as usize))),
        })
    }
}

/// A target with the connections that one worker has to it.
pub(super) struct TargetClient {
    target: Arc<ResolvedTarget>,
    idle: Mutex<Vec<Connection>>,
    sockets_opened: AtomicU64,
}

impl TargetClient {
    pub(super) fn new(target: Arc<ResolvedTarget>) -> TargetClient {
        TargetClient { target, idle: Mutex::default(), sockets_opened: AtomicU64::new(0) }
    }

    /// Waits until the target's cap lets one more request through; holds its place until dropped.
    pub(super) async fn slot(&self) -> Option<SemaphorePermit<'_>> {
        match &self.target.cap {
            Some(cap) => Some(cap.acquire().await.expect("the cap's semaphore is never closed")),
            None => None,
        }
    }

    /// A request to `path` below the base URL.
    pub(super) fn request(&self, method: Method, path: &str, body: Bytes) -> Result<Request<Full<Bytes>>, http::Error> {
        let ResolvedTarget { uri_origin, base_path, headers, .. } = &*self.target;
        let uri: Uri = format!("{uri_origin}{base_path}{path}").parse()?;
        let mut request = Request::builder().method(method).uri(uri).body(Full::new(body))?;
        *request.headers_mut() = headers.clone();
        Ok(request)
    }

    /// An idle connection that is still open.
    pub(super) async fn reuse(&self) -> Option<Connection> {
        loop {
            // The latest first: the server's time-out is least likely to have struck it.
            let mut connection = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
            if connection.is_reusable().await {
                return Some(connection);
            }
        }
    }

    /// A new connection.
    pub(super) async fn open(&self) -> Result<Connection, OpenError> {
        let connection = Connection::open(&self.target.route, self.target.clock).await?;
        self.sockets_opened.fetch_add(1, Ordering::Relaxed);
        Ok(connection)
    }

    /// Takes back a connection whose exchange has ended well.
    pub(super) fn give_back(&self, connection: Connection) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }

    pub(super) fn sockets_opened(&self) -> u64 {
        self.sockets_opened.load(Ordering::Relaxed)
    }
}

/// The parts of a base URL; the path without a slash at its end.
#[derive(Debug, PartialEq)]
struct Origin {
    scheme: Scheme,
    authority: Authority,
    base_path: String,
}

impl Origin {
    fn of(base_url: &str) -> Option<Origin> {
        let parts = base_url.parse::<Uri>().ok()?.into_parts();
        let scheme = parts.scheme.filter(|scheme| *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS)?;
        let path = parts.path_and_query.as_ref().map_or("", PathAndQuery::path);
        Some(Origin { scheme, authority: parts.authority?, base_path: path.trim_end_matches('/').to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("http://a:8000", Some(("http", "a:8000", "")))]
    #[case("http://a:8000/", Some(("http", "a:8000", "")))]
    #[case("http://a/prefix/", Some(("http", "a", "/prefix")))]
    #[case("http://[::1]:80", Some(("http", "[::1]:80", "")))]
    #[case("https://a/v", Some(("https", "a", "/v")))]
    #[case("ftp://a", None)]
    #[case("a:8000", None)]
    #[case("", None)]
    fn a_base_url_is_split(#[case] url: &str, #[case] expected: Option<(&str, &str, &str)>) {
        let found = Origin::of(url);
        let parts = found
            .as_ref()
            .map(|Origin { scheme, authority, base_path }| (scheme.as_str(), authority.as_str(), base_path.as_str()));
        assert_eq!(parts, expected);
    }
}
