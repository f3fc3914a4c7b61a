//! What a local run is given beside the campaign file, checked before anything starts.

use std::{
    collections::BTreeMap,
    env,
    fmt::Display,
    path::{Path, PathBuf},
};

use reqwest::Url;
use teebench_api::{
    campaign::{Arm, BenchmarkCampaignSpec, Engine, EngineSettings, Simulator, SimulatorProfile},
    files::evidence::CpuEvidence,
    plan::{self, Plan, PlanError, next::Limits},
    validate::{Diagnostics, load_path},
};
use teebench_mock_vllm::{Profile, faults::Fault};
use teebench_probe::gpu::{self, GpuChoice};
use thiserror::Error;

use super::datasets::{self, DatasetFiles, DatasetFilesError};

/// The simulator's profile, as `--simulate` names it.
pub type Simulate = Profile;

/// A campaign file with its plan.
#[derive(Debug)]
pub struct Planned {
    /// The file's content.
    pub yaml: Vec<u8>,
    /// The plan.
    pub plan: Plan,
    /// What may change between two starts of the same campaign.
    pub limits: Limits,
    /// Where the files of data sets lie, by experiment.
    pub datasets: BTreeMap<String, PathBuf>,
}

/// What the command line adds to the campaign.
#[derive(Debug)]
pub struct Options {
    /// Directory for the results.
    pub out: PathBuf,
    /// The only arm to run.
    pub arm: Option<String>,
    /// Addresses of foreign routers by name.
    pub routers: BTreeMap<String, String>,
    /// Addresses of arms' existing servers by arm.
    pub services: BTreeMap<String, String>,
    /// First port of the servers; free ports when absent.
    pub first_port: Option<u16>,
    /// Directories to serve models from by name.
    pub models: BTreeMap<String, PathBuf>,
    /// Faults of simulated servers: `<arm>/<ordinal>` and the fault.
    pub faults: Vec<(String, String)>,
    /// Directory with the reference manifests that arms pin.
    pub references: Option<PathBuf>,
    /// What this machine's CPU signed since it booted.
    pub cpu: Option<CpuEvidence>,
}

/// The input is bad; nothing was started.
#[derive(Debug, Error)]
pub enum Refusal {
    /// The campaign file has faults.
    #[error("{0}")]
    Invalid(Diagnostics),
    /// The file could not be read again.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// No plan can be made of it.
    #[error("{0}")]
    Unplannable(#[from] PlanError),
    /// A data set's file cannot be used.
    #[error("{0}")]
    Dataset(#[from] DatasetFilesError),
    /// An option names what the campaign does not have, or leaves out what it needs.
    #[error("{0}")]
    Option(String),
}

/// Reads, checks and plans a campaign file. `datasets` are files by experiment that take the place of those of a cluster.
pub fn planned(
    file: &Path,
    simulate: Option<Simulate>,
    datasets: &BTreeMap<String, PathBuf>,
) -> Result<Planned, Refusal> {
    let loaded = load_path(file).map_err(Refusal::Invalid)?;
    let yaml = std::fs::read(file).map_err(|source| Refusal::Unreadable { path: file.to_owned(), source })?;
    let name = loaded.campaign.metadata.name.clone().unwrap_or_default();
    let spec = match simulate {
        Some(profile) => simulated(loaded.campaign.spec, profile),
        None => loaded.campaign.spec,
    };
    let DatasetFiles { paths, facts } = datasets::read(file, &spec, datasets)?;
    let plan = plan::build_with_files(&name, &spec, &loaded.policies, &facts)?;
    Ok(Planned { yaml, plan, limits: Limits::of(&spec), datasets: paths })
}

/// The same campaign on the simulator: a dry run of the whole thing, existing servers included.
fn simulated(mut spec: BenchmarkCampaignSpec, profile: Simulate) -> BenchmarkCampaignSpec {
    spec.arms.iter_mut().for_each(|arm| arm.service_ref = None);
    let Engine { vllm, simulator, restart, ready_timeout_seconds } = spec.engine;
    let (replicas, settings) = match (vllm, simulator) {
        (Some(vllm), _) => (vllm.replicas, vllm.settings),
        (None, Some(simulator)) => (simulator.replicas, simulator.settings),
        (None, None) => (1, EngineSettings::default()),
    };
    let profile = match profile {
        Profile::Tiny => SimulatorProfile::Tiny,
        Profile::H100Nvl => SimulatorProfile::H100Nvl,
        Profile::H200 => SimulatorProfile::H200,
    };
    let simulator = Some(Simulator { replicas, profile, settings });
    BenchmarkCampaignSpec { engine: Engine { vllm: None, simulator, restart, ready_timeout_seconds }, ..spec }
}

impl Options {
    /// The faults of one simulated server, named `<arm>/<ordinal>`.
    pub fn faults_of(&self, server: &str) -> Vec<String> {
        self.faults.iter().filter(|(name, _)| name == server).map(|(_, fault)| fault.clone()).collect()
    }

    /// Checks the options against the plan and this machine.
    pub fn check(&self, plan: &Plan) -> Result<(), Refusal> {
        let refuse = |message: String| Err(Refusal::Option(message));
        let spec = &plan.spec;
        let names = |names: Vec<&str>| names.join(", ");
        if let Some(arm) = &self.arm
            && !spec.arms.iter().any(|known| known.name == *arm)
        {
            return refuse(unknown("--arm", arm, &names(spec.arms.iter().map(|arm| arm.name.as_str()).collect())));
        }
        for name in self.models.keys() {
            if !spec.models.iter().any(|model| model.name == *name) {
                return refuse(unknown("--model", name, &names(spec.models.iter().map(|m| m.name.as_str()).collect())));
            }
        }
        self.check_addresses()?;
        self.check_services(plan)?;
        for router in &spec.routers {
            if router.service_ref.is_some() && !self.routers.contains_key(&router.name) {
                let name = &router.name;
                return refuse(format!(
                    "router \"{name}\" is a Service of a cluster; give its address by --router {name}=URL"
                ));
            }
        }
        for name in self.routers.keys() {
            if !spec.routers.iter().any(|router| router.name == *name && router.service_ref.is_some()) {
                let foreign = spec.routers.iter().filter(|router| router.service_ref.is_some());
                return refuse(unknown("--router", name, &names(foreign.map(|router| router.name.as_str()).collect())));
            }
        }
        if let Some(arm) = spec.arms.iter().find(|arm| arm.endorsement.is_some())
            && self.references.is_none()
            && !plan.simulated()
        {
            let name = &arm.name;
            return refuse(format!(
                "arm \"{name}\": its reference manifests are not here; give them by --references DIR"
            ));
        }
        for experiment in &spec.experiments {
            if experiment.dataset.source().is_some() && !plan.dataset_files.contains_key(&experiment.name) {
                let name = &experiment.name;
                return refuse(format!(
                    "experiment \"{name}\": the file of its data set lies in a cluster; give it by --dataset {name}=FILE"
                ));
            }
        }
        for (server, fault) in &self.faults {
            if spec.engine.simulator.is_none() {
                return refuse("--fault: only simulated servers have faults on demand; add --simulate".to_owned());
            }
            if let Err(error) = fault.parse::<Fault>() {
                return refuse(format!("--fault {server}={fault}: {error}"));
            }
            let servers =
                spec.arms.iter().flat_map(|arm| (0..plan.replicas()).map(move |n| format!("{}/{n}", arm.name)));
            let servers: Vec<String> = servers.collect();
            if !servers.contains(server) {
                return refuse(unknown("--fault", server, &servers.join(", ")));
            }
        }
        let starts_servers = self.arms(plan).any(|arm| arm.service_ref.is_none());
        if starts_servers && spec.engine.vllm.is_some() && vllm_program().is_none() {
            return refuse(
                "spec.engine.vllm: no vllm program is on the PATH; install vLLM, or use --simulate for a dry run"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// Whether what stands for Services are addresses at all.
    fn check_addresses(&self) -> Result<(), Refusal> {
        let given = |flag, addresses| std::iter::repeat(flag).zip(addresses);
        let mut all = given("--router", &self.routers).chain(given("--service", &self.services));
        let wrong =
            all.find(|(_, (_, url))| !Url::parse(url).is_ok_and(|url| url.scheme() == "http" && url.has_host()));
        match wrong {
            Some((flag, (name, url))) => {
                Err(Refusal::Option(format!("{flag} {name}={url}: give an address such as http://HOST:PORT")))
            }
            None => Ok(()),
        }
    }

    /// Whether every arm that is a Service has an address here, and what goes through its servers can.
    fn check_services(&self, plan: &Plan) -> Result<(), Refusal> {
        let refuse = |message: String| Err(Refusal::Option(message));
        for name in self.services.keys() {
            let existing: Vec<&str> =
                plan.spec.arms.iter().filter(|arm| arm.service_ref.is_some()).map(|arm| arm.name.as_str()).collect();
            if !existing.contains(&name.as_str()) {
                return refuse(unknown("--service", name, &existing.join(", ")));
            }
        }
        for arm in self.arms(plan).filter(|arm| arm.service_ref.is_some()) {
            let name = &arm.name;
            if !self.services.contains_key(name) {
                return refuse(format!(
                    "arm \"{name}\" is a Service of a cluster; give its address by --service {name}=URL, or choose another by --arm"
                ));
            }
            if let Some(policy) = plan.policies.keys().next() {
                return refuse(format!(
                    "arm \"{name}\": no router is started for servers that are not ours; in place of policy \"{policy}\" start \
                     `teebench router --worker-urls` yourself and name it by serviceRef and --router"
                ));
            }
        }
        Ok(())
    }

    /// The arms that are run.
    fn arms<'a>(&'a self, plan: &'a Plan) -> impl Iterator<Item = &'a Arm> {
        plan.spec.arms.iter().filter(|arm| self.arm.as_ref().is_none_or(|only| *only == arm.name))
    }
}

fn unknown(flag: &str, name: &str, known: &dyn Display) -> String {
    match known.to_string() {
        none if none.is_empty() => format!("{flag} {name}: the campaign has none"),
        known => format!("{flag} {name}: the campaign has no such name; it has: {known}"),
    }
}

/// The `vllm` program on the PATH.
pub fn vllm_program() -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|dir| dir.join("vllm")).find(|candidate| candidate.is_file())
}

/// The GPUs that this machine's servers may use, as `CUDA_VISIBLE_DEVICES` names them.
pub fn visible_gpus() -> Vec<String> {
    if let Ok(list) = env::var("CUDA_VISIBLE_DEVICES") {
        return list.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(str::to_owned).collect();
    }
    match gpu::open(&GpuChoice::Auto, None, None) {
        Ok(source) => (0..source.uuids().len()).map(|index| index.to_string()).collect(),
        Err(error) => {
            tracing::warn!(%error, "GPUs cannot be counted");
            Vec::new()
        }
    }
}
