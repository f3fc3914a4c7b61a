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
use tokio::sync::Semaphore;

use super::clock::Clock;
use super::connection::{Connection, OpenError};

/// Where to send requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// `http://host:port`, with or without a path before the endpoint's.
    pub base_url: String,
    /// Most requests in flight at this target; `None` for no bound.
    ///
    /// It stands for the bound that a router holds, so waiting for it counts as latency, as waiting in a router does.
    pub max_in_flight: Option<NonZeroU32>,
}

/// Why a target cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The URL cannot be read, or is not plain HTTP.
    #[error("target {base_url:?}: no URL of a plain HTTP server; give http://HOST:PORT")]
    Url {
        /// The URL.
        base_url: String,
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

/// A target with its connections.
pub(super) struct TargetClient {
    addresses: Vec<SocketAddr>,
    headers: HeaderMap,
    base_path: String,
    clock: Clock,
    idle: Mutex<Vec<Connection>>,
    sockets_opened: AtomicU64,
    pub(super) cap: Option<Arc<Semaphore>>,
}

impl TargetClient {
    /// Resolves the target once, so that no request waits for a name.
    pub(super) async fn resolve(target: &Target, headers: &HeaderMap, clock: Clock) -> Result<Self, TargetError> {
        let Target { base_url, max_in_flight } = target;
        let (authority, base_path) =
            split_url(base_url).ok_or_else(|| TargetError::Url { base_url: base_url.clone() })?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let addresses: Vec<SocketAddr> = lookup_host((host, authority.port_u16().unwrap_or(80)))
            .await
            .map_err(|source| TargetError::Resolve { base_url: base_url.clone(), source })?
            .collect();
        let mut own_headers = HeaderMap::new();
        let host_value =
            HeaderValue::from_str(authority.as_str()).map_err(|_| TargetError::Url { base_url: base_url.clone() })?;
        own_headers.insert(HOST, host_value);
        own_headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        own_headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        own_headers.extend(headers.clone());
        Ok(TargetClient {
            addresses,
            headers: own_headers,
            base_path,
            clock,
            idle: Mutex::default(),
            sockets_opened: AtomicU64::new(0),
            cap: max_in_flight.map(|limit| Arc::new(Semaphore::new(limit.get() as usize))),
        })
    }

    /// A request to `path` below the base URL.
    pub(super) fn request(&self, method: Method, path: &str, body: Bytes) -> Result<Request<Full<Bytes>>, http::Error> {
        let uri: Uri = format!("{}{path}", self.base_path).parse()?;
        let mut request = Request::builder().method(method).uri(uri).body(Full::new(body))?;
        *request.headers_mut() = self.headers.clone();
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
        let connection = Connection::open(&self.addresses, self.clock).await?;
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

/// The authority and the path (without a slash at its end) of a plain HTTP URL.
fn split_url(base_url: &str) -> Option<(Authority, String)> {
    let parts = base_url.parse::<Uri>().ok()?.into_parts();
    if parts.scheme != Some(Scheme::HTTP) {
        return None;
    }
    let path = parts.path_and_query.as_ref().map_or("", PathAndQuery::path);
    Some((parts.authority?, path.trim_end_matches('/').to_owned()))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("http://a:8000", Some(("a:8000", "")))]
    #[case("http://a:8000/", Some(("a:8000", "")))]
    #[case("http://a/prefix/", Some(("a", "/prefix")))]
    #[case("http://[::1]:80", Some(("[::1]:80", "")))]
    #[case("https://a", None)]
    #[case("a:8000", None)]
    #[case("", None)]
    fn a_base_url_is_split(#[case] url: &str, #[case] expected: Option<(&str, &str)>) {
        let found = split_url(url);
        assert_eq!(found.as_ref().map(|(authority, path)| (authority.as_str(), path.as_str())), expected);
    }
}
