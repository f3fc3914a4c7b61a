//! One connection, driven by the task that uses it.
//!
//! hyper hands the reading of a connection to a second task; then a chunk waits for that task and for its own to be
//! scheduled, which at 1,000 requests in flight is milliseconds. Here the request's task polls both, and the socket
//! notes when each read returned, so that a time to first token holds neither parsing nor waiting for a turn. For the
//! same reason an HTTP/2 connection carries one exchange at a time: no stream's bytes wait behind another's.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;

use super::clock::Clock;
use super::http2::{Driver, Inbox};
use super::tls::HttpVersion;
use super::transport::{LastRead, Tls, Transport};

/// A connection and the exchange under way on it.
pub(super) struct Connection {
    sender: Sender,
    driver: Pin<Box<dyn Future<Output = ()> + Send>>,
    closed: bool,
    last_read: LastRead,
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

/// Why no connection could be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error("cannot connect to {addresses:?}")]
    Connect {
        addresses: Vec<SocketAddr>,
        #[source]
        source: io::Error,
    },
    #[error("cannot begin HTTP with {addresses:?}")]
    Handshake {
        addresses: Vec<SocketAddr>,
        #[source]
        source: hyper::Error,
    },
}

/// Where a connection leads and what is spoken on it.
pub(super) struct Route {
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) tls: Option<Tls>,
    pub(super) version: HttpVersion,
}

impl Connection {
    pub(super) async fn open(route: &Route, clock: Clock) -> Result<Connection, OpenError> {
        let Route { addresses, tls, version } = route;
        let (transport, last_read) = Transport::connect(addresses, tls.as_ref(), clock)
            .await
            .map_err(|source| OpenError::Connect { addresses: addresses.clone(), source })?;
        let handshake_error = |source| OpenError::Handshake { addresses: addresses.clone(), source };
        let io = TokioIo::new(transport);
        let (sender, driver): (Sender, Pin<Box<dyn Future<Output = ()> + Send>>) = match version {
            HttpVersion::Http1 => {
                let (sender, connection) = http1::handshake(io).await.map_err(handshake_error)?;
                // An error of the connection reaches its exchange too, which reports it.
                let driver = async {
                    let _ = connection.await;
                };
                (Sender::Http1(sender), Box::pin(driver))
            }
            HttpVersion::Http2 => {
                let inbox = Inbox::default();
                let (sender, connection) = http2::handshake(inbox.clone(), io).await.map_err(handshake_error)?;
                (Sender::Http2(sender), Box::pin(Driver::new(connection, inbox)))
            }
        };
        Ok(Connection { sender, driver, closed: false, last_read })
    }

    /// Whether it can take a request: not if the server closed it while it was idle.
    pub(super) async fn is_reusable(&mut self) -> bool {
        poll_fn(|context| {
            // The driver first: it finds out whether the server has closed. And again after a sender that is not
            // ready, which may be waiting for the driver to end the exchange before.
            for _ in 0..2 {
                self.poll_driver(context);
                if self.closed {
                    return Poll::Ready(false);
                }
                let ready = match &mut self.sender {
                    Sender::Http1(sender) => sender.poll_ready(context),
                    Sender::Http2(sender) => sender.poll_ready(context),
                };
                if let Poll::Ready(ready) = ready {
                    return Poll::Ready(ready.is_ok());
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Sends a request and waits for the head of its response.
    pub(super) async fn send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
        match &mut self.sender {
            Sender::Http1(sender) => {
                let response = sender.send_request(request);
                self.drive(response).await
            }
            Sender::Http2(sender) => {
                let response = sender.send_request(request);
                self.drive(response).await
            }
        }
    }

    /// Waits for the next piece of a response's body.
    pub(super) async fn next_frame(&mut self, body: &mut Incoming) -> Option<hyper::Result<Frame<Bytes>>> {
        self.drive(body.frame()).await
    }

    /// When the latest bytes were read, by the run's clock. hyper reads HTTP/1.1 no further while a piece of the body is
    /// not taken, so that for the piece just taken this is the read that completed it; of HTTP/2 it reads what the
    /// socket holds, so that it is the last of the reads that found bytes there at once.
    pub(super) fn last_read_ns(&self) -> u64 {
        self.last_read.ns()
    }

    async fn drive<F: Future>(&mut self, exchange: F) -> F::Output {
        let mut exchange = pin!(exchange);
        poll_fn(|context| {
            if let Poll::Ready(output) = exchange.as_mut().poll(context) {
                return Poll::Ready(output);
            }
            self.poll_driver(context);
            exchange.as_mut().poll(context)
        })
        .await
    }

    fn poll_driver(&mut self, context: &mut Context<'_>) {
        if !self.closed && self.driver.as_mut().poll(context).is_ready() {
            self.closed = true;
        }
    }
}
