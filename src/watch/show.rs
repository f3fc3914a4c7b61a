//! A screen that is redrawn on a terminal, and a line an event elsewhere.

use std::{
    io::{self, IsTerminal, Write as _, stdout},
    mem,
};

use console::{Term, measure_text_width, style, truncate_str};

use super::view::{Row, View};

const BAR: usize = 40;
/// Lines of runs that ended, on a screen.
const LAST_RUNS: usize = 5;

/// Where the view goes.
pub enum Show {
    /// A terminal, with the number of lines that stand there.
    Screen { term: Term, lines: usize },
    /// Anything else, with what was told last.
    Lines { state: String, run: String, told_epoch: i64 },
}

impl Show {
    /// A screen when standard output is a terminal, else lines.
    pub fn new() -> Self {
        if stdout().is_terminal() {
            Self::Screen { term: Term::buffered_stdout(), lines: 0 }
        } else {
            Self::Lines { state: String::new(), run: String::new(), told_epoch: 0 }
        }
    }

    /// Shows a view in place of the one before.
    pub fn draw(&mut self, view: &View) -> io::Result<()> {
        match self {
            Self::Screen { term, lines } => {
                let (height, width) = term.size();
                let screen = screen(view, usize::from(width), usize::from(height));
                // One write, so that nothing flickers.
                term.clear_last_lines(mem::replace(lines, screen.len()))?;
                for line in screen {
                    term.write_line(&line)?;
                }
                term.flush()
            }
            Self::Lines { state, run, told_epoch } => {
                let mut out = stdout().lock();
                for line in news(view, state, run, told_epoch) {
                    writeln!(out, "{line}")?;
                }
                out.flush()
            }
        }
    }

    /// Leaves what was shown last where it is.
    pub fn leave(&mut self) -> io::Result<()> {
        match self {
            Self::Screen { term, lines: _ } => term.flush(),
            Self::Lines { .. } => Ok(()),
        }
    }
}

/// What is new since the last view, a line each.
fn news(view: &View, state: &mut String, run: &mut String, told_epoch: &mut i64) -> Vec<String> {
    let mut lines = Vec::new();
    let told = *told_epoch;
    for (epoch, line) in view.ended.iter().filter(|(epoch, _)| *epoch > told) {
        lines.push(format!("{}/{}  {line}", view.done, view.total));
        *told_epoch = *epoch;
    }
    let present = format!("{}: {}", view.state, view.message);
    if *state != present {
        lines.push(format!("{}  {present}", view.name));
        *state = present;
    }
    // What is being done changes; that it is another run is news.
    let now = view.now.as_ref().map(|(run, _)| run.clone()).unwrap_or_default();
    if *run != now {
        if !now.is_empty() {
            lines.push(format!("{}/{}  {now}  begins", view.done, view.total));
        }
        *run = now;
    }
    lines
}

/// The lines of a screen.
fn screen(view: &View, width: usize, height: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let [valid, inconclusive, failed] = view.counts;
    let mut head = format!("{}  {}", style(&view.name).bold(), coloured(&view.state));
    for more in [
        view.spent.as_ref().map(|spent| format!("spent {spent}")),
        view.ends.as_ref().map(|at| format!("ends about {at}")),
    ] {
        head.extend(more.map(|more| format!("  {more}")));
    }
    lines.push(head);
    lines.push(format!(
        "{} {}/{} runs: {valid} valid, {inconclusive} inconclusive, {failed} failed",
        bar(view.done, view.total),
        view.done,
        view.total
    ));
    lines.push(match &view.now {
        Some((run, doing)) => format!("now  {run}  {doing}"),
        None => view.message.clone(),
    });
    lines.push(String::new());
    lines.extend(table(&view.rows));
    lines.push(String::new());
    let last = view.ended.len().saturating_sub(LAST_RUNS);
    lines.extend(view.ended[last..].iter().map(|(_, line)| line.clone()));
    lines.extend(view.queue.iter().map(|waiting| format!("waits  {waiting}")));
    // What does not fit would scroll, and could not be cleared.
    lines.truncate(height.saturating_sub(1).max(1));
    lines.iter().map(|line| truncate_str(line, width.max(1), "…").into_owned()).collect()
}

fn coloured(state: &str) -> String {
    match state {
        "Completed" => style(state).green().to_string(),
        "Progressing" => style(state).cyan().to_string(),
        "Queued" | "Suspended" => style(state).yellow().to_string(),
        _ => style(state).red().to_string(),
    }
}

fn bar(done: u32, total: u32) -> String {
    let filled = (u64::from(done) * BAR as u64).checked_div(u64::from(total)).unwrap_or(0);
    let filled = usize::try_from(filled).unwrap_or(BAR).min(BAR);
    format!("[{}{}]", "#".repeat(filled), "-".repeat(BAR - filled))
}

fn table(rows: &[Row]) -> Vec<String> {
    let head = ["ARM", "ROUTER", "VALID", "TOK/S", "TTFT P50", "J/TOKEN", "NOW TOK/S", "NOW TTFT"].map(str::to_owned);
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let cells = rows.iter().map(|row| {
        [
            row.arm.clone(),
            row.router.clone(),
            row.valid.to_string(),
            or_none(&row.tokens_per_second),
            or_none(&row.ttft_p50),
            or_none(&row.joules_per_token),
            row.live_tokens_per_s.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.0}")),
            row.live_ttft_ms.map_or_else(|| "-".to_owned(), |ttft| format!("{ttft:.0} ms")),
        ]
    });
    let table: Vec<[String; 8]> = [head].into_iter().chain(cells).collect();
    let width = |column: usize| table.iter().map(|row| measure_text_width(&row[column])).max().unwrap_or(0);
    let widths: Vec<usize> = (0..8).map(width).collect();
    let line = |row: &[String; 8]| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    table.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> View {
        let row = |arm: &str, live: Option<f64>| Row {
            arm: arm.into(),
            router: "hr-tree".into(),
            valid: 2,
            tokens_per_second: Some("812.4".into()),
            ttft_p50: Some("84 ms".into()),
            joules_per_token: None,
            live_tokens_per_s: live,
            live_ttft_ms: live.map(|_| 91.2),
        };
        View {
            name: "ablation".into(),
            state: "Progressing".into(),
            message: "boot 1 is up".into(),
            done: 3,
            total: 12,
            counts: [2, 1, 0],
            spent: Some("1.20 USD".into()),
            ends: None,
            now: Some(("e/c/cc-on/hr-tree/r2a1".into(), "12/240 requests, 4 in flight, 0 failed, 790 tok/s".into())),
            rows: vec![row("cc-off", None), row("cc-on", Some(790.4))],
            ended: vec![
                (1, "e/c/cc-on/hr-tree/r1a1  Valid  812.4 tok/s".into()),
                (2, "e/c/cc-off/hr-tree/r1a1  Failed".into()),
            ],
            queue: vec!["other: waits for ablation on node gpu-1".into()],
        }
    }

    #[test]
    fn a_screen_shows_progress_rates_by_arm_and_the_queue() {
        console::set_colors_enabled(false);

        let shown = screen(&view(), 100, 40);

        insta::assert_snapshot!(shown.join("\n"), @r"
        ablation  Progressing  spent 1.20 USD
        [##########------------------------------] 3/12 runs: 2 valid, 1 inconclusive, 0 failed
        now  e/c/cc-on/hr-tree/r2a1  12/240 requests, 4 in flight, 0 failed, 790 tok/s

        ARM     ROUTER   VALID  TOK/S  TTFT P50  J/TOKEN  NOW TOK/S  NOW TTFT
        cc-off  hr-tree  2      812.4  84 ms     -        -          -
        cc-on   hr-tree  2      812.4  84 ms     -        790        91 ms

        e/c/cc-on/hr-tree/r1a1  Valid  812.4 tok/s
        e/c/cc-off/hr-tree/r1a1  Failed
        waits  other: waits for ablation on node gpu-1
        ");
    }

    #[test]
    fn a_screen_is_never_larger_than_the_terminal() {
        console::set_colors_enabled(false);

        let shown = screen(&view(), 30, 6);

        assert_eq!(shown.len(), 5);
        assert!(shown.iter().all(|line| measure_text_width(line) <= 30), "{shown:#?}");
    }

    #[test]
    fn elsewhere_than_on_a_terminal_each_event_is_told_once() {
        let (mut state, mut run, mut epoch) = (String::new(), String::new(), 0);

        let first = news(&view(), &mut state, &mut run, &mut epoch);
        let again = news(&view(), &mut state, &mut run, &mut epoch);
        let mut later = view();
        later.ended.push((3, "e/c/cc-on/hr-tree/r2a1  Valid".into()));
        later.now = None;
        let then = news(&later, &mut state, &mut run, &mut epoch);

        assert_eq!(first.len(), 4, "{first:#?}");
        assert_eq!(again, Vec::<String>::new());
        assert_eq!(then, ["3/12  e/c/cc-on/hr-tree/r2a1  Valid"]);
    }
}
