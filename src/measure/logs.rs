//! What the servers' logs grew by while an attempt was made, asked of the probes beside them.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::Context;
use futures::future::join_all;
use teebench_api::files::inputs::{RunInputs, ServerInput};
use teebench_probe::{client::ProbeClient, http::wire::LogFile};

use crate::store::check_path;

/// Most bytes of each log that a run keeps: its last ones.
pub const MOST_LOG_BYTES: u64 = 1 << 20;

/// How long the logs of each server were when the attempt began. A log that cannot be had costs the attempt nothing but
/// the log.
pub struct LogMarks(Vec<Marked>);

/// One server whose probe answers.
struct Marked {
    ordinal: u32,
    probe: ProbeClient,
    bytes: BTreeMap<String, u64>,
}

impl LogMarks {
    /// Asks all probes.
    pub async fn set(inputs: &RunInputs) -> Self {
        let marked = join_all(inputs.servers.iter().map(mark)).await;
        Self(marked.into_iter().flatten().collect())
    }

    /// Writes what each log grew by below the attempt's directory.
    pub async fn keep(&self, out: &Path) {
        join_all(self.0.iter().map(async |server| {
            if let Err(error) = server.keep(out).await {
                tracing::warn!(server = server.ordinal, error = format!("{error:#}"), "logs not kept");
            }
        }))
        .await;
    }
}

async fn mark(server: &ServerInput) -> Option<Marked> {
    let ordinal = server.ordinal;
    let asked = async {
        let probe = ProbeClient::new(server.probe_url.as_deref()?).ok()?;
        Some(match probe.logs().await {
            Ok(logs) => Ok((probe, logs)),
            Err(error) => Err(error),
        })
    };
    match asked.await? {
        Ok((probe, logs)) => {
            let bytes = logs.into_iter().map(|LogFile { name, bytes }| (name, bytes)).collect();
            Some(Marked { ordinal, probe, bytes })
        }
        Err(error) => {
            tracing::warn!(server = ordinal, %error, "its logs will not be kept");
            None
        }
    }
}

impl Marked {
    async fn keep(&self, out: &Path) -> anyhow::Result<()> {
        let logs = self.probe.logs().await?;
        for LogFile { name, bytes } in logs {
            let mark = self.bytes.get(&name).copied().unwrap_or(0);
            if bytes <= mark {
                continue;
            }
            let path = format!("servers/{}/logs/{name}", self.ordinal);
            // The name is a probe's word, and becomes a path here.
            check_path(&path).map_err(|problem| anyhow::anyhow!("log {name:?}: {problem}"))?;
            let from = mark.max(bytes.saturating_sub(MOST_LOG_BYTES));
            let mut part = self.probe.log_part(&name, from).await?;
            part.truncate(usize::try_from(bytes - from).unwrap_or(usize::MAX));
            let path = out.join(path);
            let written = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&path, &part));
            written.with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::{
        Json, Router,
        extract::{Path as UrlPath, Query, State},
        routing::get,
    };
    use serde_json::{Value, json};

    use super::*;
    use crate::testing;

    type Logs = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

    /// What a probe answers, over logs that the test writes.
    async fn probe(logs: Logs) -> String {
        let list = async |State(logs): State<Logs>| {
            let logs = logs.lock().unwrap();
            let listed: Vec<Value> =
                logs.iter().map(|(name, text)| json!({"name": name, "bytes": text.len()})).collect();
            Json(json!({ "logs": listed }))
        };
        let part = async |State(logs): State<Logs>,
                          UrlPath(name): UrlPath<String>,
                          Query(query): Query<BTreeMap<String, usize>>| {
            logs.lock().unwrap()[&name][query["from"]..].to_vec()
        };
        let router = Router::new().route("/logs", get(list)).route("/logs/{name}", get(part)).with_state(logs);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    fn add(logs: &Logs, name: &str, text: &[u8]) {
        logs.lock().unwrap().entry(name.to_owned()).or_default().extend_from_slice(text);
    }

    /// The inputs of an attempt on one server with this probe.
    fn inputs(probe_url: Option<String>) -> RunInputs {
        let plan = testing::planned();
        let mut inputs = testing::inputs(&plan, &testing::start(&plan, 0, 1));
        inputs.servers = vec![ServerInput {
            ordinal: 3,
            uid: "uid".to_owned(),
            engine_url: "http://127.0.0.1:1".to_owned(),
            probe_url,
            router_url: None,
            router_control_url: None,
            ready_seconds: None,
            flags_sha256: None,
            weights: None,
            idle: None,
            cpu: None,
        }];
        inputs
    }

    #[tokio::test]
    async fn an_attempt_keeps_what_the_logs_grew_by_and_no_more_than_their_ends() {
        let logs = Logs::default();
        add(&logs, "engine.stderr.log", b"before\n");
        add(&logs, "probe.log", b"before\n");
        let inputs = inputs(Some(probe(Arc::clone(&logs)).await));
        let dir = tempfile::tempdir().unwrap();

        let marks = LogMarks::set(&inputs).await;
        add(&logs, "engine.stderr.log", b"during\n");
        add(&logs, "router.log", &vec![b'.'; usize::try_from(MOST_LOG_BYTES).unwrap() + 5]);
        marks.keep(dir.path()).await;

        let kept = dir.path().join("servers/3/logs");
        assert_eq!(fs::read(kept.join("engine.stderr.log")).unwrap(), b"during\n");
        assert_eq!(fs::metadata(kept.join("router.log")).unwrap().len(), MOST_LOG_BYTES);
        assert!(!kept.join("probe.log").exists(), "a log that did not grow was kept");
    }

    #[tokio::test]
    async fn a_name_that_leads_elsewhere_is_not_written() {
        let logs = Logs::default();
        let inputs = inputs(Some(probe(Arc::clone(&logs)).await));
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("a/b/c/out");

        let marks = LogMarks::set(&inputs).await;
        add(&logs, "../../../outside.log", b"x");
        marks.keep(&out).await;

        assert!(!out.exists() && fs::read_dir(dir.path()).unwrap().next().is_none());
    }

    #[tokio::test]
    async fn without_probes_there_are_no_logs_and_no_harm() {
        let dir = tempfile::tempdir().unwrap();
        LogMarks::set(&inputs(None)).await.keep(dir.path()).await;
        LogMarks::set(&inputs(Some("http://127.0.0.1:1".to_owned()))).await.keep(dir.path()).await;
        assert!(fs::read_dir(dir.path()).unwrap().next().is_none());
    }
}
