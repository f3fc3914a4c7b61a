//! Addresses of servers and gateways for an attempt's frozen inputs.

use std::net::{IpAddr, SocketAddr};

use teebench_api::files::{
    evidence::CpuEvidence,
    inputs::{GatewayInput, ServerInput},
    run::Window,
};

use super::{CONTROL_PORT, ENGINE_PORT, EngineFacts, PROBE_PORT, ROUTER_PORT};

/// A server's pod as it was found.
#[derive(Clone, Copy, Debug)]
pub struct ServerSeen<'a> {
    /// The pod's ordinal in its StatefulSet.
    pub ordinal: u32,
    /// The pod's uid.
    pub uid: &'a str,
    /// The pod's address.
    pub ip: IpAddr,
    /// Whether a router is beside the engine.
    pub with_router: bool,
    /// Seconds from the engine's start to its first served token, as the probe tells.
    pub ready_seconds: Option<f64>,
    /// What the plan says of the engine.
    pub facts: &'a EngineFacts,
    /// Where the engine idled with its model loaded.
    pub idle: Option<Window>,
    /// What its machine's CPU signed since it booted.
    pub cpu: Option<&'a CpuEvidence>,
}

/// What an attempt needs to know of a server.
#[must_use]
pub fn server_input(seen: &ServerSeen<'_>) -> ServerInput {
    let ServerSeen { ordinal, uid, ip, with_router, ready_seconds, facts, idle, cpu } = *seen;
    let EngineFacts { flags_sha256, weights } = facts;
    ServerInput {
        ordinal,
        uid: uid.to_owned(),
        engine_url: url(ip, ENGINE_PORT),
        probe_url: Some(url(ip, PROBE_PORT)),
        router_url: with_router.then(|| url(ip, ROUTER_PORT)),
        router_control_url: with_router.then(|| url(ip, CONTROL_PORT)),
        ready_seconds,
        flags_sha256: Some(flags_sha256.clone()),
        weights: weights.clone(),
        idle,
        cpu: cpu.cloned(),
    }
}

/// What an attempt needs to know of a gateway, by the address of its pod.
#[must_use]
pub fn gateway_input(ip: IpAddr) -> GatewayInput {
    GatewayInput { router_url: url(ip, ROUTER_PORT), control_url: url(ip, CONTROL_PORT) }
}

fn url(ip: IpAddr, port: u16) -> String {
    format!("http://{}", SocketAddr::new(ip, port))
}
