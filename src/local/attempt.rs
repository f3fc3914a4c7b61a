//! One attempt as a child process: started, watched, ended, its files committed.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use teebench_api::{
    files::{
        inputs::{RunInputs, ServerInput},
        run::{Reason, ReasonCode, RunFile, Validity, Verdict},
    },
    plan::{Plan, next::Start},
};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{
    generators::{Generators, LoadOrder, log_name},
    live::View,
    options::Options,
    server::{Server, tail},
};
use crate::{
    executor::{InputsOrder, existing_server, inputs},
    measure::{MOST_LOG_BYTES, empty_run_file},
    store::{self, INPUTS_FILE, Tree, TreeError},
};

/// How often servers are looked after while a load runs.
const WATCH_INTERVAL: Duration = Duration::from_millis(200);
/// How long a load generator that was told to stop may take to write what it has.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// What an attempt is done with.
pub struct Attempt<'a> {
    /// The effective plan.
    pub plan: &'a Plan,
    /// Digest of the plan as it was made.
    pub plan_sha256: &'a str,
    /// What the command line adds.
    pub options: &'a Options,
    /// Files of data sets by experiment.
    pub datasets: &'a BTreeMap<String, PathBuf>,
    /// The results tree.
    pub tree: &'a Tree,
    /// What people see.
    pub view: &'a View,
    /// This program.
    pub teebench: &'a Path,
    /// What is to be done.
    pub start: &'a Start,
    /// Differences between the arms that break the comparison.
    pub parity_broken: &'a [String],
    /// Says stop.
    pub stop: &'a CancellationToken,
    /// When the campaign's time is up.
    pub campaign_deadline: Option<Timestamp>,
}

impl Attempt<'_> {
    /// The frozen inputs of the attempt on these servers.
    fn inputs(&self, servers: &[Server]) -> Option<RunInputs> {
        inputs(InputsOrder {
            plan: self.plan,
            plan_sha256: self.plan_sha256,
            start: self.start,
            salt: hex::encode(rand::random::<[u8; 32]>()),
            foreign_routers: &self.options.routers,
            dataset_path: self.datasets.get(&self.start.run.experiment).map(|path| path.display().to_string()),
            references: self.options.references.as_ref().map(|directory| directory.display().to_string()),
            servers: self.server_inputs(servers),
            gateways: Vec::new(),
            parity_broken: self.parity_broken,
        })
    }

    fn server_inputs(&self, servers: &[Server]) -> Vec<ServerInput> {
        let arm = &self.start.run.arm;
        if let Some(service) = self.plan.arm(arm).and_then(|arm| arm.service_ref.as_ref()) {
            return vec![existing_server(service, self.options.services.get(arm).map(String::as_str))];
        }
        servers.iter().map(|server| ServerInput { cpu: self.options.cpu.clone(), ..server.input() }).collect()
    }

    /// Executes the attempt on these servers and commits its files.
    ///
    /// # Errors
    /// Only when the results tree cannot be read; an attempt whose files cannot be written is Failed in memory.
    pub async fn execute(&self, servers: &mut [Server]) -> Result<RunFile, TreeError> {
        let Some(inputs) = self.inputs(servers) else {
            let message = format!("run {}: the plan has no such block, condition, arm or router", self.start.run);
            return Err(TreeError::Plan(message));
        };
        let title = self.start.run.attempt_path(self.start.attempt);
        let staged = self.tree.staging(&self.start.run, self.start.attempt);
        let staging = match staged.and_then(|dir| write_inputs(&dir, &inputs).map(|()| dir)) {
            Ok(dir) => dir,
            Err(error) => return Ok(unstored(&inputs, &error)),
        };
        let logs = LogMarks::set(servers);
        let ended = self.watch(&inputs, &staging, servers, &title).await;
        let mut run = read_run(&staging).unwrap_or_else(|| empty_run_file(&inputs));
        match ended {
            LoadEnd::Done => {}
            LoadEnd::Broken(reason) => {
                run.validity = Validity::broken_off(reason);
                run.finished_at = Timestamp::now();
            }
        }
        if run.validity.validity == Verdict::Failed {
            let logs = (0..self.plan.spec.load_generator.replicas).map(|number| staging.join(log_name(number)));
            run.log_tail = logs.flat_map(|log| tail(&log)).collect();
            run.log_tail.extend(servers.iter().flat_map(Server::log_tail));
        }
        logs.keep(servers, &staging);
        Ok(commit(self.tree, run, &staging))
    }

    async fn watch(&self, inputs: &RunInputs, staging: &Path, servers: &mut [Server], title: &str) -> LoadEnd {
        let count = self.plan.spec.load_generator.replicas;
        let mut load = match Generators::start(&LoadOrder { teebench: self.teebench, title, staging, count }) {
            Ok(load) => load,
            Err(error) => return LoadEnd::broken(ReasonCode::LoadFailed, error.to_string()),
        };
        let deadline = Instant::now() + Duration::from_secs(inputs.deadline_seconds);
        let campaign_deadline = self.campaign_deadline.map(instant_of);
        let mut look = tokio::time::interval(WATCH_INTERVAL);
        let end = loop {
            tokio::select! {
                said = load.next() => match said {
                    Some(Ok(step)) => self.view.step(title, &step),
                    Some(Err(line)) => self.view.say(&line),
                    None => break LoadEnd::Done,
                },
                _ = look.tick() => {
                    if let Some((server, how)) = servers.iter_mut().find_map(|server| {
                        server.ended().map(|how| (server.name().to_owned(), how))
                    }) {
                        break LoadEnd::broken(ReasonCode::ServerDied, format!("server {server} ended{how} during the run"));
                    }
                    if let Some(lost) = load.lost() {
                        break LoadEnd::broken(ReasonCode::LoadFailed, lost);
                    }
                }
                () = sleep_until(deadline) => {
                    let seconds = inputs.deadline_seconds;
                    break LoadEnd::broken(ReasonCode::DeadlineExceeded, format!("not done within {seconds} s"));
                }
                () = sleep_until(campaign_deadline.unwrap_or(deadline)), if campaign_deadline.is_some() => {
                    break LoadEnd::broken(ReasonCode::Stopped, "the campaign's deadline passed".to_owned());
                }
                () = self.stop.cancelled() => break LoadEnd::broken(ReasonCode::Stopped, "stopped by a person".to_owned()),
            }
        };
        match end {
            LoadEnd::Done => {
                let end = exit_of(&mut load).await;
                // One that waits for a first that failed would still write to its log while the files are committed.
                load.stop(STOP_GRACE).await;
                end
            }
            broken @ LoadEnd::Broken(_) => {
                load.stop(STOP_GRACE).await;
                broken
            }
        }
    }

    /// Writes an attempt that failed without having been executed, with the tail of the log that shows why.
    pub fn fail(&self, reason: Reason, log_tail: Vec<String>) -> Result<RunFile, TreeError> {
        let Some(inputs) = self.inputs(&[]) else {
            return Err(TreeError::Plan(format!("run {}: not in the plan", self.start.run)));
        };
        let mut run = empty_run_file(&inputs);
        run.validity = Validity { validity: Verdict::Failed, reasons: vec![reason] };
        run.log_tail = log_tail;
        match self.tree.staging(&self.start.run, self.start.attempt) {
            Ok(staging) => Ok(commit(self.tree, run, &staging)),
            Err(error) => Ok(unstored(&inputs, &error)),
        }
    }
}

/// How the load generator ended.
enum LoadEnd {
    /// By itself, with its `run.json` written.
    Done,
    /// Otherwise.
    Broken(Reason),
}

impl LoadEnd {
    fn broken(code: ReasonCode, message: String) -> Self {
        Self::Broken(Reason { code, message })
    }
}

async fn exit_of(load: &mut Generators) -> LoadEnd {
    match load.wait().await {
        // The code of an interruption comes with a run.json that says the same.
        Ok(status) if status.success() || status.code() == Some(crate::cli::INTERRUPTED.into()) => LoadEnd::Done,
        Ok(status) => LoadEnd::broken(ReasonCode::LoadFailed, format!("the load generator ended with {status}")),
        Err(error) => LoadEnd::broken(ReasonCode::LoadFailed, format!("the load generator was lost: {error}")),
    }
}

/// Writes `run.json` and moves the attempt to its place. Where that fails, the attempt is Failed in memory alone, and
/// is executed again when there is room.
pub fn commit(tree: &Tree, mut run: RunFile, staging: &Path) -> RunFile {
    let text = serde_json::to_vec_pretty(&run).expect("our own types serialise to JSON");
    let written = fs::write(staging.join("run.json"), text).map_err(|error| error.to_string());
    let target = tree.run_dir(&run.run, run.attempt);
    let committed = written.and_then(|()| store::commit(staging, &target).map_err(|error| format!("{error}")));
    if let Err(message) = committed {
        tracing::error!(run = %run.run, %message, "the attempt's files could not be committed");
        run.validity =
            Validity { validity: Verdict::Failed, reasons: vec![Reason { code: ReasonCode::Storage, message }] };
    }
    run
}

/// Commits what a killed program left unfinished. An attempt whose load generator had come to its end is what it says it
/// is; any other is interrupted: it costs no attempt and enters no number.
pub fn commit_unfinished(tree: &Tree) -> Result<(), TreeError> {
    for (inputs, dir) in tree.unfinished()? {
        if let Some(run) = read_run(&dir)
            && (&run.run, run.attempt, &run.plan_sha256) == (&inputs.run, inputs.attempt, &inputs.plan_sha256)
        {
            commit(tree, run, &dir);
            continue;
        }
        let mut run = empty_run_file(&inputs);
        let message = "teebench ended while it ran".to_owned();
        run.validity =
            Validity { validity: Verdict::Interrupted, reasons: vec![Reason { code: ReasonCode::Stopped, message }] };
        commit(tree, run, &dir);
    }
    Ok(())
}

fn unstored(inputs: &RunInputs, error: &TreeError) -> RunFile {
    let mut run = empty_run_file(inputs);
    let reason = Reason { code: ReasonCode::Storage, message: error.to_string() };
    run.validity = Validity { validity: Verdict::Failed, reasons: vec![reason] };
    run
}

fn write_inputs(dir: &Path, inputs: &RunInputs) -> Result<(), TreeError> {
    let path = dir.join(INPUTS_FILE);
    let text = serde_json::to_vec_pretty(inputs).expect("our own types serialise to JSON");
    fs::write(&path, text).map_err(|source| TreeError::Io { action: "write", path, source })
}

fn read_run(staging: &Path) -> Option<RunFile> {
    serde_json::from_slice(&fs::read(staging.join("run.json")).ok()?).ok()
}

/// How long each log was when the attempt began, so that the run keeps its own part.
struct LogMarks(Vec<Vec<(PathBuf, u64)>>);

impl LogMarks {
    fn set(servers: &[Server]) -> Self {
        Self(servers.iter().map(|server| sizes(server.log_dir())).collect())
    }

    /// Copies what the logs grew by into the run. A log that cannot be copied costs the run nothing but the log.
    fn keep(&self, servers: &[Server], staging: &Path) {
        for (ordinal, (server, marks)) in servers.iter().zip(&self.0).enumerate() {
            let dir = staging.join("servers").join(ordinal.to_string()).join("logs");
            for (path, now) in sizes(server.log_dir()) {
                let mark = marks.iter().find(|(known, _)| *known == path).map_or(0, |(_, size)| *size);
                if now > mark
                    && let Err(error) = copy_part(&path, mark.max(now.saturating_sub(MOST_LOG_BYTES)), &dir)
                {
                    tracing::warn!(log = %path.display(), %error, "log not kept");
                }
            }
        }
    }
}

fn sizes(dir: &Path) -> Vec<(PathBuf, u64)> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok().and_then(|entry| Some((entry.path(), entry.metadata().ok()?.len()))))
        .collect()
}

fn copy_part(path: &Path, from: u64, dir: &Path) -> std::io::Result<()> {
    fs::create_dir_all(dir)?;
    let mut log = File::open(path)?;
    log.seek(SeekFrom::Start(from))?;
    let mut part = File::create(dir.join(path.file_name().unwrap_or_default()))?;
    std::io::copy(&mut log.take(MOST_LOG_BYTES), &mut part)?;
    Ok(())
}

fn instant_of(at: Timestamp) -> Instant {
    let left = at.as_millisecond() - Timestamp::now().as_millisecond();
    Instant::now() + Duration::from_millis(u64::try_from(left).unwrap_or(0))
}
