//! An attempt from its first step to its last file.

use std::{collections::BTreeMap, num::NonZeroU32, path::Path, time::Duration};

use futures::future::try_join_all;
use jiff::Timestamp;
use reqwest::Client;
use teebench_api::{
    files::{
        evidence::EvidenceLevel,
        inputs::{RunInputs, ServerInput},
        run::{Reason, ReasonCode, RunFile, ServerRecord, Validity, Verdict, Window},
    },
    plan::RouterTarget,
    with_causes,
};
use teebench_loadgen::{
    client::{LoadError, LoadSpec, Progress, Share, measure},
    client_file::client_file,
    record::Measured,
    result_file::{ResultFileError, ResultOptions, write_bench_json},
};
use teebench_probe::{endorsement::References, energy::Work};
use thiserror::Error;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    crew::{Crew, CrewError, Lead},
    energy::run_energy,
    engine::{EngineClient, EngineError, canary},
    load::{self, LoadInputError, Prepared},
    machines::{self, Account, Machine, MachineError},
    metrics_text::MetricsText,
    routers::{self, Part, RouterEpoch, RouterError},
    step::Step,
    validity::{Seen, judge},
};
use crate::store::sha256_of_file;

/// Requests that warm up at once to each server: enough to compile and fill what a first batch fills.
const WARMUP_PER_SERVER: u32 = 2;

/// Why an attempt has no measurement.
#[derive(Debug, Error)]
enum AttemptError {
    #[error(transparent)]
    Input(#[from] LoadInputError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Router(#[from] RouterError),
    #[error(transparent)]
    Machine(#[from] MachineError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    ResultFile(#[from] ResultFileError),
    #[error(transparent)]
    Sums(#[from] crate::store::SumsError),
    #[error(transparent)]
    Crew(#[from] CrewError),
    #[error("all {count} warm-up requests failed, the first with: {error}")]
    WarmUp { count: usize, error: String },
    #[error("stopped before the load was sent")]
    Stopped,
}

impl AttemptError {
    const fn code(&self) -> ReasonCode {
        match self {
            Self::Input(_) | Self::Load(_) | Self::WarmUp { .. } | Self::Crew(_) => ReasonCode::LoadFailed,
            Self::Engine(
                EngineError::CacheKept { .. }
                | EngineError::NoReset { .. }
                | EngineError::NotDrained { .. }
                | EngineError::NoCounter { .. },
            ) => ReasonCode::CachesNotReset,
            Self::Engine(_) => ReasonCode::ServerDied,
            Self::Router(_) => ReasonCode::RouterFailed,
            Self::Machine(MachineError::Probe { .. }) => ReasonCode::ServerDied,
            Self::Machine(MachineError::References(_)) => ReasonCode::Evidence,
            Self::Machine(MachineError::Write { .. }) | Self::ResultFile(_) | Self::Sums(_) => ReasonCode::Storage,
            Self::Stopped => ReasonCode::Stopped,
        }
    }

    fn reason(&self) -> Reason {
        Reason { code: self.code(), message: with_causes(self) }
    }
}

/// Executes the attempt and writes its files, `run.json` among them; the caller commits them. Of several load generators
/// this is the first.
///
/// # Errors
/// Only when `run.json` itself cannot be written; whatever else fails is told in it.
pub async fn execute(
    inputs: &RunInputs,
    crew: Option<&Crew>,
    out: &Path,
    show: &(dyn Fn(&Step) + Sync),
    cancel: CancellationToken,
) -> anyhow::Result<RunFile> {
    let mut run = empty_run_file(inputs);
    if let Err(error) = measured(inputs, crew, out, show, cancel, &mut run).await {
        let verdict = if matches!(error, AttemptError::Stopped) { Verdict::Interrupted } else { Verdict::Failed };
        run.validity = Validity { validity: verdict, reasons: vec![error.reason()] };
    }
    run.finished_at = Timestamp::now();
    machines::write_json(&out.join("run.json"), &run)?;
    Ok(run)
}

/// What is known of an attempt before anything was done: failed, until something better is known.
pub fn empty_run_file(inputs: &RunInputs) -> RunFile {
    let now = Timestamp::now();
    RunFile {
        schema_version: 1,
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        campaign: inputs.campaign.clone(),
        plan_sha256: inputs.plan_sha256.clone(),
        run: inputs.run.clone(),
        attempt: inputs.attempt,
        epoch: inputs.epoch,
        block: inputs.block,
        boot: inputs.boot,
        boot_generation: inputs.boot_generation,
        seed: inputs.seed,
        dataset_sha256: None,
        simulated: inputs.simulated,
        tee: inputs.tee,
        target: inputs.target.clone(),
        started_at: now,
        finished_at: now,
        window: None,
        servers: Vec::new(),
        evidence_level: None,
        validity: Validity { validity: Verdict::Failed, reasons: Vec::new() },
        log_tail: Vec::new(),
    }
}

async fn measured(
    inputs: &RunInputs,
    crew: Option<&Crew>,
    out: &Path,
    show: &(dyn Fn(&Step) + Sync),
    cancel: CancellationToken,
    run: &mut RunFile,
) -> Result<(), AttemptError> {
    show(&Step::Preparing);
    let references = machines::references(inputs, out)?;
    let prepared = load::prepare(inputs, crew.map_or(Ok(Share::WHOLE), Crew::share)?)?;
    let lead = match crew {
        Some(crew) => Some(Lead::open(crew, &inputs.salt).await?),
        None => None,
    };
    if let Some(lead) = &lead {
        tokio::select! {
            gathered = lead.gather() => gathered?,
            () = cancel.cancelled() => return Err(AttemptError::Stopped),
        }
    }
    run.dataset_sha256.clone_from(&prepared.dataset_sha256);
    let http = Client::builder().no_proxy().build().expect("a client without TLS and proxies has nothing to load");
    let engines: Vec<EngineClient> = inputs
        .servers
        .iter()
        .map(|server| EngineClient::new(http.clone(), &server.engine_url, &inputs.served_model))
        .collect();
    let epochs = |part| match &inputs.target {
        RouterTarget::Policy(policy) => routers::epochs(inputs, policy, part),
        RouterTarget::Direct { .. } | RouterTarget::Foreign { .. } => Ok(Vec::new()),
    };
    routers::begin(&http, &epochs(Part::WarmUp)?).await?;
    if !prepared.warmup.is_empty() {
        show(&Step::WarmingUp);
        warm_up(inputs, &prepared, &cancel).await?;
    }
    show(&Step::Resetting);
    try_join_all(
        engines.iter().zip(&inputs.servers).map(|(engine, server)| async move {
            engine.empty_prefix_cache(&canary(&inputs.salt, server.ordinal)).await
        }),
    )
    .await?;
    // What warm-up taught the routers is forgotten like the caches it filled.
    let epochs = epochs(Part::Window)?;
    routers::begin(&http, &epochs).await?;
    show(&Step::TakingEvidence);
    let mut asked = Vec::new();
    for server in &inputs.servers {
        asked.push(Machine::before(inputs, server, &references, out).await?);
    }
    let before = readings(&engines).await?;
    if cancel.is_cancelled() {
        return Err(AttemptError::Stopped);
    }
    let measured = match &lead {
        None => fire(&prepared.load, show, cancel).await?,
        Some(lead) => fire_together(lead, &prepared.load, show, cancel).await?,
    };
    show(&Step::Collecting);
    let gathering = Gathering {
        inputs,
        references: &references,
        out,
        http: &http,
        engines: &engines,
        epochs: &epochs,
        before: &before,
        result: &prepared.result,
    };
    collect(&gathering, asked, &measured, run).await
}

async fn warm_up(inputs: &RunInputs, prepared: &Prepared, cancel: &CancellationToken) -> Result<(), AttemptError> {
    let at_once = u32::try_from(inputs.servers.len()).unwrap_or(u32::MAX).saturating_mul(WARMUP_PER_SERVER);
    let load = prepared.warmup_load(NonZeroU32::new(at_once).unwrap_or(NonZeroU32::MIN));
    let (progress, _) = watch::channel(Progress::default());
    let measured = measure(&load, progress, cancel.clone()).await?;
    if cancel.is_cancelled() {
        return Err(AttemptError::Stopped);
    }
    match measured.records.iter().find_map(|record| record.error.as_deref()) {
        Some(error) if measured.records.iter().all(|record| !record.succeeded()) => {
            Err(AttemptError::WarmUp { count: measured.records.len(), error: error.to_owned() })
        }
        _ => Ok(()),
    }
}

/// Sends the first of several shares of a load, and merges what all have measured.
async fn fire_together(
    lead: &Lead,
    load: &LoadSpec,
    show: &(dyn Fn(&Step) + Sync),
    cancel: CancellationToken,
) -> Result<Measured, AttemptError> {
    let own = lead.share(load)?;
    let own = tokio::select! {
        own = fire(&own, show, cancel) => own?,
        silent = lead.silent() => return Err(silent.into()),
    };
    // What was broken off is not the run's whole load, and nothing is gained by waiting for the rest of it.
    if own.partial { Ok(own) } else { Ok(lead.merged(own).await?) }
}

async fn fire(
    load: &LoadSpec,
    show: &(dyn Fn(&Step) + Sync),
    cancel: CancellationToken,
) -> Result<Measured, AttemptError> {
    let (progress, mut seen) = watch::channel(Progress::default());
    let started = tokio::time::Instant::now();
    let sending = measure(load, progress, cancel);
    tokio::pin!(sending);
    loop {
        tokio::select! {
            measured = &mut sending => return Ok(measured?),
            Ok(()) = seen.changed() => {
                show(&load_step(*seen.borrow_and_update(), started.elapsed()));
            }
        }
    }
}

pub fn load_step(progress: Progress, elapsed: Duration) -> Step {
    let Progress { done, failed, in_flight, total, output_tokens, first_outputs, ttft_total_us } = progress;
    Step::Load {
        done: done + failed,
        failed,
        in_flight,
        total,
        output_tokens_per_s: output_tokens as f64 / elapsed.as_secs_f64().max(0.001),
        ttft_mean_ms: (first_outputs > 0).then(|| ttft_total_us as f64 / 1000.0 / first_outputs as f64),
    }
}

/// What gathering an attempt's results needs to know.
struct Gathering<'a> {
    inputs: &'a RunInputs,
    references: &'a References,
    out: &'a Path,
    http: &'a Client,
    engines: &'a [EngineClient],
    epochs: &'a [RouterEpoch],
    before: &'a [MetricsText],
    result: &'a ResultOptions,
}

async fn collect(
    gathering: &Gathering<'_>,
    asked: Vec<Machine>,
    measured: &Measured,
    run: &mut RunFile,
) -> Result<(), AttemptError> {
    let Gathering { inputs, references, out, http, engines, epochs, before, result } = gathering;
    let window = Window { start_unix_ns: measured.window.start_unix_ns, end_unix_ns: measured.window.end_unix_ns };
    run.window = Some(window);
    let bench = out.join("bench.json");
    write_bench_json(measured, result, &bench)?;
    let client = client_file(measured);
    machines::write_json(&out.join("client.json"), &client)?;
    if measured.partial {
        return Err(AttemptError::Stopped);
    }
    let after = readings(engines).await?;
    let accounts_of_routers = routers::accounts(http, epochs).await?;
    machines::write_json(&out.join("router-metrics.json"), &accounts_of_routers)?;
    let bench_sha256 = sha256_of_file(&bench)?;
    tokio::time::sleep(settle(inputs)).await;
    let mut accounts = Vec::new();
    for machine in asked {
        accounts.push(machine.after(inputs, references, window, &bench_sha256).await?);
    }
    let energy = run_energy(&inputs.energy, inputs.simulated, &accounts, window, work(measured));
    machines::write_json(&out.join("energy.json"), &energy)?;
    let mut replaced_servers = Vec::new();
    for (index, server) in inputs.servers.iter().enumerate() {
        let (earlier, later) = (&before[index], &after[index]);
        let growth = later.growth_since(earlier);
        machines::write_json(&out.join(format!("servers/{}/vllm-metrics.json", server.ordinal)), &growth)?;
        if accounts[index].restarted {
            replaced_servers.push(format!("server {}: its engine was started anew during the run", server.ordinal));
        } else if restarted(earlier, later) {
            replaced_servers.push(format!("server {}: its counters started anew during the run", server.ordinal));
        }
        run.servers.push(server_record(server, &accounts[index], later, &growth, engines[index].version().await?));
    }
    let completed = measured.records.iter().filter(|record| record.succeeded()).count();
    run.evidence_level = evidence_level(&accounts);
    run.validity = judge(&Seen {
        client: &client,
        energy: &energy,
        completed,
        failed: measured.records.len() - completed,
        first_error: measured.records.iter().find_map(|record| record.error.as_deref()),
        evidence: accounts.iter().filter_map(|account| account.evidence.clone().err()).flatten().collect(),
        replaced_servers,
        parity: &inputs.parity_broken,
    });
    Ok(())
}

/// Milliseconds between two readings of a GPU's energy counter: a call takes a real GPU 4 to 6 ms, so every half second
/// is often enough; a simulated GPU is read as often as its power.
pub fn counter_milliseconds(sample_milliseconds: u32, simulated: bool) -> u32 {
    const REAL: u32 = 500;
    if simulated { sample_milliseconds } else { sample_milliseconds.max(REAL) }
}

/// How long after the window the samples that reach over its end are there: the energy counter is read with the first
/// sample after its own period, and is itself brought up to date every 100 ms only.
fn settle(inputs: &RunInputs) -> Duration {
    let sample_milliseconds = inputs.energy.sample_milliseconds;
    let counter_milliseconds = counter_milliseconds(sample_milliseconds, inputs.simulated);
    Duration::from_millis(u64::from(counter_milliseconds) + 2 * u64::from(sample_milliseconds.max(100)))
}

async fn readings(engines: &[EngineClient]) -> Result<Vec<MetricsText>, EngineError> {
    let mut readings = Vec::with_capacity(engines.len());
    for engine in engines {
        readings.push(engine.metrics().await?);
    }
    Ok(readings)
}

/// Counters of a server that was not restarted never fall.
fn restarted(earlier: &MetricsText, later: &MetricsText) -> bool {
    const COUNTER: &str = "vllm:prompt_tokens_total";
    later.get(COUNTER).zip(earlier.get(COUNTER)).is_some_and(|(later, earlier)| later < earlier)
}

fn work(measured: &Measured) -> Work {
    let mut work = Work::default();
    for record in measured.records.iter().filter(|record| record.succeeded()) {
        let input = record.usage.map_or(record.expected_prompt_tokens, |usage| usage.prompt_tokens);
        work.output_tokens += record.output_tokens();
        work.total_tokens += record.output_tokens() + u64::from(input);
        work.requests += 1;
    }
    work
}

/// The weakest level among the servers; none when one server's evidence does not support the claim.
fn evidence_level(accounts: &[Account]) -> Option<EvidenceLevel> {
    let levels: Option<Vec<_>> = accounts.iter().map(|account| account.evidence.as_ref().ok().copied()).collect();
    levels?.into_iter().min()
}

fn server_record(
    server: &ServerInput,
    account: &Account,
    metrics: &MetricsText,
    growth: &BTreeMap<String, f64>,
    engine: String,
) -> ServerRecord {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counters are whole and not negative")]
    let count = |name: &str| growth.get(name).map(|growth| *growth as u64);
    ServerRecord {
        ordinal: server.ordinal,
        uid: server.uid.clone(),
        engine_url: server.engine_url.clone(),
        engine: Some(engine),
        ready_seconds: server.ready_seconds,
        num_gpu_blocks: metrics.num_gpu_blocks(),
        flags_sha256: server.flags_sha256.clone(),
        weights: server.weights.clone(),
        environment: account.environment.clone(),
        prefix_cache_queries: count("vllm:prefix_cache_queries_total"),
        prefix_cache_hits: count("vllm:prefix_cache_hits_total"),
        preemptions: count("vllm:num_preemptions_total"),
    }
}
