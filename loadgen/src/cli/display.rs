//! Progress on standard error: a bar on a terminal, JSON lines elsewhere.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::client::Progress;

/// Time between two JSON lines: often enough to follow a run, seldom enough for a log.
const LINE_INTERVAL: Duration = Duration::from_secs(1);

/// Shows progress until its sender is gone.
pub(super) async fn show(progress: watch::Receiver<Progress>) {
    if io::stderr().is_terminal() { show_bar(progress).await } else { show_lines(progress).await }
}

async fn show_bar(mut progress: watch::Receiver<Progress>) {
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} {per_sec} eta {eta} {msg}")
        .expect("the template has only keys that indicatif knows");
    let bar = ProgressBar::new(0).with_style(style);
    while progress.changed().await.is_ok() {
        let Progress { done, failed, in_flight, total, output_tokens, first_outputs: _, ttft_total_us: _ } =
            *progress.borrow_and_update();
        bar.set_length(total);
        bar.set_position(done + failed);
        bar.set_message(format!("in flight {in_flight}, failed {failed}, tokens {output_tokens}"));
    }
    bar.finish();
}

async fn show_lines(mut progress: watch::Receiver<Progress>) {
    let mut due = Instant::now();
    while progress.changed().await.is_ok() {
        let now = Instant::now();
        let Progress { done, failed, total, .. } = *progress.borrow_and_update();
        if now >= due || done + failed == total {
            due = now + LINE_INTERVAL;
            write_line(*progress.borrow());
        }
    }
}

fn write_line(progress: Progress) {
    let line = serde_json::to_string(&progress).expect("numbers always serialise");
    // Nobody reading the progress is no reason to end the run.
    let _ = writeln!(io::stderr().lock(), "{line}");
}
