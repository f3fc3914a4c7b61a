//! One HTTP/1.1 connection, driven by the task that uses it.
//!
//! hyper hands the reading of a connection to a second task; then a chunk waits for that task and for its own to be
//! scheduled, which at 1,000 requests in flight is milliseconds. Here the request's task polls both, and the socket
//! notes when each read returned, so that a time to first token holds neither parsing nor waiting for a turn.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::clock::Clock;

/// A connection and the exchange under way on it.
pub(super) struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    driver: Pin<Box<http1::Connection<TokioIo<StampedStream>, Full<Bytes>>>>,
    closed: bool,
    last_read_ns: Arc<AtomicU64>,
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

impl Connection {
    pub(super) async fn open(addresses: &[SocketAddr], clock: Clock) -> Result<Connection, OpenError> {
        let connect_error = |source| OpenError::Connect { addresses: addresses.to_vec(), source };
        let stream = TcpStream::connect(addresses).await.map_err(connect_error)?;
        stream.set_nodelay(true).map_err(connect_error)?;
        let last_read_ns = Arc::new(AtomicU64::new(0));
        let stamped = StampedStream { stream, clock, last_read_ns: Arc::clone(&last_read_ns) };
        let (sender, driver) = http1::handshake(TokioIo::new(stamped))
            .await
            .map_err(|source| OpenError::Handshake { addresses: addresses.to_vec(), source })?;
        Ok(Connection { sender, driver: Box::pin(driver), closed: false, last_read_ns })
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
                if let Poll::Ready(ready) = self.sender.poll_ready(context) {
                    return Poll::Ready(ready.is_ok());
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Sends a request and waits for the head of its response.
    pub(super) async fn send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
        let response = self.sender.send_request(request);
        self.drive(response).await
    }

    /// Waits for the next piece of a response's body.
    pub(super) async fn next_frame(&mut self, body: &mut Incoming) -> Option<hyper::Result<Frame<Bytes>>> {
        self.drive(body.frame()).await
    }

    /// When the latest bytes were read, by the run's clock. hyper reads no further while a piece of the body is not
    /// taken, so that for the piece just taken this is the read that completed it.
    pub(super) fn last_read_ns(&self) -> u64 {
        self.last_read_ns.load(Ordering::Relaxed)
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
        // An error of the connection reaches its exchange too, which reports it.
        if !self.closed && self.driver.as_mut().poll(context).is_ready() {
            self.closed = true;
        }
    }
}

/// A socket that notes when a read returned bytes.
struct StampedStream {
    stream: TcpStream,
    clock: Clock,
    last_read_ns: Arc<AtomicU64>,
}

impl AsyncRead for StampedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            // One task reads and looks at this: no ordering with anything else is needed.
            self.last_read_ns.store(self.clock.now_ns(), Ordering::Relaxed);
        }
        polled
    }
}

impl AsyncWrite for StampedStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }
}
