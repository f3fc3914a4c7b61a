//! The cluster under test: a client, and the places of what `e2e/run` has built and loaded.

mod artefacts;
mod audit;
mod campaigns;
mod command;
mod operator;
mod results;
mod suite;
mod trouble;
mod wait;

use std::path::PathBuf;

use anyhow::{Context, ensure};

pub use self::{
    audit::{audited, pauses_between_jobs_ms, quantile},
    campaigns::{campaign_file, is_over, reason_of, seen},
    command::{Said, command},
    operator::{OPERATOR_NAMESPACE, deployed_image, metrics},
    suite::{Suite, measured, side_by_side},
    wait::{eventually, until},
};

/// What `e2e/run` has made ready, as it tells by environment variables.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `E2E_TEEBENCH`: the program, for subcommands that people run.
    pub teebench: PathBuf,
    /// `E2E_VLLM_IMAGE`: the image with the stand-ins for vLLM and the hub, by its digest.
    pub vllm_image: String,
    /// `E2E_NVML_IMAGE`: the same stand-in for vLLM with an NVML library whose GPU has confidential computing off.
    pub nvml_image: String,
    /// `E2E_ARTEFACTS`: directory for what is kept of tests that failed.
    pub artefacts: PathBuf,
}

impl Settings {
    /// Reads the variables.
    ///
    /// # Errors
    /// One is missing.
    pub fn from_environment() -> anyhow::Result<Self> {
        let variable =
            |name: &str| std::env::var(name).with_context(|| format!("{name} is not set; run these tests by e2e/run"));
        let image = |name| {
            let image = variable(name)?;
            ensure!(image.contains("@sha256:"), "{name} is \"{image}\"; name it by digest");
            Ok(image)
        };
        Ok(Self {
            teebench: variable("E2E_TEEBENCH")?.into(),
            vllm_image: image("E2E_VLLM_IMAGE")?,
            nvml_image: image("E2E_NVML_IMAGE")?,
            artefacts: variable("E2E_ARTEFACTS")?.into(),
        })
    }
}
