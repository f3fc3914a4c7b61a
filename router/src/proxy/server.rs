//! The accepting side of the data port.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Proxy;
use super::activity::Activity;
use crate::limits::Limits;

/// Most requests at once on one connection of HTTP/2: nginx and Envoy allow about as many.
const MOST_STREAMS: u32 = 256;

/// Most bytes of an answer that wait for a client of HTTP/2 to read them, for each of its requests.
const MOST_UNREAD_BYTES: usize = 64 << 10;

/// Pause after an accept that failed for want of file descriptors or memory, which only the end of others can mend.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Serves connections until `draining`; then takes no more, and returns once those that are open ended.
pub async fn serve(listener: TcpListener, proxy: Proxy, draining: CancellationToken) {
    let proxy = Arc::new(proxy);
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = draining.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                // Those that come after it wait in the system's queue.
                let permit = tokio::select! {
                    permit = proxy.shared.connections.clone().acquire_owned() => permit,
                    () = draining.cancelled() => break,
                };
                let connection = serve_connection(stream, proxy.clone(), draining.clone());
                connections.spawn(async move {
                    connection.await;
                    drop(permit);
                });
            }
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "cannot accept connections");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

async fn serve_connection(stream: TcpStream, proxy: Arc<Proxy>, draining: CancellationToken) {
    let Limits { head_timeout, stall_timeout, body_bytes: _, bodies_bytes: _, connections: _, body_timeout: _ } =
        proxy.shared.limits;
    if let Err(error) = prepare(&stream, stall_timeout) {
        tracing::debug!(error = &error as &dyn std::error::Error, "the client is gone");
        return;
    }
    let activity = Arc::new(Activity::default());
    let service = service_fn(|request| {
        let (proxy, open) = (proxy.clone(), activity.begin());
        async move { Ok::<_, Infallible>(proxy.answer(request, open).await) }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(head_timeout).auto_date_header(false);
    builder
        .http2()
        .timer(TokioTimer::new())
        .auto_date_header(false)
        .max_concurrent_streams(MOST_STREAMS)
        .max_send_buf_size(MOST_UNREAD_BYTES)
        .keep_alive_interval(Some(head_timeout))
        .keep_alive_timeout(head_timeout);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = draining.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        () = activity.ends(head_timeout) => {
            connection.as_mut().graceful_shutdown();
            // A client of HTTP/2 that does not take its leave is left.
            tokio::time::timeout(head_timeout, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(error = &*error, "a connection ended early");
    }
}

/// Sends what there is to send at once, and gives up on a client that takes nothing of it for `stall_timeout`, or whose
/// machine is gone.
fn prepare(stream: &TcpStream, stall_timeout: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_user_timeout(Some(stall_timeout))?;
    // The system counts it in whole seconds, from one on.
    let silence = stall_timeout.max(Duration::from_secs(1));
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(silence).with_interval(silence))
}

fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}
