//! Where connections come in: shut while the server loads, as vLLM binds its port early and listens late, and while a
//! fault refuses them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::serve::Listener;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::faults::ActiveFaults;

/// Connections that wait to be accepted, uvicorn's default.
const BACKLOG: u32 = 2048;

/// Time until a door that would not move is tried again.
const RETRY: Duration = Duration::from_millis(100);

/// A port that listens, or is only held.
pub struct Door {
    entry: Entry,
    address: SocketAddr,
    faults: ActiveFaults,
    started: Instant,
}

enum Entry {
    Open(TcpListener),
    /// Bound, so that no other process gets the port; connections are refused.
    Shut(TcpSocket),
    /// In between, after the system refused a move.
    Gone,
}

/// Holds a port without listening on it.
///
/// # Errors
/// When the address is not this machine's, or another process holds it or listens there.
pub fn hold(address: SocketAddr) -> std::io::Result<TcpSocket> {
    let bind = |shared: bool| {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(shared)?;
        socket.bind(address)?;
        Ok(socket)
    };
    // A shared port could be held by two at once. Sharing is only for ports whose last connections, of a server that
    // has ended or of this one, are not quite gone.
    bind(false).or_else(|_: std::io::Error| bind(true))
}

fn listen(socket: TcpSocket) -> std::io::Result<TcpListener> {
    // Connections inherit it, and then do not keep the next server from the port.
    socket.set_reuseaddr(true)?;
    socket.listen(BACKLOG)
}

impl Door {
    /// Opens a held port of a process that has been up since `started`.
    ///
    /// # Errors
    /// When another process has come to listen there meanwhile.
    pub fn open(socket: TcpSocket, faults: ActiveFaults, started: Instant) -> std::io::Result<Self> {
        let address = socket.local_addr()?;
        Ok(Self { entry: Entry::Open(listen(socket)?), address, faults, started })
    }

    /// Opens or shuts the door as the faults say.
    fn obey(&mut self) -> std::io::Result<()> {
        let refused = self.refused_from().is_some_and(|from| Instant::now() >= from);
        self.entry = match (std::mem::replace(&mut self.entry, Entry::Gone), refused) {
            (Entry::Open(listener), true) => {
                drop(listener);
                Entry::Shut(hold(self.address)?)
            }
            (Entry::Gone, true) => Entry::Shut(hold(self.address)?),
            (Entry::Shut(socket), false) => Entry::Open(listen(socket)?),
            (Entry::Gone, false) => Entry::Open(listen(hold(self.address)?)?),
            (entry @ Entry::Open(_), false) | (entry @ Entry::Shut(_), true) => entry,
        };
        Ok(())
    }

    fn refused_from(&self) -> Option<Instant> {
        self.faults.plan().server.refuse_connections_after.map(|after| self.started + after)
    }

    /// When the faults will say something else without being replaced.
    fn next_turn(&self) -> Option<Instant> {
        self.refused_from().filter(|from| *from > Instant::now())
    }
}

impl Listener for Door {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        let mut changes = self.faults.changes();
        loop {
            let obeyed = self.obey();
            if let Err(error) = &obeyed {
                tracing::warn!(address = %self.address, %error, "cannot move the port between open and shut");
            }
            let turn = if obeyed.is_err() { Some(Instant::now() + RETRY) } else { self.next_turn() };
            let accept = async {
                match &mut self.entry {
                    Entry::Open(listener) => Listener::accept(listener).await,
                    Entry::Shut(_) | Entry::Gone => std::future::pending().await,
                }
            };
            let turned = async {
                match turn {
                    Some(time) => tokio::time::sleep_until(time.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                (stream, address) = accept => {
                    // Without it chunks wait for acknowledgements; a connection that refuses is served late.
                    let _ = stream.set_nodelay(true);
                    return (stream, address);
                }
                () = turned => {}
                // The sender lives in `self`.
                _ = changes.changed() => {}
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        Ok(self.address)
    }
}
