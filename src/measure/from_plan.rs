//! `teebench loadgen --from-plan FILE --out DIR`: one attempt as a process of its own.

use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use teebench_api::files::{
    inputs::RunInputs,
    run::{RunFile, Verdict},
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{
    Step, attempt,
    crew::{Crew, follow},
    load,
    logs::{LogMarks, MOST_LOG_BYTES},
    upload::{self, Patience, Target},
};
use crate::{
    cli::{BAD_INPUT, DONE, FAILED, INTERRUPTED},
    store::INPUTS_FILE,
};

/// Where an attempt's files go, from a machine that has neither the servers' disks nor whoever started it.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The results service.
    pub target: Target,
    /// This program's own log, which is delivered as well.
    pub log: Option<PathBuf>,
}

/// Executes the attempt, and delivers its files with the logs. Without a delivery, whoever started this sees to both.
/// Steps go to standard output, one JSON object a line; what failed is in `run.json`.
pub fn run(inputs: &Path, out: &Path, delivery: Option<&Delivery>, crew: Option<&Crew>) -> anyhow::Result<ExitCode> {
    let text = fs::read(inputs).with_context(|| format!("cannot read {}", inputs.display()))?;
    let inputs: RunInputs = match serde_json::from_slice(&text) {
        Ok(inputs) => inputs,
        Err(error) => {
            eprintln!("{}: not an attempt's inputs: {error}", inputs.display());
            return Ok(ExitCode::from(BAD_INPUT));
        }
    };
    fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    runtime.block_on(async {
        let cancel = CancellationToken::new();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let stop = cancel.clone();
        let watcher = tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            stop.cancel();
        });
        if let Some(crew) = crew.filter(|crew| crew.number > 0) {
            let done = send_share(&inputs, crew, cancel).await;
            watcher.abort();
            return done;
        }
        let ended = match delivery {
            Some(delivery) => {
                let logs = LogMarks::set(&inputs).await;
                let run = attempt::execute(&inputs, crew, out, &show, cancel.clone()).await?;
                logs.keep(out).await;
                deliver(&run, &text, out, delivery, &cancel).await
            }
            None => Ok(attempt::execute(&inputs, crew, out, &show, cancel.clone()).await?.validity.validity),
        };
        watcher.abort();
        Ok(match ended {
            Ok(Verdict::Interrupted) => ExitCode::from(INTERRUPTED),
            Ok(Verdict::Valid | Verdict::Inconclusive | Verdict::Failed) => ExitCode::from(DONE),
            Err(error) => {
                eprintln!("teebench: {error:#}");
                ExitCode::from(FAILED)
            }
        })
    })
}

/// Sends one of the shares that the first load generator merges.
async fn send_share(inputs: &RunInputs, crew: &Crew, cancel: CancellationToken) -> anyhow::Result<ExitCode> {
    show(&Step::Preparing);
    let prepared = load::prepare(inputs, crew.share()?)?;
    let shown = |progress, elapsed| show(&attempt::load_step(progress, elapsed));
    let stopped = cancel.clone();
    follow(crew, &inputs.salt, &prepared.load, shown, cancel).await?;
    Ok(ExitCode::from(if stopped.is_cancelled() { INTERRUPTED } else { DONE }))
}

/// Uploads the attempt with the inputs that it was made from; the verdict is the one that was committed.
async fn deliver(
    run: &RunFile,
    inputs: &[u8],
    out: &Path,
    Delivery { target, log }: &Delivery,
    cancel: &CancellationToken,
) -> anyhow::Result<Verdict> {
    show(&Step::Uploading);
    let kept = out.join(INPUTS_FILE);
    if !kept.exists() {
        fs::write(&kept, inputs).with_context(|| format!("cannot write {}", kept.display()))?;
    }
    if let Some(log) = log
        && let Err(error) = copy_end(log, &out.join("loadgen.log"))
    {
        tracing::warn!(log = %log.display(), %error, "log not kept");
    }
    let title = run.run.attempt_path(run.attempt);
    let answer = upload::upload(target, out, Patience::default(), cancel).await;
    let answer = answer.with_context(|| format!("attempt {title} is not committed"))?;
    tracing::info!(attempt = answer.attempt, verdict = ?answer.verdict, sums_sha256 = answer.sums_sha256, "committed");
    Ok(answer.verdict)
}

/// Copies the end of a log, which may grow meanwhile.
fn copy_end(log: &Path, to: &Path) -> io::Result<()> {
    let mut log = File::open(log)?;
    let length = log.metadata()?.len();
    log.seek(SeekFrom::Start(length.saturating_sub(MOST_LOG_BYTES)))?;
    io::copy(&mut log.take(length.min(MOST_LOG_BYTES)), &mut File::create(to)?)?;
    Ok(())
}

fn show(step: &Step) {
    let line = serde_json::to_string(step).expect("a step serialises to JSON");
    // Whoever showed the steps may be gone; the attempt goes on to its files all the same.
    let _ = writeln!(io::stdout(), "{line}");
}

#[cfg(test)]
mod tests {
    use tokio::task::spawn_blocking;

    use super::*;
    use crate::{
        store::service::Limits,
        testing::{self, Lab, sha256sum},
    };

    #[tokio::test]
    async fn an_attempt_that_fails_is_uploaded_with_its_inputs_its_reason_and_its_log() {
        let lab = Lab::start(Limits::default()).await;
        let dir = tempfile::tempdir().unwrap();
        let inputs = testing::inputs(&lab.plan, &testing::start(&lab.plan, 0, 1));
        let (inputs_file, token_file) = (dir.path().join("inputs.json"), dir.path().join("token"));
        let text = serde_json::to_vec(&inputs).unwrap();
        fs::write(&inputs_file, &text).unwrap();
        fs::write(&token_file, "token-1").unwrap();
        let log = dir.path().join("load.log");
        fs::write(&log, "what was logged\n").unwrap();
        let target = Target { url: lab.upload.clone(), ca_file: lab.ca_file.clone(), token_file };
        let delivery = Delivery { target, log: Some(log) };
        let out = dir.path().join("out");

        let ended = spawn_blocking(move || run(&inputs_file, &out, Some(&delivery), None)).await.unwrap();

        assert_eq!(ended.unwrap(), ExitCode::from(DONE));
        let committed = lab.campaign().committed().await.unwrap().remove(0);
        assert_eq!(committed.run.validity.validity, Verdict::Failed);
        assert!(!committed.run.validity.reasons[0].message.is_empty());
        let attempt = lab.root().join("runs").join(inputs.run.attempt_path(1));
        assert_eq!(sha256sum(&attempt), Ok(()));
        assert_eq!(fs::read(attempt.join(INPUTS_FILE)).unwrap(), text);
        assert_eq!(fs::read_to_string(attempt.join("loadgen.log")).unwrap(), "what was logged\n");
    }

    #[tokio::test]
    async fn an_attempt_that_is_refused_ends_as_failed_work() {
        let lab = Lab::start(Limits::default()).await;
        let dir = tempfile::tempdir().unwrap();
        let inputs = testing::inputs(&lab.plan, &testing::start(&lab.plan, 0, 1));
        let (inputs_file, token_file) = (dir.path().join("inputs.json"), dir.path().join("token"));
        fs::write(&inputs_file, serde_json::to_vec(&inputs).unwrap()).unwrap();
        fs::write(&token_file, "token-2").unwrap();
        let target = Target { url: lab.upload.clone(), ca_file: lab.ca_file.clone(), token_file };
        let delivery = Delivery { target, log: None };
        let out = dir.path().join("out");

        let ended = spawn_blocking(move || run(&inputs_file, &out, Some(&delivery), None)).await.unwrap();

        assert_eq!(ended.unwrap(), ExitCode::from(FAILED));
        assert!(lab.campaign().committed().await.unwrap().is_empty());
    }
}
