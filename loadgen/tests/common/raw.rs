//! A server that writes what it is told to, HTTP or not, and closes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use teebench_loadgen::client::Target;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

/// What to write on a connection once its request has come.
#[derive(Clone)]
pub enum Bytes {
    /// These, and then the connection is closed.
    Once(Vec<u8>),
    /// These first, then the second ones so many times.
    Repeat(Vec<u8>, Vec<u8>, usize),
}

/// A running server; dropping it stops it.
pub struct RawServer {
    pub base_url: String,
    written: Arc<AtomicUsize>,
    _task: AbortOnDropHandle<()>,
}

impl RawServer {
    /// Answers on the n-th connection (from 0) with what `script` says.
    pub async fn start(script: impl Fn(usize) -> Bytes + Send + Sync + 'static) -> RawServer {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}", listener.local_addr().unwrap());
        let written = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&written);
        let task = tokio::spawn(async move {
            for number in 0.. {
                let (mut socket, _) = listener.accept().await.unwrap();
                read_request(&mut socket).await;
                // The client may well hang up first; what it took is what counts.
                let _ = answer(&mut socket, script(number), &counted).await;
            }
        });
        RawServer { base_url, written, _task: AbortOnDropHandle::new(task) }
    }

    pub fn target(&self) -> Target {
        Target { base_url: self.base_url.clone(), max_in_flight: None }
    }

    /// Bytes that clients have taken so far.
    pub fn written(&self) -> usize {
        self.written.load(Ordering::SeqCst)
    }
}

async fn answer(socket: &mut TcpStream, bytes: Bytes, written: &AtomicUsize) -> std::io::Result<()> {
    let (first, repeated, times) = match bytes {
        Bytes::Once(bytes) => (bytes, Vec::new(), 0),
        Bytes::Repeat(first, repeated, times) => (first, repeated, times),
    };
    for piece in std::iter::once(&first).chain(std::iter::repeat_n(&repeated, times)) {
        socket.write_all(piece).await?;
        written.fetch_add(piece.len(), Ordering::SeqCst);
    }
    socket.shutdown().await
}

/// Reads one request, so that closing does not reset what the client has not read yet.
async fn read_request(socket: &mut TcpStream) {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
            if body.len() >= length {
                return;
            }
        }
        if socket.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return;
        }
    }
}

/// A response whose end is the connection's.
pub fn response(body: &[u8]) -> Vec<u8> {
    let mut bytes = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n".to_vec();
    bytes.extend_from_slice(body);
    bytes
}
