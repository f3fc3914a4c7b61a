//! `teebench report`.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::ValueEnum;

use super::{inputs, refused};
use crate::{
    notebook::{
        Tree,
        analyses::{Row, analyse},
    },
    read::Campaign,
    report::{self, Mode, Sources},
    stats::Margin,
    summary::{Electricity, Rules, summarise_by},
};

/// Shows what campaigns found.
#[derive(clap::Args, Clone, Debug)]
#[command(before_help = "Examples:
  teebench report results/
  teebench report results/ --out report.html --plots plots/
  teebench report results/2026-07/ results/2026-08/     what changed, and what it changed")]
pub struct Args {
    /// Directories of campaigns, or directories one above them; trees of the notebook; result files of `vllm bench
    /// serve`, or a directory of them. Campaigns of the same plan are merged, so that arms run apart are reported
    /// together; those of different plans are compared with the first
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,

    /// File to write; without --output its ending says the format, and no ending that is known is HTML. A directory for
    /// llm-d-v0.2, which has a file for each run
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,

    /// Format of the report [default: text on standard output, html with --out]
    #[arg(short, long, value_enum)]
    pub output: Option<Format>,

    /// Directory for every figure as SVG and PNG, with its numbers as CSV
    #[arg(long, value_name = "DIR")]
    pub plots: Option<PathBuf>,

    /// For trees: the notebook's analyses as the notebook has them, as they should be, or both with the reason for each
    /// difference [default: the report, with corrected figures]
    #[arg(long, value_enum)]
    pub mode: Option<Mode>,

    /// Ratios within so many percent of 1 count as equal
    #[arg(long, value_name = "PERCENT", default_value_t = 2.0, value_parser = percent)]
    pub margin: f64,

    /// Price of energy with its currency, for instance 0.21EUR: its cost is then stated apart
    #[arg(long, value_name = "PRICE")]
    pub price_per_kwh: Option<Electricity>,

    /// Leave out files that cannot be used
    #[arg(long)]
    pub skip_bad: bool,
}

fn percent(text: &str) -> Result<f64, String> {
    let value = text.parse::<f64>().ok().filter(|value| *value > 0.0 && *value < 100.0);
    value.ok_or_else(|| format!("{text:?} is no margin; give percent between 0 and 100, for instance 2"))
}

/// A report's format.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Plain text with small bars.
    Text,
    /// One page that needs no network.
    Html,
    /// The summary, as in summary.json.
    Json,
    /// One row for each experiment, condition, arm, router and metric.
    Csv,
    /// The answers and a table for each condition.
    Markdown,
    /// A benchmark report of llm-d, version 0.2, for each run that counts: a line each, or a file each with --out.
    #[value(name = "llm-d-v0.2")]
    LlmD,
}

impl Format {
    fn of_file(path: &Path) -> Self {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("txt") => Self::Text,
            Some("json") => Self::Json,
            Some("csv") => Self::Csv,
            Some("md") => Self::Markdown,
            _ => Self::Html,
        }
    }
}

/// Runs the subcommand. Exit code 2 when there is no campaign at a path, or one cannot be read; 1 when plots could not
/// all be drawn.
///
/// # Errors
/// When the report cannot be written.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { paths, out, output, plots, mode, margin, price_per_kwh, skip_bad } = args;
    let inputs = match inputs::read(&paths, skip_bad) {
        Ok(inputs) => inputs,
        Err(reason) => return Ok(refused(&reason)),
    };
    let format = output.unwrap_or_else(|| out.as_deref().map_or(Format::Text, Format::of_file));
    if let Some(mode) = mode {
        if plots.is_some() {
            return Ok(refused("--plots draws the report's figures; leave out --mode"));
        }
        return analyses(&inputs.trees, mode, format, out.as_deref());
    }
    let campaigns = inputs.campaigns;
    if format == Format::LlmD && plots.is_some() {
        return Ok(refused("--plots draws the report's figures; leave out --output llm-d-v0.2"));
    }
    let summary = summarise_by(&campaigns, &Rules { margin: Margin(margin / 100.0), electricity: price_per_kwh });
    let page_directory = out.as_deref().and_then(Path::parent).filter(|directory| !directory.as_os_str().is_empty());
    let sources = Sources::read(&campaigns, page_directory.unwrap_or(Path::new(".")));
    let text = match format {
        Format::Text => report::text(&summary),
        Format::Html => report::html(&summary, &sources),
        Format::Json => summary.to_json(),
        Format::Csv => report::csv(&summary),
        Format::Markdown => report::markdown(&summary),
        Format::LlmD => return llm_d(&campaigns, out.as_deref()),
    };
    write(out.as_deref(), &text)?;
    let Some(directory) = plots else { return Ok(ExitCode::SUCCESS) };
    match report::write_plots(&report::plots(&summary, &sources), &directory) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error @ report::PlotError::Io { .. }) => Err(error.into()),
        Err(error) => {
            tracing::error!("{error}");
            Ok(ExitCode::FAILURE)
        }
    }
}

fn analyses(trees: &[Tree], mode: Mode, format: Format, out: Option<&Path>) -> anyhow::Result<ExitCode> {
    if trees.is_empty() {
        return Ok(refused("--mode is for trees of the notebook; make one of a campaign by teebench export"));
    }
    let rows: Vec<Row> = trees.iter().flat_map(analyse).collect();
    let text = match format {
        Format::Text => report::analyses_text(&rows, mode),
        Format::Csv => report::analyses_csv(&rows, mode),
        Format::Markdown => report::analyses_markdown(&rows, mode),
        Format::Json => report::analyses_json(&rows, mode),
        Format::Html | Format::LlmD => {
            return Ok(refused("--mode writes text, csv, markdown or json; choose one by --output"));
        }
    };
    write(out, &text)?;
    Ok(ExitCode::SUCCESS)
}

fn llm_d(campaigns: &[Campaign], out: Option<&Path>) -> anyhow::Result<ExitCode> {
    let reports = report::llm_d_v0_2(campaigns);
    if reports.is_empty() {
        tracing::error!("no run counts, so that there is no report to write");
        return Ok(ExitCode::FAILURE);
    }
    let Some(directory) = out else {
        let lines: Vec<String> = reports.iter().map(|each| format!("{}\n", each.report)).collect();
        write(None, &lines.concat())?;
        return Ok(ExitCode::SUCCESS);
    };
    fs::create_dir_all(directory).with_context(|| format!("{}: cannot make the directory", directory.display()))?;
    for each in reports {
        let text = serde_json::to_string_pretty(&each.report).context("a report cannot be written as JSON")? + "\n";
        write(Some(&directory.join(format!("{}.json", each.name))), &text)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes the directory that a file is to lie in.
fn within_directory(file: &Path) -> std::io::Result<()> {
    file.parent().filter(|directory| !directory.as_os_str().is_empty()).map_or(Ok(()), fs::create_dir_all)
}

fn write(out: Option<&Path>, text: &str) -> anyhow::Result<()> {
    match out {
        Some(path) => within_directory(path)
            .and_then(|()| fs::write(path, text))
            .with_context(|| format!("{}: cannot write the report", path.display())),
        None => std::io::stdout().lock().write_all(text.as_bytes()).context("cannot write to standard output"),
    }
}
