//! What is kept of a test that failed, for whoever looks for the cause afterwards.

use std::{fs, path::PathBuf};

use anyhow::Context;

use super::{OPERATOR_NAMESPACE, Suite, command};

/// What kubectl is asked, and the file that keeps its answer; `NS` stands for the test's namespace.
const QUESTIONS: [(&str, &[&str]); 6] = [
    ("campaigns.yaml", &["get", "benchmarkcampaigns,benchmarkruns,routerpolicies", "-n", "NS", "-o", "yaml"]),
    ("pods.txt", &["describe", "pods", "-n", "NS"]),
    ("objects.yaml", &["get", "statefulsets,deployments,services,jobs", "-n", "NS", "-o", "yaml"]),
    ("events.txt", &["get", "events", "-n", "NS", "--sort-by=.lastTimestamp"]),
    ("operator.log", &["logs", "-n", OPERATOR_NAMESPACE, "-l", "app.kubernetes.io/component=operator", "--tail=-1"]),
    ("nodes.txt", &["describe", "nodes"]),
];

/// Keeps what the cluster shows now, and the logs of all pods of the namespace; gives the directory.
///
/// # Errors
/// It cannot be written.
pub async fn keep(suite: &Suite, test: &str) -> anyhow::Result<PathBuf> {
    let directory = suite.settings.artefacts.join(test);
    fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    for (file, words) in QUESTIONS {
        let words: Vec<&str> = words.iter().map(|word| if *word == "NS" { &suite.namespace } else { *word }).collect();
        let said = command("kubectl", &words).await?;
        fs::write(directory.join(file), said.out + &said.err)?;
    }
    let pods = suite.kubectl(&["get", "pods", "--output", "name"]).await?;
    for pod in pods.out.lines() {
        let said = suite.kubectl(&["logs", pod, "--all-containers", "--prefix", "--tail", "2000"]).await?;
        fs::write(directory.join(format!("{}.log", pod.replace('/', "-"))), said.out + &said.err)?;
    }
    Ok(directory)
}
