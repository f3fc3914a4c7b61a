//! What tests of several modules need: a planned campaign with attempts of it, an API server as far as ours call it, and
//! a running results service.

mod api_server;
mod campaign;
mod service;

pub use api_server::ApiServer;
pub use campaign::{bench_json, inputs, key, planned, run_file, start, valid_run};
pub use service::{Answer, Lab, handshake, https_client, sha256sum};
