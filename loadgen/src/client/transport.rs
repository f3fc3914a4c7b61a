//! The bytes of a connection: a socket that notes when each read returned, bare or under TLS.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::clock::Clock;

/// When the latest bytes of a socket were read, in nanoseconds of the run's clock.
#[derive(Clone, Debug, Default)]
pub(super) struct LastRead(Arc<AtomicU64>);

impl LastRead {
    pub(super) fn ns(&self) -> u64 {
        // One task reads and looks at this: no ordering with anything else is needed.
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, instant_ns: u64) {
        self.0.store(instant_ns, Ordering::Relaxed);
    }
}

/// TLS towards one server.
#[derive(Clone)]
pub(super) struct Tls {
    pub(super) config: Arc<ClientConfig>,
    pub(super) server_name: ServerName<'static>,
}

/// A connected stream of bytes.
pub(super) enum Transport {
    Plain(StampedSocket),
    Tls(Box<TlsStream<StampedSocket>>),
}

impl Transport {
    /// Connects to the first of the addresses that answers.
    pub(super) async fn connect(
        addresses: &[SocketAddr],
        tls: Option<&Tls>,
        clock: Clock,
    ) -> io::Result<(Transport, LastRead)> {
        let socket = TcpStream::connect(addresses).await?;
        socket.set_nodelay(true)?;
        let last_read = LastRead::default();
        let stamped = StampedSocket { socket, clock, last_read: last_read.clone() };
        let transport = match tls {
            None => Transport::Plain(stamped),
            Some(Tls { config, server_name }) => {
                let connector = TlsConnector::from(Arc::clone(config));
                Transport::Tls(Box::new(connector.connect(server_name.clone(), stamped).await?))
            }
        };
        Ok((transport, last_read))
    }
}

/// A socket that notes when a read returned bytes: under TLS that is when they came, not when they were deciphered.
pub(super) struct StampedSocket {
    socket: TcpStream,
    clock: Clock,
    last_read: LastRead,
}

impl AsyncRead for StampedSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.socket).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.last_read.set(self.clock.now_ns());
        }
        polled
    }
}

impl AsyncWrite for StampedSocket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(context, slices)
    }
}

/// Runs the same call on whichever stream it is.
macro_rules! on_stream {
    ($transport:expr, $stream:ident => $call:expr) => {
        match $transport.get_mut() {
            Transport::Plain($stream) => $call,
            Transport::Tls($stream) => $call,
        }
    };
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, stream => Pin::new(stream).poll_read(context, buffer))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        on_stream!(self, stream => Pin::new(stream).poll_write(context, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, stream => Pin::new(stream).poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, stream => Pin::new(stream).poll_shutdown(context))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Transport::Plain(stream) => stream.is_write_vectored(),
            Transport::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on_stream!(self, stream => Pin::new(stream).poll_write_vectored(context, slices))
    }
}
