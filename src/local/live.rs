//! The live view: a bar for the campaign and one for the run on a terminal, plain lines elsewhere.

use std::{
    io::{IsTerminal, Write as _, stderr},
    time::Duration,
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::measure::Step;

/// What people see on standard error while a campaign runs.
#[derive(Debug)]
pub enum View {
    /// Bars, on a terminal.
    Bars {
        /// Keeps the two bars together.
        all: MultiProgress,
        /// Runs done of runs planned.
        campaign: ProgressBar,
        /// Requests done of the present run, or what is happening instead.
        run: ProgressBar,
    },
    /// One line an event.
    Lines,
}

impl View {
    /// Bars when standard error is a terminal, else lines.
    pub fn new(campaign: &str, runs_total: usize, runs_done: usize) -> Self {
        if !stderr().is_terminal() {
            return Self::Lines;
        }
        let all = MultiProgress::new();
        let bar = all.add(ProgressBar::new(runs_total as u64).with_message(campaign.to_owned()));
        bar.set_style(
            ProgressStyle::with_template(
                "{msg:44!} {bar:24.cyan/dim} {pos:>4}/{len} runs  {elapsed} gone, {eta} to go",
            )
            .expect("the template is fixed and tested"),
        );
        bar.set_position(runs_done as u64);
        // The time to go is that of the runs still to do, not of those found done.
        bar.reset_eta();
        bar.enable_steady_tick(Duration::from_millis(500));
        let run = all.add(ProgressBar::new(0));
        run.set_style(
            ProgressStyle::with_template("{prefix:44!} {bar:24.green/dim} {pos:>4}/{len} {msg}")
                .expect("the template is fixed and tested"),
        );
        run.enable_steady_tick(Duration::from_millis(200));
        Self::Bars { all, campaign: bar, run }
    }

    /// Something worth a line of its own.
    pub fn say(&self, line: &str) {
        match self {
            // A terminal that cannot be written to leaves nothing to be told.
            Self::Bars { all, .. } => drop(all.println(line)),
            Self::Lines => write_line(line),
        }
    }

    /// What is happening now, outside a load.
    pub fn phase(&self, what: &str) {
        match self {
            Self::Bars { run, .. } => {
                run.set_prefix(what.to_owned());
                run.set_length(1);
                run.set_position(0);
                run.set_message(String::new());
            }
            Self::Lines => write_line(what),
        }
    }

    /// A step of the present run.
    pub fn step(&self, title: &str, step: &Step) {
        let Self::Bars { run, .. } = self else { return };
        run.set_prefix(title.to_owned());
        match step {
            Step::Load { done, failed, in_flight, total, output_tokens_per_s, ttft_mean_ms: _ } => {
                run.set_length(*total);
                run.set_position(*done);
                run.set_message(format!("{output_tokens_per_s:.0} tok/s, {in_flight} in flight, {failed} failed"));
            }
            other => run.set_message(other.describe().to_owned()),
        }
    }

    /// The campaign's state after a run or a decision.
    pub fn campaign(&self, done: usize, total: usize) {
        if let Self::Bars { campaign, .. } = self {
            campaign.set_length(total as u64);
            campaign.set_position(done as u64);
        }
    }

    /// Takes the bars away.
    pub fn end(&self) {
        if let Self::Bars { campaign, run, .. } = self {
            run.finish_and_clear();
            campaign.finish_and_clear();
        }
    }
}

/// One line on standard error. A reader that went away costs the campaign nothing.
fn write_line(line: &str) {
    let _ = writeln!(stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_take_every_step() {
        let all = MultiProgress::with_draw_target(indicatif::ProgressDrawTarget::hidden());
        let campaign = all.add(ProgressBar::new(2));
        let run = all.add(ProgressBar::new(0));
        let view = View::Bars { all, campaign, run: run.clone() };

        view.phase("starting 8 servers");
        view.step("r1", &Step::Resetting);
        view.step(
            "r1",
            &Step::Load { done: 3, failed: 1, in_flight: 2, total: 9, output_tokens_per_s: 10.4, ttft_mean_ms: None },
        );
        view.campaign(1, 3);

        assert_eq!((run.position(), run.length()), (3, Some(9)));
        assert_eq!(run.message(), "10 tok/s, 2 in flight, 1 failed");
        view.end();
    }
}
