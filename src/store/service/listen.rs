//! Connections: accepted up to a bound, given TLS, served, ended in good order.

use std::{io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Limits, Tls, patient::Patient};

/// How long to wait when no connection can be accepted, for instance because files are open to the limit.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves a port until told to stop.
pub async fn serve(
    listener: TcpListener,
    tls: &Arc<Tls>,
    routes: Router,
    limits: Limits,
    stop: &CancellationToken,
) -> io::Result<()> {
    let room = Arc::new(Semaphore::new(limits.connections));
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &room) => accepted,
            () = stop.cancelled() => break,
        };
        let (stream, peer, permit) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (tls, routes, stop) = (Arc::clone(tls), routes.clone(), stop.clone());
        connections.spawn(async move {
            if let Err(error) = connection(stream, &tls, routes, limits, stop).await {
                tracing::debug!(%peer, error, "a connection ended");
            }
            drop(permit);
        });
    }
    connections.close();
    // Those that do not end in time end with the program.
    let _ = timeout(limits.stop_grace, connections.wait()).await;
    Ok(())
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(room).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, permit))
}

async fn connection(
    stream: TcpStream,
    tls: &Tls,
    routes: Router,
    limits: Limits,
    stop: CancellationToken,
) -> Result<(), String> {
    let said = |error: &dyn std::error::Error| error.to_string();
    let stream = Patient::new(stream, limits.pause_timeout);
    let handshake = timeout(limits.head_timeout, tls.acceptor().accept(stream)).await;
    let stream = handshake.map_err(|_| "no TLS handshake in time".to_owned())?.map_err(|error| said(&error))?;
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    let mut served = pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    ended.map_err(|error| said(&error))
}
