//! A campaign on the simulator, from apply to its answer: two arms, routed directly and by two policies.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    pin::pin,
    time::Duration,
};

use anyhow::{Context, anyhow, ensure};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod};
use kube::{
    Api, ResourceExt,
    runtime::{WatchStreamExt, watcher},
};
use serde_json::json;
use sha2::{Digest, Sha256};
use teebench_api::{
    campaign::BenchmarkCampaign,
    conditions::{Condition, types},
    files::run::{RunFile, Verdict},
};
use teebench_e2e::cluster::{
    Suite, campaign_file, command, eventually, is_over, measured, metrics, reason_of, side_by_side,
};
use tokio::sync::OnceCell;

const NAME: &str = "small";
/// The pool of each arm, by the label that its nodes have.
const POOLS: [(&str, &str); 2] = [("cc-off", "Standard_NC40ads_H100_v5"), ("cc-on", "Standard_NCC40ads_H100_v5")];
const INSTANCE_TYPE: &str = "node.kubernetes.io/instance-type";

/// A campaign that has ended, and what was seen on the way.
struct Finished {
    campaign: BenchmarkCampaign,
    /// The first conditions that were told.
    first: Vec<Condition>,
    /// What the results service gave of it once its first run counted, by path.
    amid: BTreeMap<&'static str, String>,
    /// Its pods as they were last seen.
    pods: Vec<Pod>,
}

/// What the results service makes of a campaign, by path, and a word that each has.
const SHOWN: [(&str, &str); 4] = [
    ("report.html", "planned runs valid"),
    ("summary.json", "\"simulated\":true"),
    ("plots/ask-output_throughput.svg", "<svg"),
    ("plots/ask-output_throughput.csv", "condition,arm"),
];

async fn served(suite: &Suite) -> anyhow::Result<BTreeMap<&'static str, String>> {
    let mut given = BTreeMap::new();
    for (path, _) in SHOWN {
        given.insert(path, suite.served(NAME, path).await?);
    }
    Ok(given)
}

/// The campaign that all tests here look at; the first of them runs it.
async fn finished() -> anyhow::Result<&'static Finished> {
    static FINISHED: OnceCell<Result<Finished, String>> = OnceCell::const_new();
    let finished = FINISHED.get_or_init(async || {
        let mut finished = None;
        let outcome = measured("simulator", "simulator-campaign", async |suite| {
            finished = Some(run_it(&suite).await?);
            Ok(())
        });
        outcome.await.map_err(|error| format!("{error:#}"))?;
        finished.ok_or_else(|| "the campaign was not run".to_owned())
    });
    finished.await.as_ref().map_err(|error| anyhow!("{error}"))
}

async fn run_it(suite: &Suite) -> anyhow::Result<Finished> {
    let (file, _) = campaign_file("simulator")?;
    suite.begin(&file).await?;
    let first = async {
        let told = suite.campaign_until(NAME, "the first conditions are told", |campaign| {
            campaign.status.as_ref().is_some_and(|status| !status.conditions.is_empty())
        });
        anyhow::Ok(told.await?.status.unwrap_or_default().conditions)
    };
    let amid = async {
        let one_counts = |campaign: &BenchmarkCampaign| {
            let progress = campaign.status.as_ref().and_then(|status| status.progress.as_ref());
            progress.is_some_and(|progress| progress.valid > 0)
        };
        let seen = suite.campaign_until(NAME, "its first run counts", one_counts).await?;
        ensure!(!is_over(&seen), "it ended before its page was asked for");
        served(suite).await
    };
    let mut pods = BTreeMap::new();
    let watched =
        watcher(suite.api::<Pod>(), watcher::Config::default().labels(&format!("teebench.dev/campaign={NAME}")));
    let watching = async {
        let mut changes = pin!(watched.default_backoff().applied_objects());
        while let Some(change) = changes.next().await {
            if let Ok(pod) = change {
                pods.insert(pod.name_any(), pod);
            }
        }
        Err(anyhow!("the watch of the pods ended"))
    };
    let (first, amid, campaign) = tokio::select! {
        ended = async { tokio::try_join!(first, amid, suite.outcome(NAME)) } => ended?,
        ended = watching => ended?,
    };
    Ok(Finished { campaign, first, amid, pods: pods.into_values().collect() })
}

/// What `teebench fetch` has copied, in a directory that goes with the value.
struct Fetched {
    directory: tempfile::TempDir,
}

impl Fetched {
    async fn of(suite: &Suite) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let out = directory.path().to_string_lossy().into_owned();
        suite.teebench(&["fetch", NAME, "--namespace", &suite.namespace, "--out", &out]).await?.well()?;
        Ok(Self { directory })
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join(NAME)
    }
}

#[tokio::test]
async fn a_campaign_completes_and_every_run_counts() -> anyhow::Result<()> {
    let finished = finished().await?;
    side_by_side("simulator", "completes", async |suite| {
        ensure!(reason_of(&finished.campaign, types::SUCCEEDED) == Some("Completed"), "{:?}", finished.campaign.status);
        let progress = finished.campaign.status.as_ref().and_then(|status| status.progress.as_ref());
        let progress = progress.context("no progress")?;
        ensure!((progress.valid, progress.failed, progress.total) == (12, 0, 12), "{progress:?}");
        ensure!(
            reason_of(&finished.campaign, types::ATTESTATION_VERIFIED) == Some("Supported"),
            "{:?}",
            finished.campaign.status
        );
        let runs = suite.runs(NAME).await?;
        let counted: BTreeSet<_> = runs
            .iter()
            .filter(|run| run.status.as_ref().is_some_and(|status| status.validity == Some(Verdict::Valid)))
            .map(|run| (&run.spec.arm, &run.spec.router, run.spec.repetition))
            .collect();
        ensure!(counted.len() == 12, "{counted:?}");
        for run in &runs {
            ensure!(run.spec.simulated, "{} is not told to be simulated", run.name_any());
        }
        suite.kubectl(&["wait", "bc", NAME, "--for=condition=Succeeded", "--timeout=5s"]).await?.well()?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn every_condition_is_told_from_the_first_pass_on() -> anyhow::Result<()> {
    let finished = finished().await?;
    for conditions in [&finished.first, &finished.campaign.status.clone().unwrap_or_default().conditions] {
        for type_ in [
            types::ACCEPTED,
            types::PREFLIGHT_PASSED,
            types::ATTESTATION_VERIFIED,
            types::RESULTS_PUBLISHED,
            types::SUCCEEDED,
            types::STALLED,
            types::READY,
        ] {
            let found = conditions.iter().find(|condition| condition.type_ == type_);
            let found = found.with_context(|| format!("{type_} is not among {conditions:?}"))?;
            ensure!(found.observed_generation == Some(1), "{found:?}");
            ensure!(!found.reason.is_empty() && !found.message.is_empty(), "{found:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn people_see_the_answer_in_the_columns() -> anyhow::Result<()> {
    finished().await?;
    side_by_side("simulator", "columns", async |suite| {
        let said = suite.kubectl(&["get", "bc", NAME]).await?.well()?;
        let (head, row) = said.split_once('\n').context("no rows")?;
        let columns = "NAME STATE RUNS INVALID THROUGHPUT LOSS TTFT ROUTING SPENT AGE";
        ensure!(head.split_whitespace().collect::<Vec<_>>().join(" ") == columns, "{head}");
        ensure!(row.contains("Completed") && row.contains("12/12") && row.contains('%'), "{said}");
        let said = suite.kubectl(&["get", "br"]).await?.well()?;
        let (head, rows) = said.split_once('\n').context("no rows")?;
        let columns = "NAME CONDITION ARM ROUTER REP STATE TOK/S TTFT P50 J/TOKEN EVIDENCE AGE";
        ensure!(head.split_whitespace().collect::<Vec<_>>().join(" ") == columns, "{head}");
        ensure!(rows.lines().filter(|row| row.contains("Valid") && row.contains(" ms ")).count() == 12, "{said}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn servers_run_on_their_arms_pools_and_load_generators_beside_them() -> anyhow::Result<()> {
    let finished = finished().await?;
    side_by_side("simulator", "pools", async |suite| {
        let nodes: Api<Node> = Api::all(suite.client.clone());
        for pod in &finished.pods {
            let name = pod.name_any();
            let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
            let Some(node) = node else { continue };
            let node = nodes.get(node).await?;
            let (component, arm) = (&pod.labels()["app.kubernetes.io/component"], &pod.labels()["teebench.dev/arm"]);
            let instance_type = node.labels().get(INSTANCE_TYPE).map(String::as_str);
            let is_of_arm = POOLS.contains(&(arm.as_str(), instance_type.unwrap_or_default()));
            match component.as_str() {
                "server" => ensure!(is_of_arm, "{name} of arm {arm} is on {}", node.name_any()),
                "load" => {
                    let mode = node.labels().get("kubernetes.azure.com/mode").map(String::as_str);
                    ensure!(mode == Some("system"), "{name} is on {}", node.name_any());
                }
                other => anyhow::bail!("{name} is a {other}"),
            }
        }
        let count = |component: &str| {
            finished.pods.iter().filter(|pod| pod.labels()["app.kubernetes.io/component"] == component).count()
        };
        ensure!((count("server"), count("load")) == (4, 12), "{} servers, {} loads", count("server"), count("load"));
        // The namespace admits restricted pods alone, so all that ran were.
        let namespaces: Api<Namespace> = Api::all(suite.client.clone());
        let namespace = namespaces.get(&suite.namespace).await?;
        let enforced = namespace.labels().get("pod-security.kubernetes.io/enforce").map(String::as_str);
        ensure!(enforced == Some("restricted"), "{enforced:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn store_config_map_and_status_have_one_digest() -> anyhow::Result<()> {
    let finished = finished().await?;
    side_by_side("simulator", "digest", async |suite| {
        let results = finished.campaign.status.as_ref().and_then(|status| status.results.as_ref());
        let results = results.context("no results")?;
        let name = results.config_map_ref.as_deref().context("no ConfigMap")?;
        let config_map = suite.api::<ConfigMap>().get(name).await?.data.unwrap_or_default();
        let fetched = Fetched::of(&suite).await?;
        let in_store = fs::read(fetched.root().join("summary.json"))?;
        ensure!(config_map["summary.json"].as_bytes() == in_store, "the ConfigMap's summary is not that of the store");
        ensure!(config_map["summary.csv"].lines().count() > 1, "{}", config_map["summary.csv"]);
        ensure!(results.digest == Some(hex::encode(Sha256::digest(&in_store))), "{:?}", results.digest);
        ensure!(results.store_url.as_deref().is_some_and(|url| url.contains("/e2e-simulator/small.")), "{results:?}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn the_results_service_shows_a_campaign_that_runs_and_one_that_has_ended() -> anyhow::Result<()> {
    let finished = finished().await?;
    side_by_side("simulator", "served", async |suite| {
        let after = served(&suite).await?;
        for (path, word) in SHOWN {
            let (amid, after) = (&finished.amid[path], &after[path]);
            ensure!(amid.contains(word) && after.contains(word), "{path} has no {word:?}");
            ensure!(amid != after, "{path} is the same amid the campaign and after it");
        }
        ensure!(!finished.amid["report.html"].contains("12 of 12 planned runs valid"), "the page amid is of the end");
        let fetched = Fetched::of(&suite).await?;
        for path in ["report.html", "summary.json"] {
            ensure!(after[path] == fs::read_to_string(fetched.root().join(path))?, "{path} is not the published one");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn the_headline_is_that_of_the_published_summary() -> anyhow::Result<()> {
    let finished = finished().await?;
    side_by_side("simulator", "headline", async |suite| {
        let results = finished.campaign.status.as_ref().and_then(|status| status.results.as_ref());
        let headline = results.and_then(|results| results.headline.clone()).context("no headline")?;
        let fetched = Fetched::of(&suite).await?;
        let report = suite.teebench(&["report", &fetched.root().to_string_lossy()]).await?.well()?;
        for effect in [headline.throughput_loss, headline.ttft, headline.routing] {
            let effect = effect.context("an effect is missing")?;
            ensure!(report.contains(&effect), "the report of what was published has no {effect:?}:\n{report}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn fetched_results_check_out_and_are_reported() -> anyhow::Result<()> {
    finished().await?;
    side_by_side("simulator", "fetch", async |suite| {
        let fetched = Fetched::of(&suite).await?;
        let mut checked = 0;
        for file in files(&fetched.root(), &fetched.root())? {
            let path = fetched.root().join(&file);
            if path.ends_with("SHA256SUMS") {
                let directory = path.parent().context("a file lies in a directory")?.to_string_lossy().into_owned();
                let script = "cd \"$1\" && sha256sum --quiet --check SHA256SUMS";
                command("sh", &["-c", script, "sh", &directory]).await?.well().with_context(|| file.clone())?;
                checked += 1;
            }
        }
        ensure!(checked >= 13, "{checked} files of sums, and twelve runs and their campaign were expected");
        let report = suite.teebench(&["report", &fetched.root().to_string_lossy()]).await?.well()?;
        ensure!(report.contains("simulated") || report.contains("Simulated"), "not told to be simulated:\n{report}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_fetched_tree_is_that_of_a_local_run() -> anyhow::Result<()> {
    finished().await?;
    measured("simulator", "local-run", async |suite| {
        let fetched = Fetched::of(&suite).await?;
        let local = tempfile::tempdir()?;
        let (_, path) = campaign_file("simulator")?;
        let (path, out) = (path.to_string_lossy().into_owned(), local.path().to_string_lossy().into_owned());
        // Whether its runs count is not of interest, what it leaves is.
        let said = suite.teebench(&["run", &path, "--out", &out]).await?;
        ensure!(said.code.is_some_and(|code| code <= 1), "{said:?}");
        let (local, fetched) = (local.path().join(NAME), fetched.root());
        let (local, fetched) = (shape(&local)?, shape(&fetched)?);
        ensure!(
            local == fetched,
            "only local: {:?}\nonly fetched: {:?}",
            local.difference(&fetched).collect::<Vec<_>>(),
            fetched.difference(&local).collect::<Vec<_>>()
        );
        Ok(())
    })
    .await
}

/// Paths of a campaign's files without the identities of GPUs, which differ from run to run, and without what local
/// processes work with: their lock, and the logs of whole boots, which in a cluster are the pods' own. On a machine that
/// was busy, a run may have taken several attempts; the files are those of the ones that came to their end.
fn shape(root: &Path) -> anyhow::Result<BTreeSet<String>> {
    let mut paths = BTreeSet::new();
    for path in files(root, root)?.into_iter().filter(|path| !path.starts_with("logs/") && path != ".lock") {
        let attempt: PathBuf = Path::new(&path).components().take(ATTEMPT_DEPTH).collect();
        if path.starts_with("runs/") && !came_to_its_end(&root.join(&attempt))? {
            continue;
        }
        let words: Vec<String> = path
            .split('/')
            .map(|word| match word.split_once("GPU-") {
                Some((before, after)) => {
                    format!("{before}GPU.{}", after.rsplit_once('.').map_or("", |(_, extension)| extension))
                }
                None => without_attempt(word).to_owned(),
            })
            .collect();
        paths.insert(words.join("/"));
    }
    Ok(paths)
}

/// Parts of an attempt's path: `runs/experiment/condition/arm/router/r1a1`.
const ATTEMPT_DEPTH: usize = 6;

fn came_to_its_end(attempt: &Path) -> anyhow::Result<bool> {
    let path = attempt.join("run.json");
    let run: RunFile = serde_json::from_slice(&fs::read(&path).with_context(|| path.display().to_string())?)?;
    Ok(matches!(run.validity.validity, Verdict::Valid | Verdict::Inconclusive))
}

/// `r2` of `r2a1`; other words as they are.
fn without_attempt(word: &str) -> &str {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match word.strip_prefix('r').and_then(|rest| rest.split_once('a')) {
        Some((repetition, attempt)) if is_number(repetition) && is_number(attempt) => &word[..=repetition.len()],
        _ => word,
    }
}

fn files(root: &Path, directory: &Path) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(root, &path)?);
        } else {
            found.push(path.strip_prefix(root)?.to_string_lossy().into_owned());
        }
    }
    Ok(found)
}

#[tokio::test]
async fn events_and_metrics_tell_what_was_done() -> anyhow::Result<()> {
    finished().await?;
    side_by_side("simulator", "events", async |suite| {
        let selector = format!("regarding.name={NAME}");
        let query =
            ["get", "events.events.k8s.io", "--field-selector", &selector, "--output", "jsonpath={.items[*].reason}"];
        let said = suite.kubectl(&query).await?.well()?;
        for reason in ["Started", "ServersStarted", "ServersReady", "RunStarted", "ServersStopped", "Completed"] {
            ensure!(said.split_whitespace().any(|word| word == reason), "no event {reason} among {said}");
        }
        // How many campaigns there are is counted from time to time.
        eventually("the metrics tell of the campaign", Duration::from_secs(60), async || {
            let metrics = metrics(&suite.client).await.map_err(|error| error.to_string())?;
            let sum = |name: &str, label: &str| -> f64 {
                let lines = metrics.iter().filter(|(line, _)| line.starts_with(name) && line.contains(label));
                lines.map(|(_, value)| value).sum()
            };
            let missing = [
                ("teebench_reconciles_total{", "controller=\"campaign\"", 12.0),
                ("teebench_api_writes_total{", "kind=\"Job\",outcome=\"succeeded\"", 12.0),
                ("teebench_api_writes_total{", "kind=\"StatefulSet\",outcome=\"succeeded\"", 2.0),
                ("teebench_campaigns{", "state=\"Completed\"", 1.0),
                ("teebench_store_bytes", "", 1.0),
            ]
            .into_iter()
            .find(|(name, label, least)| sum(name, label) < *least);
            missing.map_or(Ok(()), |(name, label, least)| {
                Err(format!("{name} {label}: {}, and at least {least} is expected", sum(name, label)))
            })
        })
        .await
    })
    .await
}

#[tokio::test]
async fn a_campaign_that_has_started_keeps_its_spec() -> anyhow::Result<()> {
    finished().await?;
    side_by_side("simulator", "immutable", async |suite| {
        let refused = suite.change(NAME, json!({"seed": 6})).await.err().context("the seed was changed")?;
        ensure!(refused.to_string().contains("spec"), "{refused:#}");
        // What may change is taken, and a campaign that is over does not go on for it.
        let changed = suite.change(NAME, json!({"failurePolicy": {"attemptsPerRun": 3}})).await?;
        ensure!(changed.metadata.generation == Some(2), "{:?}", changed.metadata.generation);
        suite
            .campaign_until(NAME, "the change is seen", |campaign| {
                campaign.status.as_ref().is_some_and(|status| status.observed_generation == Some(2))
                    && reason_of(campaign, types::SUCCEEDED) == Some("Completed")
            })
            .await?;
        Ok(())
    })
    .await
}
