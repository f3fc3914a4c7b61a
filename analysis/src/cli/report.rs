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
    notebook::analyses::{Row, analyse},
    report::{self, Links, Mode},
    summary::summarise,
};

/// Shows what campaigns found.
#[derive(clap::Args, Clone, Debug)]
#[command(before_help = "Example: teebench report results/ --out results/report.html")]
pub struct Args {
    /// Directories of campaigns, or directories one above them; trees of the notebook; result files of `vllm bench
    /// serve`, or a directory of them. Campaigns of the same plan are merged, so that arms run apart are reported together
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,

    /// File to write; without --output its ending says the format, and no ending that is known is HTML
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,

    /// Format of the report [default: text on standard output, html with --out]
    #[arg(short, long, value_enum)]
    pub output: Option<Format>,

    /// For trees: the notebook's analyses as the notebook has them, as they should be, or both with the reason for each
    /// difference [default: the report, with corrected figures]
    #[arg(long, value_enum)]
    pub mode: Option<Mode>,

    /// Leave out files that cannot be used
    #[arg(long)]
    pub skip_bad: bool,
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

/// Runs the subcommand. Exit code 2 when there is no campaign at a path, or one cannot be read.
///
/// # Errors
/// When the report cannot be written.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { paths, out, output, mode, skip_bad } = args;
    let inputs = match inputs::read(&paths, skip_bad) {
        Ok(inputs) => inputs,
        Err(reason) => return Ok(refused(&reason)),
    };
    if let Some(mode) = mode {
        if inputs.trees.is_empty() {
            return Ok(refused("--mode is for trees of the notebook; make one of a campaign by teebench export"));
        }
        let format = output.unwrap_or_else(|| out.as_deref().map_or(Format::Text, Format::of_file));
        let rows: Vec<Row> = inputs.trees.iter().flat_map(analyse).collect();
        let text = match format {
            Format::Text => report::analyses_text(&rows, mode),
            Format::Csv => report::analyses_csv(&rows, mode),
            Format::Markdown => report::analyses_markdown(&rows, mode),
            Format::Json => report::analyses_json(&rows, mode),
            Format::Html => return Ok(refused("--mode writes text, csv, markdown or json; choose one by --output")),
        };
        return write(out, &text);
    }
    let campaigns = inputs.campaigns;
    let format = output.unwrap_or_else(|| out.as_deref().map_or(Format::Text, Format::of_file));
    let page_directory = out.as_deref().and_then(Path::parent).filter(|directory| !directory.as_os_str().is_empty());
    let summary = summarise(&campaigns);
    let text = match format {
        Format::Text => report::text(&summary),
        Format::Html => report::html(&summary, &Links::new(&campaigns, page_directory.unwrap_or(Path::new(".")))),
        Format::Json => summary.to_json(),
        Format::Csv => report::csv(&summary),
        Format::Markdown => report::markdown(&summary),
    };
    write(out, &text)
}

fn write(out: Option<PathBuf>, text: &str) -> anyhow::Result<ExitCode> {
    match out {
        Some(path) => fs::write(&path, text).with_context(|| format!("{}: cannot write the report", path.display()))?,
        None => std::io::stdout().lock().write_all(text.as_bytes()).context("cannot write to standard output")?,
    }
    Ok(ExitCode::SUCCESS)
}
