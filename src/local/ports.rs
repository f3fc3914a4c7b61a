//! Free ports on the loopback interface.

use std::{collections::BTreeSet, io, net::TcpListener};

/// Draws that many distinct free ports. They are all held until the last is drawn, so none comes twice.
pub fn free_ports(count: usize) -> io::Result<Vec<u16>> {
    let listeners = (0..count).map(|_| TcpListener::bind(("127.0.0.1", 0))).collect::<io::Result<Vec<_>>>()?;
    let ports = listeners
        .iter()
        .map(|listener| listener.local_addr().map(|address| address.port()))
        .collect::<io::Result<BTreeSet<_>>>()?;
    Ok(ports.into_iter().collect())
}
