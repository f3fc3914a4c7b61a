//! The loop of a local run: observe, ask `next`, do what it says, until the campaign has ended.

use std::{collections::BTreeMap, env, fs, path::PathBuf, time::Duration};

use anyhow::Context;
use jiff::{SignedDuration, Timestamp};
use reqwest::Client;
use teebench_analysis::{
    read,
    report::{self, Sources},
    summary,
};
use teebench_api::{
    files::run::RunFile,
    plan::{
        Plan,
        next::{
            Action, AttemptOutcome, Decision, Limits, Observed, Outcome, ServerState, Servers, Start, effective, next,
            tally,
        },
    },
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{
    attempt::{Attempt, commit_unfinished},
    boot::{BootOrder, Booted, boot, stop_all},
    live::View,
    options::{Options, Planned},
    weights::directory_sha256,
};
use crate::{
    cli::print,
    executor::Parity,
    store::{
        BOOTS_FILE, Tree, TreeError, attempt_outcome, deciding_metrics,
        ledger::{self, Entry, Event},
    },
};

/// How long to wait before asking again when nothing is to be done.
const WAIT: Duration = Duration::from_millis(500);

/// How a local run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Every condition has its valid pairs.
    Completed,
    /// The campaign ended without them.
    NotCompleted,
    /// The results directory cannot be used; nothing was started.
    Refused,
    /// A person stopped it.
    Interrupted,
}

/// Runs a campaign to its end, or until a person stops it.
pub fn run(planned: Planned, options: Options) -> anyhow::Result<End> {
    // One thread only: children are tied to the life of the thread that started them.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    runtime.block_on(async {
        let mut driver = match Driver::open(planned, options) {
            Ok(driver) => driver,
            Err(error @ (TreeError::Busy { .. } | TreeError::OtherPlan { .. })) => {
                eprintln!("{error}");
                return Ok(End::Refused);
            }
            Err(error) => return Err(error.into()),
        };
        for (model, dir) in &driver.options.models {
            driver.view.phase(&format!("reading the weights of {model}"));
            let digest = directory_sha256(dir).with_context(|| format!("--model {model}={}", dir.display()))?;
            driver.weights.insert(model.clone(), digest);
        }
        let watcher = tokio::spawn(cancel_on_signal(driver.stop.clone())?);
        let end = driver.drive().await;
        driver.stop_servers(None).await?;
        watcher.abort();
        driver.publish(end?)
    })
}

fn cancel_on_signal(stop: CancellationToken) -> anyhow::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        stop.cancel();
    })
}

struct Driver {
    plan: Plan,
    plan_sha256: String,
    decisions: Vec<Decision>,
    limits: Limits,
    options: Options,
    /// Files of data sets by experiment.
    datasets: BTreeMap<String, PathBuf>,
    tree: Tree,
    view: View,
    http: Client,
    teebench: PathBuf,
    attempts: Vec<AttemptOutcome>,
    ledger: Vec<Entry>,
    servers: Option<Up>,
    /// Digests of the directories that models are served from, by model.
    weights: BTreeMap<String, String>,
    /// Last lines of the logs of the last boot that did not come up.
    boot_log_tail: Vec<String>,
    stop: CancellationToken,
}

/// The present servers.
struct Up {
    boot: usize,
    generation: u32,
    state: ServerState,
    /// Arms that were asked for, in the order of the file.
    arms: Vec<String>,
    booted: Booted,
}

impl Driver {
    fn open(planned: Planned, options: Options) -> Result<Self, TreeError> {
        let Planned { yaml, plan, limits, datasets } = planned;
        let plan_sha256 = plan.digest();
        let tree = Tree::open(&options.out, &plan, &plan_sha256, &yaml)?;
        commit_unfinished(&tree)?;
        let decisions = tree.decisions(&plan)?;
        let committed = tree.committed()?;
        let attempts = committed.iter().map(|run| outcome(&tree, run)).collect::<Vec<_>>();
        let mut ledger: Vec<Entry> = tree.read_lines(BOOTS_FILE, "boots")?;
        let last_sign = committed.iter().map(|run| run.finished_at).max();
        for closing in ledger::closing(&ledger, last_sign) {
            tree.append_line(BOOTS_FILE, &closing)?;
            ledger.push(closing);
        }
        let teebench = env::current_exe().map_err(|source| TreeError::Io {
            action: "find the path of",
            path: "teebench".into(),
            source,
        })?;
        let runs = effective(&plan, &decisions).run_count();
        let view = View::new(&plan.campaign, runs, attempts.len());
        let http = Client::builder().no_proxy().build().expect("a client without TLS and proxies has nothing to load");
        Ok(Self {
            plan,
            plan_sha256,
            decisions,
            limits,
            options,
            datasets,
            tree,
            view,
            http,
            teebench,
            attempts,
            ledger,
            servers: None,
            weights: BTreeMap::new(),
            boot_log_tail: Vec::new(),
            stop: CancellationToken::new(),
        })
    }

    async fn drive(&mut self) -> anyhow::Result<End> {
        loop {
            if self.stop.is_cancelled() {
                return Ok(End::Interrupted);
            }
            let observed = self.observe();
            self.show_progress(&observed);
            for action in next(&self.plan, &self.decisions, &observed) {
                if self.stop.is_cancelled() {
                    break;
                }
                if let Some(end) = self.perform(action).await? {
                    return Ok(end);
                }
            }
        }
    }

    fn observe(&mut self) -> Observed {
        let now = Timestamp::now();
        if let Some(up) = &mut self.servers
            && up.state == ServerState::Ready
            && let Some((name, how)) = up
                .booted
                .arms
                .values_mut()
                .flatten()
                .find_map(|server| server.ended().map(|how| (server.name().to_owned(), how)))
        {
            up.state = ServerState::Failed { reason: format!("server {name} ended{how}") };
        }
        Observed {
            now,
            started_at: self.ledger.first().map(|entry| entry.at),
            limits: self.limits.clone(),
            scope: self.options.arm.clone(),
            servers: self.servers.as_ref().map(|up| Servers {
                boot: up.boot,
                generation: up.generation,
                arms: up.arms.clone(),
                state: up.state.clone(),
            }),
            running: None,
            attempts: self.attempts.clone(),
            spent: ledger::spent(&self.plan, &self.ledger, now),
        }
    }

    fn show_progress(&self, observed: &Observed) {
        let tally = tally(&self.plan, &self.decisions, observed);
        self.view.campaign(tally.valid + tally.inconclusive + tally.failed, tally.total);
    }

    async fn perform(&mut self, action: Action) -> anyhow::Result<Option<End>> {
        match action {
            Action::Append(decision) => {
                self.tree.append("decisions.jsonl", decision.to_line().as_bytes())?;
                self.decisions.push(decision);
            }
            Action::Boot { boot, generation, arms } => self.boot(boot, generation, arms).await?,
            Action::Start(start) => self.attempt(&start).await?,
            Action::Fail { attempt, reason } => {
                let plan = effective(&self.plan, &self.decisions);
                self.view.say(&format!("{}: failed: {}", attempt.run.attempt_path(attempt.attempt), reason.message));
                let run = self.attempt_of(&plan, &attempt, &[]).fail(reason, self.boot_log_tail.clone())?;
                self.attempts.push(outcome(&self.tree, &run));
            }
            Action::StopServers { boot: _, arms } => self.stop_servers(Some(&arms)).await?,
            // An attempt is awaited where it is started, so none is running here.
            Action::Interrupt => {}
            Action::Wait if self.limits.suspended => {
                self.view.say("the campaign is suspended; set spec.suspend to false and run it again");
                return Ok(Some(End::NotCompleted));
            }
            Action::Wait => {
                tokio::select! {
                    () = tokio::time::sleep(WAIT) => {}
                    () = self.stop.cancelled() => {}
                }
            }
            Action::Finish { outcome, message } => {
                self.view.say(&format!("{}: {message}", outcome.name()));
                return Ok(Some(if outcome == Outcome::Completed { End::Completed } else { End::NotCompleted }));
            }
        }
        Ok(None)
    }

    async fn boot(&mut self, index: usize, generation: u32, arms: Vec<String>) -> anyhow::Result<()> {
        let plan = effective(&self.plan, &self.decisions);
        let (existing, started): (Vec<&str>, Vec<&str>) =
            arms.iter().map(String::as_str).partition(|arm| plan.arm(arm).is_some_and(|arm| arm.service_ref.is_some()));
        if !existing.is_empty() {
            self.view.phase(&format!("servers of {} are there", existing.join(", ")));
        }
        if !started.is_empty() {
            let servers = plan.replicas() as usize * started.len();
            self.view.phase(&format!("starting {servers} servers of {}", started.join(", ")));
        }
        for arm in &arms {
            self.record(index, generation, arm, Event::Started)?;
        }
        let order = BootOrder {
            plan: &plan,
            options: &self.options,
            weights: &self.weights,
            tree: &self.tree,
            teebench: self.teebench.clone(),
            index,
            generation,
            arms: arms.clone(),
            stop: self.stop.clone(),
        };
        let (state, booted) = match boot(&self.http, &order).await {
            Ok(booted) => (ServerState::Ready, booted),
            Err(failure) => {
                if !failure.interrupted {
                    self.view.say(&format!("boot {index}: {}", failure.reason));
                    failure.log_tail.iter().for_each(|line| self.view.say(&format!("  {line}")));
                    self.boot_log_tail = failure.log_tail;
                }
                let booted = Booted { arms: BTreeMap::new(), parity: Parity::default() };
                (ServerState::Failed { reason: failure.reason }, booted)
            }
        };
        if state == ServerState::Ready {
            for arm in &arms {
                self.record(index, generation, arm, Event::Ready)?;
            }
        }
        booted.parity.broken.iter().for_each(|difference| self.view.say(&format!("arms differ in {difference}")));
        self.servers = Some(Up { boot: index, generation, state, arms, booted });
        Ok(())
    }

    async fn attempt(&mut self, start: &Start) -> anyhow::Result<()> {
        let Some(mut up) = self.servers.take() else {
            anyhow::bail!("run {}: the plan starts it without servers", start.run);
        };
        let title = start.run.attempt_path(start.attempt);
        let plan = effective(&self.plan, &self.decisions);
        let broken = up.booted.parity.broken.clone();
        let run = match up.booted.arms.get_mut(&start.run.arm) {
            Some(servers) => self.attempt_of(&plan, start, &broken).execute(servers).await,
            None => Err(TreeError::Plan(format!("run {}: its arm has no servers", start.run))),
        };
        self.servers = Some(up);
        let run = run?;
        self.view.say(&line_of(&title, &run));
        self.attempts.push(outcome(&self.tree, &run));
        Ok(())
    }

    fn attempt_of<'a>(&'a self, plan: &'a Plan, start: &'a Start, parity_broken: &'a [String]) -> Attempt<'a> {
        Attempt {
            plan,
            plan_sha256: &self.plan_sha256,
            options: &self.options,
            datasets: &self.datasets,
            tree: &self.tree,
            view: &self.view,
            teebench: &self.teebench,
            start,
            parity_broken,
            stop: &self.stop,
            campaign_deadline: self.campaign_deadline(),
        }
    }

    fn campaign_deadline(&self) -> Option<Timestamp> {
        let seconds = self.limits.deadline_seconds?;
        self.ledger.first()?.at.checked_add(SignedDuration::from_secs(seconds.into())).ok()
    }

    /// Stops the servers of some arms, or of all.
    async fn stop_servers(&mut self, arms: Option<&[String]>) -> anyhow::Result<()> {
        let Some(mut up) = self.servers.take() else { return Ok(()) };
        let going: Vec<String> =
            up.arms.iter().filter(|arm| arms.is_none_or(|arms| arms.contains(*arm))).cloned().collect();
        let stopped = going.iter().filter_map(|arm| up.booted.arms.remove_entry(arm)).collect();
        stop_all(stopped).await;
        up.arms.retain(|arm| !going.contains(arm));
        for arm in &going {
            self.record(up.boot, up.generation, arm, Event::Stopped)?;
        }
        self.servers = (!up.arms.is_empty()).then_some(up);
        Ok(())
    }

    fn record(&mut self, boot: usize, generation: u32, arm: &str, event: Event) -> Result<(), TreeError> {
        let entry = Entry { boot, generation, arm: arm.to_owned(), event, at: Timestamp::now() };
        self.tree.append_line(BOOTS_FILE, &entry)?;
        self.ledger.push(entry);
        Ok(())
    }

    /// Writes summary and report, seals the tree, and says the answer in a few lines.
    fn publish(&self, end: End) -> anyhow::Result<End> {
        self.view.end();
        // What the simulated GPUs showed is of no use once their servers are gone.
        let live = self.tree.path(".live");
        if live.exists() {
            fs::remove_dir_all(&live).with_context(|| format!("cannot remove {}", live.display()))?;
        }
        if end == End::Interrupted {
            self.view.say("interrupted; the same command continues where it was left");
        }
        let campaigns = read::campaigns(&[self.tree.root().to_owned()])?;
        if campaigns.iter().all(|campaign| campaign.runs.is_empty()) {
            return Ok(end);
        }
        let summary = summary::summarise(&campaigns);
        self.tree.write("summary.json", summary.to_json().as_bytes())?;
        self.tree
            .write("report.html", report::html(&summary, &Sources::read(&campaigns, self.tree.root())).as_bytes())?;
        self.tree.seal()?;
        let root = self.tree.root().display();
        let page = self.tree.path("report.html");
        print(&format!("{}\nresults: {root}\nreport:  {}\n", summary::headline_text(&summary), page.display()))?;
        Ok(end)
    }
}

/// What `next` needs to know of an attempt that ended.
fn outcome(tree: &Tree, run: &RunFile) -> AttemptOutcome {
    let bench_json = tree.run_dir(&run.run, run.attempt).join("bench.json");
    attempt_outcome(run, deciding_metrics(run, &bench_json))
}

/// One line for a run that ended.
fn line_of(title: &str, run: &RunFile) -> String {
    let seconds = run.window.map_or_else(|| "no window".to_owned(), |window| format!("{:.1} s", window.seconds()));
    let verdict = run.validity.validity;
    match run.validity.reasons.first() {
        None => format!("{title}: {verdict:?}, {seconds}"),
        Some(reason) => {
            let more = match run.validity.reasons.len() {
                1 => String::new(),
                count => format!(" (and {} more)", count - 1),
            };
            format!("{title}: {verdict:?}, {seconds}: {}{more}", reason.message)
        }
    }
}
