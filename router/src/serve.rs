//! A running router: its ports, its threads and its end.
//!
//! Each I/O thread has a runtime of its own that serves one listener of the data port (SO_REUSEPORT spreads the
//! connections), because a connection that never changes threads costs the least. One more thread serves the control
//! port and the exchange with peers, so that neither waits for requests.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener, ToSocketAddrs};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use socket2::{Domain, Protocol, Socket, Type};
use teebench_api::files::epoch::EpochRequest;
use teebench_api::policy::{RouterMode, RouterPolicySpec, RouterQueue, Topology};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

use crate::control::Control;
use crate::control::members::{Source, follow};
use crate::epoch::EpochError;
use crate::limits::Limits;
use crate::policy::settings::{PolicyError, PolicySettings};
use crate::proxy::{Proxy, server};
use crate::shared::Shared;

/// Connections that may wait to be accepted: a load generator opens thousands at once.
const BACKLOG: i32 = 4096;

/// What a router needs to start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Host of all ports.
    pub host: String,
    /// Data port; 0 takes a free one.
    pub port: u16,
    /// Control port; 0 takes a free one.
    pub control_port: u16,
    /// A further port for metrics alone.
    pub prometheus_port: Option<u16>,
    /// I/O threads of the data port, at least 1.
    pub threads: usize,
    /// What clients may take.
    pub limits: Limits,
    /// Epoch to begin with; without one the router is neutral until `PUT /epoch`.
    pub epoch: Option<EpochRequest>,
    /// Where the list of workers is read again and again; none if it changes by the control port alone.
    pub watched: Option<Source>,
    /// Shows the tree on the control port.
    pub debug_tree: bool,
    /// Logs every request.
    pub access_log: bool,
}

/// Why a router did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port cannot be listened on.
    #[error("{option}: cannot listen on {host}:{port}; choose another port, or 0 for a free one")]
    Listen {
        /// The flag that names the port.
        option: &'static str,
        /// Its host.
        host: String,
        /// Its number.
        port: u16,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The first epoch cannot begin.
    #[error(transparent)]
    Epoch(#[from] EpochError),
    /// The policy of a neutral router is wrong.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// A thread or its runtime cannot start.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
}

/// A running router. Dropping it without [`stop`](Self::stop) leaves it running until the process ends.
#[derive(Debug)]
pub struct Running {
    /// Address of the data port.
    pub data: SocketAddr,
    /// Address of the control port.
    pub control: SocketAddr,
    control_side: Control,
    draining: CancellationToken,
    stopped: CancellationToken,
    threads: Vec<JoinHandle<()>>,
    control_thread: JoinHandle<()>,
}

/// Starts a router; it serves once this returns.
pub fn start(config: &Config) -> Result<Running, StartError> {
    let Config { host, port, control_port, prometheus_port, threads, limits, epoch, watched, debug_tree, access_log } =
        config;
    let threads = (*threads).max(1);
    if threads > 1 && *port != 0 {
        // Sharing a port among our threads would share it with another process as well; alone it is refused.
        drop(listen("--port", host, *port, false)?);
    }
    let first = listen("--port", host, *port, threads > 1)?;
    let data = first.local_addr().map_err(StartError::Thread)?;
    let mut listeners = vec![first];
    for _ in 1..threads {
        listeners.push(listen("--port", host, data.port(), true)?);
    }
    let control_listener = listen("--control-port", host, *control_port, false)?;
    let control = control_listener.local_addr().map_err(StartError::Thread)?;
    let metrics_listener = match prometheus_port {
        Some(port) => Some(listen("--prometheus-port", host, *port, false)?),
        None => None,
    };

    let neutral = PolicySettings::try_from(&RouterPolicySpec {
        mode: RouterMode::RoundRobin,
        hash_radix_tree: None,
        max_in_flight_per_server: 0,
        queue: RouterQueue::default(),
        topology: Topology::default(),
        replicas: None,
    })?;
    let shared = Arc::new(Shared::new(neutral, rand::random(), *limits, *access_log));
    let (draining, stopped) = (CancellationToken::new(), CancellationToken::new());

    let control_runtime = runtime()?;
    let control_side = {
        let _context = control_runtime.enter();
        let control_side = Control::new(shared.clone(), *debug_tree);
        if let Some(epoch) = epoch {
            control_side.begin(epoch)?;
        }
        if let Some(source) = watched {
            tokio::spawn(follow(control_side.clone(), source.clone()));
        }
        serve_routes(control_listener, control_side.clone().routes()).map_err(StartError::Thread)?;
        if let Some(listener) = metrics_listener {
            let routes = control_side.clone().metrics_routes().with_state(control_side.clone());
            serve_routes(listener, routes).map_err(StartError::Thread)?;
        }
        control_side
    };
    let control_thread = {
        let stopped = stopped.clone();
        spawn("router-control", move || control_runtime.block_on(stopped.cancelled_owned()))?
    };
    let mut data_threads = Vec::with_capacity(threads);
    for listener in listeners {
        let runtime = runtime()?;
        let listener = {
            let _context = runtime.enter();
            TcpListener::from_std(listener).map_err(StartError::Thread)?
        };
        let (proxy, draining, stopped) = (Proxy::new(shared.clone()), draining.clone(), stopped.clone());
        data_threads.push(spawn("router-data", move || {
            runtime.block_on(async move {
                tokio::select! {
                    () = server::serve(listener, proxy, draining) => {}
                    () = stopped.cancelled() => {}
                }
            });
        })?);
    }
    Ok(Running { data, control, control_side, draining, stopped, threads: data_threads, control_thread })
}

impl Running {
    /// Takes no more connections, lets the requests in flight end for at most `patience`, and ends. Blocks until then.
    pub fn stop(self, patience: Duration) {
        let Self { data: _, control: _, control_side, draining, stopped, threads, control_thread } = self;
        control_side.drain();
        draining.cancel();
        // The watch ends the threads when patience does, and learns through the channel if they end before.
        let (ended, end) = std::sync::mpsc::channel::<()>();
        let watch = {
            let stopped = stopped.clone();
            std::thread::spawn(move || {
                if end.recv_timeout(patience) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                    tracing::warn!("requests in flight are broken off: the time for draining is over");
                }
                stopped.cancel();
            })
        };
        for thread in threads {
            join(thread);
        }
        drop(ended);
        join(watch);
        join(control_thread);
    }

    /// Breaks everything off at once. Blocks until all threads ended.
    pub fn abort(self) {
        let Self { data: _, control: _, control_side: _, draining: _, stopped, threads, control_thread } = self;
        stopped.cancel();
        threads.into_iter().for_each(join);
        join(control_thread);
    }
}

/// Serves until the runtime of the control thread ends.
fn serve_routes(listener: StdListener, routes: Router) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, routes).await {
            tracing::error!(error = &error as &dyn std::error::Error, "a control port ended");
        }
    });
    Ok(())
}

fn runtime() -> Result<Runtime, StartError> {
    Builder::new_current_thread().enable_all().build().map_err(StartError::Thread)
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StartError> {
    std::thread::Builder::new().name(name.to_owned()).spawn(body).map_err(StartError::Thread)
}

fn join(thread: JoinHandle<()>) {
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn listen(option: &'static str, host: &str, port: u16, is_shared: bool) -> Result<StdListener, StartError> {
    let bind = || {
        let address = (host, port).to_socket_addrs()?.next().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(is_shared)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(StdListener::from(socket))
    };
    bind().map_err(|source| StartError::Listen { option, host: host.to_owned(), port, source })
}
