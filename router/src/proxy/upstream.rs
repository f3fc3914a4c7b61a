//! Connections to workers: one pool for each I/O thread, so that a connection never changes threads.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

use super::body::RequestBody;

/// A worker in the same network answers a connection in milliseconds; one that needs longer is as good as gone.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Time after which the system asks whether the machine of a silent worker is still there, and between two times that it
/// asks. A worker may think for minutes, but its machine answers at once.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// A machine that answered nothing for so long is gone: its requests are tried elsewhere.
const GONE_TIMEOUT: Duration = Duration::from_secs(20);

/// A worker that answered before it had read the request gets so long to take the rest; its connection is closed otherwise.
const REST_TIMEOUT: Duration = Duration::from_secs(1);

/// Idle connections kept for each worker: more than any engine runs sequences at once.
const MOST_IDLE_PER_WORKER: usize = 512;

/// Why a worker could not be reached.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The connection was refused or lost.
    #[error("cannot connect to {authority}")]
    Connect {
        /// `host:port`.
        authority: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// No answer in time.
    #[error("{authority} did not answer a connection within 3 s")]
    Timeout {
        /// `host:port`.
        authority: String,
    },
    /// The connection broke before it could be used.
    #[error("the connection to {authority} broke at once")]
    Handshake {
        /// `host:port`.
        authority: String,
        /// What HTTP says.
        #[source]
        source: hyper::Error,
    },
}

/// The idle connections of one I/O thread, by `host:port`.
#[derive(Debug, Default)]
pub struct Upstreams {
    idle: Mutex<HashMap<String, Vec<Link>>>,
}

/// The two ends of a connection: the sender of requests and the task that moves its bytes.
#[derive(Debug)]
struct Link {
    sender: SendRequest<RequestBody>,
    task: AbortHandle,
}

/// A connection in use. Unless [put back](Self::put_back), dropping it closes the socket at once, which is how a worker
/// learns that nobody wants its answer any more.
#[derive(Debug)]
pub struct Connection {
    link: Option<Link>,
    authority: String,
    pool: Arc<Upstreams>,
    was_idle: bool,
}

impl Upstreams {
    /// A connection to a worker, idle or new.
    pub async fn connect(self: &Arc<Self>, authority: &str) -> Result<Connection, ConnectError> {
        if let Some(link) = self.take_idle(authority) {
            return Ok(self.connection(link, authority, true));
        }
        let connect_error = |source| ConnectError::Connect { authority: authority.to_owned(), source };
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(authority))
            .await
            .map_err(|_| ConnectError::Timeout { authority: authority.to_owned() })?
            .map_err(connect_error)?;
        prepare(&stream).map_err(connect_error)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|source| ConnectError::Handshake { authority: authority.to_owned(), source })?;
        // Its errors reach the request that is on it; one on an idle connection concerns nobody.
        let task = tokio::spawn(async { drop(connection.await) }).abort_handle();
        Ok(self.connection(Link { sender, task }, authority, false))
    }

    /// Closes the idle connections to all but these workers.
    pub fn keep_only(&self, is_kept: impl Fn(&str) -> bool) {
        self.idle().retain(|authority, links| {
            let is_kept = is_kept(authority);
            if !is_kept {
                links.iter().for_each(|link| link.task.abort());
            }
            is_kept
        });
    }

    /// Closes the idle connections to a worker: one of them turned out to be dead, so the others likely are.
    pub fn discard_idle(&self, authority: &str) {
        let discarded = self.idle().remove(authority);
        for link in discarded.into_iter().flatten() {
            link.task.abort();
        }
    }

    fn take_idle(&self, authority: &str) -> Option<Link> {
        let mut idle = self.idle();
        let links = idle.get_mut(authority)?;
        while let Some(link) = links.pop() {
            if link.sender.is_ready() {
                return Some(link);
            }
        }
        None
    }

    fn keep(&self, link: Link, authority: String) {
        let mut idle = self.idle();
        let links = idle.entry(authority).or_default();
        if links.len() < MOST_IDLE_PER_WORKER {
            links.push(link);
        } else {
            link.task.abort();
        }
    }

    fn connection(self: &Arc<Self>, link: Link, authority: &str, was_idle: bool) -> Connection {
        Connection { link: Some(link), authority: authority.to_owned(), pool: self.clone(), was_idle }
    }

    fn idle(&self) -> MutexGuard<'_, HashMap<String, Vec<Link>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_user_timeout(Some(GONE_TIMEOUT))?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE_INTERVAL).with_interval(KEEPALIVE_INTERVAL))
}

impl Connection {
    /// True if the connection was idle before: the worker may have closed it at the moment of its reuse.
    pub fn was_idle(&self) -> bool {
        self.was_idle
    }

    /// `host:port` of the worker.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Sends a request and returns the head of the answer.
    pub async fn send(&mut self, request: Request<RequestBody>) -> Result<Response<Incoming>, hyper::Error> {
        let link = self.link.as_mut().expect("the link is taken only by `put_back`, which consumes the connection");
        link.sender.send_request(request).await
    }

    /// Keeps the connection for another request, once its answer was read to the end.
    pub fn put_back(mut self) {
        let Some(mut link) = self.link.take() else { return };
        let (pool, authority) = (self.pool.clone(), std::mem::take(&mut self.authority));
        if link.sender.is_ready() {
            pool.keep(link, authority);
        } else if !link.sender.is_closed() {
            // The task has the end of the answer but has not yet said that it takes another request.
            tokio::spawn(async move {
                match tokio::time::timeout(REST_TIMEOUT, link.sender.ready()).await {
                    Ok(Ok(())) => pool.keep(link, authority),
                    Ok(Err(_)) | Err(_) => link.task.abort(),
                }
            });
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(link) = &self.link {
            link.task.abort();
        }
    }
}
