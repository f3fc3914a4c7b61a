//! Objects on their way to the API server: prepared before, applied after; a status is made of the applied alone.

use std::marker::PhantomData;

use k8s_openapi::api::{
    apps::v1::{Deployment, StatefulSet},
    batch::v1::Job,
    core::v1::{ConfigMap, Service},
};
use teebench_api::run::BenchmarkRun;

/// Objects that were built and not sent yet.
#[derive(Clone, Copy, Debug)]
pub enum Prepared {}

/// Objects as the API server returned them.
#[derive(Clone, Copy, Debug)]
pub enum Applied {}

/// Objects of a campaign, in the order in which they are applied.
#[derive(Debug)]
pub struct Resources<Stage> {
    /// Runs.
    pub runs: Vec<BenchmarkRun>,
    /// ConfigMaps; those with inputs are created once and never changed.
    pub config_maps: Vec<ConfigMap>,
    /// Services.
    pub services: Vec<Service>,
    /// Servers.
    pub stateful_sets: Vec<StatefulSet>,
    /// Gateways.
    pub deployments: Vec<Deployment>,
    /// Load generators and downloads.
    pub jobs: Vec<Job>,
    /// Whether they were sent.
    pub stage: PhantomData<Stage>,
}

impl<Stage> Default for Resources<Stage> {
    fn default() -> Self {
        Self {
            runs: Vec::new(),
            config_maps: Vec::new(),
            services: Vec::new(),
            stateful_sets: Vec::new(),
            deployments: Vec::new(),
            jobs: Vec::new(),
            stage: PhantomData,
        }
    }
}
