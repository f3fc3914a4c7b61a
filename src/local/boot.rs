//! A boot: all arms' servers started anew, ready, idled, compared.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures::future::try_join_all;
use reqwest::Client;
use teebench_api::{
    campaign::{Arm, Tee},
    files::run::Window,
    plan::{Boot, Plan},
};
use teebench_probe::client::ProbeClient;
use tokio_util::sync::CancellationToken;

use super::{
    gpus::deal_gpus,
    options::{Options, visible_gpus, vllm_program},
    ports::free_ports,
    server::{Server, ServerSpec},
};
use crate::{
    executor::{EngineProgram, Parity, Placement, ServerFacts, Weights, compare, description, engine_command},
    measure::EngineClient,
    store::Tree,
};

/// Servers that are up.
#[derive(Debug)]
pub struct Booted {
    /// Servers by arm.
    pub arms: BTreeMap<String, Vec<Server>>,
    /// What differs between the arms.
    pub parity: Parity,
}

/// A boot that did not come up.
#[derive(Debug)]
pub struct BootFailure {
    /// Why, in a sentence.
    pub reason: String,
    /// Last lines of the logs.
    pub log_tail: Vec<String>,
    /// Whether a person stopped it.
    pub interrupted: bool,
}

/// What a boot needs to know.
#[derive(Debug)]
pub struct BootOrder<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// What the command line adds.
    pub options: &'a Options,
    /// Digests of the directories that models are served from, by model.
    pub weights: &'a BTreeMap<String, String>,
    /// The results tree.
    pub tree: &'a Tree,
    /// This program.
    pub teebench: PathBuf,
    /// Ordinal of the boot.
    pub index: usize,
    /// How often it was started, from 1.
    pub generation: u32,
    /// Arms to start.
    pub arms: Vec<String>,
    /// Says stop.
    pub stop: CancellationToken,
}

/// Starts the servers of all arms, waits for a served token of each, lets them idle, and compares the arms.
pub async fn boot(http: &Client, order: &BootOrder<'_>) -> Result<Booted, BootFailure> {
    let mut arms: BTreeMap<String, Vec<Server>> = BTreeMap::new();
    let outcome = tokio::select! {
        outcome = bring_up(http, order, &mut arms) => outcome,
        () = order.stop.cancelled() => Err("stopped".to_owned()),
    };
    match outcome {
        Ok(parity) => Ok(Booted { arms, parity }),
        Err(reason) => {
            let log_tail = arms.values().flatten().flat_map(Server::log_tail).collect();
            stop_all(arms).await;
            Err(BootFailure { reason, log_tail, interrupted: order.stop.is_cancelled() })
        }
    }
}

/// Ends all servers.
pub async fn stop_all(arms: BTreeMap<String, Vec<Server>>) {
    futures::future::join_all(arms.into_values().flatten().map(Server::stop)).await;
}

async fn bring_up(
    http: &Client,
    order: &BootOrder<'_>,
    arms: &mut BTreeMap<String, Vec<Server>>,
) -> Result<Parity, String> {
    let plan = order.plan;
    let boot = &plan.boots[order.index];
    start(order, boot, arms).await?;
    let timeout = plan.spec.engine.ready_timeout_seconds;
    let ready = arms.values_mut().flatten().map(|server| server.ready(http, &boot.model, timeout));
    try_join_all(ready).await.map_err(|error| error.to_string())?;
    let idle_seconds = plan.spec.energy.idle_seconds;
    if idle_seconds > 0 {
        let start_unix_ns = unix_ns();
        tokio::time::sleep(Duration::from_secs(idle_seconds.into())).await;
        let idle = Window { start_unix_ns, end_unix_ns: unix_ns() };
        arms.values_mut().flatten().for_each(|server| server.set_idle(idle));
    }
    let mut facts = Vec::new();
    for (arm, servers) in arms.iter() {
        for server in servers {
            facts.push(facts_of(http, arm, server, &boot.model).await?);
        }
    }
    let factor = plan.spec.comparison.map(|comparison| comparison.factor).unwrap_or_default();
    Ok(compare(&facts, factor, &plan.spec.parity.allow))
}

async fn start(order: &BootOrder<'_>, boot: &Boot, arms: &mut BTreeMap<String, Vec<Server>>) -> Result<(), String> {
    let plan = order.plan;
    let each = plan.replicas();
    // Every arm takes part; one whose servers were there before, with none of ours.
    arms.extend(order.arms.iter().map(|name| (name.clone(), Vec::new())));
    let ours: Vec<&Arm> = plan.spec.arms.iter().filter(|arm| is_started(order, arm)).collect();
    let mut ports = ports(order, each, ours.len())?.into_iter();
    // Neutral routers stand beside every server as soon as any policy is used; a gateway is one of them entered alone.
    let with_router = !plan.policies.is_empty();
    let visible = if plan.spec.engine.vllm.is_some() { visible_gpus() } else { Vec::new() };
    let mut gpus_taken = 0;
    for arm in ours {
        let name = &arm.name;
        let settings = plan.boot_engine_for(order.index, name).ok_or_else(|| format!("no boot {}", order.index))?;
        let dealt = if plan.spec.engine.vllm.is_some() {
            let dealt = deal_gpus(&visible, each, &settings, gpus_taken)?;
            gpus_taken += each * settings.gpus_per_server();
            dealt
        } else {
            vec![Vec::new(); each as usize]
        };
        for (ordinal, gpus) in (0..each).zip(dealt) {
            let port = ports.next().ok_or("fewer ports than servers")?;
            let gpu_file = order.tree.path(format!(".live/{name}-{ordinal}.gpu.json"));
            let place = Placement {
                host: "127.0.0.1".to_owned(),
                port,
                gpu_file: gpu_file.clone(),
                arm: name.clone(),
                ordinal: ordinal.to_string(),
            };
            let program = program(order, arm, ordinal, &boot.model, gpus)?;
            let gpu_source = match &program {
                EngineProgram::Simulator { .. } => {
                    let mut source = std::ffi::OsString::from("simulated:");
                    source.push(&gpu_file);
                    source
                }
                EngineProgram::Vllm { .. } => "auto".into(),
            };
            if let Some(dir) = gpu_file.parent() {
                std::fs::create_dir_all(dir).map_err(|error| format!("cannot create {}: {error}", dir.display()))?;
            }
            let server = Server::start(ServerSpec {
                teebench: &order.teebench,
                arm: name,
                ordinal,
                engine: engine_command(&program, &boot.model, &settings, &place),
                port,
                gpu_source,
                sample_milliseconds: plan.spec.energy.sample_milliseconds,
                simulated: plan.simulated(),
                weights: description(&settings, order.weights.get(&boot.model).map(String::as_str)),
                with_router,
                log_dir: order.tree.path(format!("logs/boot-{}.{}/{name}-{ordinal}", order.index, order.generation)),
            })
            .await
            .map_err(|error| error.to_string())?;
            arms.entry(name.clone()).or_default().push(server);
        }
    }
    Ok(())
}

/// Whether an arm's servers are to be started: those that were there before are not.
fn is_started(order: &BootOrder<'_>, arm: &Arm) -> bool {
    order.arms.contains(&arm.name) && arm.service_ref.is_none()
}

/// A port for each server of the arms to start, in their order.
fn ports(order: &BootOrder<'_>, each: u32, arms: usize) -> Result<Vec<u16>, String> {
    let Some(first) = order.options.first_port else {
        return free_ports(arms * each as usize)
            .map_err(|error| format!("no free ports on the loopback interface: {error}"));
    };
    // Counted over all arms of the file, so that a server keeps its port whichever arms a boot starts.
    let started = order.plan.spec.arms.iter().zip(0_u32..).filter(|(arm, _)| is_started(order, arm));
    let ordinals = started.flat_map(|(_, arm)| arm * each..(arm + 1) * each);
    let ports = ordinals.map(|ordinal| u16::try_from(u32::from(first) + ordinal));
    ports.collect::<Result<_, _>>().map_err(|_| format!("--first-port {first}: the ports run past 65535; lower it"))
}

fn program(
    order: &BootOrder<'_>,
    arm: &Arm,
    ordinal: u32,
    model: &str,
    gpus: Vec<String>,
) -> Result<EngineProgram, String> {
    let spec = &order.plan.spec;
    if let Some(simulator) = &spec.engine.simulator {
        return Ok(EngineProgram::Simulator {
            program: order.teebench.clone(),
            profile: simulator.profile,
            confidential: arm.tee == Tee::Enabled,
            seed: order.plan.seed,
            faults: order.options.faults_of(&format!("{}/{ordinal}", arm.name)),
        });
    }
    let model = order.plan.model(model).ok_or_else(|| format!("no model \"{model}\""))?;
    let weights = match order.options.models.get(&model.name) {
        Some(dir) => Weights::Directory(dir.clone()),
        None => Weights::Repository { repository: model.repository.clone(), revision: model.revision.clone() },
    };
    let program = vllm_program().ok_or("no vllm program is on the PATH")?;
    Ok(EngineProgram::Vllm { program, weights, gpus: Some(gpus) })
}

async fn facts_of(http: &Client, arm: &str, server: &Server, model: &str) -> Result<ServerFacts, String> {
    let probe = ProbeClient::new(server.probe_url()).map_err(|error| error.to_string())?;
    let environment = probe.environment().await.map_err(|error| format!("server {}: {error}", server.name()))?;
    let engine = EngineClient::new(http.clone(), server.engine_url(), model);
    let metrics = engine.metrics().await.map_err(|error| error.to_string())?;
    Ok(ServerFacts {
        arm: arm.to_owned(),
        environment,
        engine: engine.version().await.ok(),
        num_gpu_blocks: metrics.num_gpu_blocks(),
        flags_sha256: server.flags_sha256().to_owned(),
    })
}

/// Now, in nanoseconds since the Unix epoch.
fn unix_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}
