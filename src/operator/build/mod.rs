//! From the plan to the objects that the API server is asked for: pure, no client.
//!
//! | module | subject |
//! | --- | --- |
//! | [`check`] | what a valid campaign may ask for and a cluster does not offer |
//! | [`boot`] | servers of one arm and boot, gateways before them |
//! | [`weights`] | the download of a model |
//! | [`attempt`] | one attempt: BenchmarkRun, ConfigMap, Job |
//! | [`dataset`] | the file of a data set, in the load pod |
//! | [`references`] | the reference manifests of an arm, in the load pod |
//! | [`inputs`] | addresses of servers and gateways for an attempt's inputs |
//!
//! Every function gives equal objects for equal arguments, so that whoever restarts may ask again.

mod attempt;
mod boot;
mod check;
mod dataset;
mod error;
mod inputs;
mod owner;
mod pod;
mod references;
mod router;
mod server;
mod settings;
mod volumes;
mod weights;

#[cfg(test)]
mod tests;

pub use attempt::{AttemptObjects, AttemptOrder, INPUTS_KEY, attempt};
pub use boot::{BootObjects, BootOrder, EngineFacts, boot, engine_facts, uses_gateways, uses_sidecars};
pub use check::check;
pub use dataset::dataset_path;
pub use error::BuildError;
pub use inputs::{ServerSeen, gateway_input, server_input};
pub use owner::Owner;
pub use references::directory as references_directory;
pub use router::gateway_count;
pub use settings::Settings;
pub use weights::{WeightsOrder, weights};

/// Port of the engine.
pub const ENGINE_PORT: u16 = 8000;
/// Port of a router for requests.
pub const ROUTER_PORT: u16 = 8080;
/// Port of a router for epochs and for other routers.
pub const CONTROL_PORT: u16 = 8081;
/// Port of a router's metrics.
pub const ROUTER_METRICS_PORT: u16 = 9090;
/// Port of the probe.
pub const PROBE_PORT: u16 = 9400;
/// Port at which the first of several load generators hears the others.
pub const MEETING_PORT: u16 = 8070;
