//! The operator under test, as a process of this machine: what it has counted, used and holds.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, ensure};
use teebench_e2e::cluster::eventually;

const METRICS_PORT: u16 = 29090;

/// The operator, which ends with this value.
pub struct Operator(Child);

/// What the operator has counted.
pub struct Counts {
    /// Writes to the API server.
    pub writes: f64,
    /// Runs that it began.
    pub runs: f64,
}

impl Drop for Operator {
    fn drop(&mut self) {
        // It may have ended by itself, and is told by then.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Operator {
    /// Starts it for the campaigns of a namespace, and returns when it is ready.
    pub async fn start(program: &str, namespace: &str, store: &Path) -> anyhow::Result<Self> {
        let child = Command::new(program)
            .args(["operator", "--namespace", namespace, "--image", "localhost/teebench:e2e"])
            .args(["--store", &format!("file://{}", store.display()), "--results-url", "https://localhost:28443"])
            .args(["--upload-port", "28443", "--read-port", "28444", "--metrics-port", &METRICS_PORT.to_string()])
            // Kubelets that are played have no logs to read, which its client takes for failures.
            .env("TEEBENCH_LOG", "error,kube_client=off")
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| program.to_owned())?;
        let operator = Self(child);
        eventually("the operator is ready", Duration::from_secs(60), async || {
            text("readyz").await.map(drop).map_err(|error| format!("{error:#}"))
        })
        .await?;
        Ok(operator)
    }

    /// Resident memory, in MiB.
    pub fn resident_mib(&self) -> anyhow::Result<f64> {
        let status = self.proc("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kib / 1024.0)
    }

    /// Processor time so far, at the kernel's hundred ticks a second.
    pub fn processor_seconds(&self) -> anyhow::Result<f64> {
        let stat = self.proc("stat")?;
        let fields: Vec<&str> = stat.rsplit_once(") ").context("no name")?.1.split(' ').collect();
        let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok());
        Ok((ticks(11).context("no utime")? + ticks(12).context("no stime")?) / 100.0)
    }

    fn proc(&self, file: &str) -> anyhow::Result<String> {
        fs::read_to_string(format!("/proc/{}/{file}", self.0.id())).context("the operator has ended")
    }

    /// What it has counted so far.
    pub async fn counts(&self) -> anyhow::Result<Counts> {
        let metrics = text("metrics").await?;
        let sum = |of: &dyn Fn(&str) -> bool| -> f64 {
            let lines = metrics.lines().filter(|line| line.starts_with("teebench_api_writes_total") && of(line));
            lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
        };
        let counts = Counts {
            writes: sum(&|_| true),
            runs: sum(&|line| line.contains("kind=\"Job\"") && line.contains("verb=\"apply\"")),
        };
        ensure!(counts.runs > 0.0, "no run was started");
        Ok(counts)
    }
}

async fn text(path: &str) -> anyhow::Result<String> {
    let answer = reqwest::get(format!("http://127.0.0.1:{METRICS_PORT}/{path}")).await?.error_for_status()?;
    Ok(answer.text().await?)
}
