//! `teebench loadgen --from-plan FILE --out DIR`: one attempt as a process of its own.

use std::{fs, io::Write as _, path::Path, process::ExitCode};

use anyhow::Context;
use teebench_api::files::{inputs::RunInputs, run::Verdict};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{Step, attempt};
use crate::cli::{BAD_INPUT, DONE, INTERRUPTED};

/// Executes the attempt. Steps go to standard output, one JSON object a line; what failed is in `run.json`.
pub fn run(inputs: &Path, out: &Path) -> anyhow::Result<ExitCode> {
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
    let verdict = runtime.block_on(async {
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
        let run = attempt::execute(&inputs, out, &show, cancel).await;
        watcher.abort();
        anyhow::Ok(run?.validity.validity)
    })?;
    Ok(ExitCode::from(if verdict == Verdict::Interrupted { INTERRUPTED } else { DONE }))
}

fn show(step: &Step) {
    let line = serde_json::to_string(step).expect("a step serialises to JSON");
    // Whoever showed the steps may be gone; the attempt goes on to its files all the same.
    let _ = writeln!(std::io::stdout(), "{line}");
}
