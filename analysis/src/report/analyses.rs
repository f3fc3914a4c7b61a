//! The notebook's analyses as tables: as the notebook has them, as they should be, or side by side.

use std::fmt::Write as _;

use clap::ValueEnum;
use teebench_api::campaign::Tee;

use super::csv::write;
use crate::notebook::analyses::{Figure, Row};

/// Which figures are shown.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// As they should be.
    Corrected,
    /// As the notebook has them, to the last digit.
    Compatible,
    /// Both, with the reason for each difference.
    Both,
}

const TITLES: [(&str, &str); 15] = [
    ("A0", "Totals"),
    ("A1", "Runs"),
    ("A3", "Board during calibration"),
    ("A4", "Calibration of max-num-seqs"),
    ("A5", "Output throughput"),
    ("A6", "Time to first token"),
    ("A7", "Decode latency"),
    ("A8", "Time to first token, in full"),
    ("A9", "Inter-token latency"),
    ("A10", "Saturation"),
    ("A11", "Totals of the sweep"),
    ("A12", "Throughput by sequence lengths"),
    ("A13", "Cost of the TEE by sequence lengths"),
    ("A14", "Energy"),
    ("A15", "Price"),
];

/// Columns of a mode.
fn columns(mode: Mode) -> Vec<&'static str> {
    let figures: &[&str] = match mode {
        Mode::Corrected => &["corrected"],
        Mode::Compatible => &["compatible"],
        Mode::Both => &["compatible", "corrected", "reason for the difference"],
    };
    [&["analysis", "experiment", "condition", "TEE", "quantity"], figures].concat()
}

/// Rows that a mode has, as cells.
fn cells(rows: &[Row], mode: Mode) -> Vec<Vec<String>> {
    rows.iter().filter_map(|row| row_cells(row, mode)).collect()
}

fn row_cells(row: &Row, mode: Mode) -> Option<Vec<String>> {
    let figures = match mode {
        Mode::Corrected => vec![row.corrected.as_ref()?.to_string()],
        Mode::Compatible => vec![row.compatible.as_ref()?.to_string()],
        Mode::Both => {
            let shown = |figure: Option<&Figure>| figure.map_or_else(|| "-".to_owned(), ToString::to_string);
            let [compatible, corrected] = [row.compatible.as_ref(), row.corrected.as_ref()];
            compatible.or(corrected)?;
            let reason = if compatible == corrected { "" } else { row.reason };
            vec![shown(compatible), shown(corrected), reason.to_owned()]
        }
    };
    let tee = match row.tee {
        Some(Tee::Enabled) => "on",
        Some(Tee::Disabled) => "off",
        Some(Tee::Undeclared) => "?",
        None => "",
    };
    let place = [row.analysis, &row.experiment, &row.condition, tee, &row.quantity].map(str::to_owned);
    Some([place.to_vec(), figures].concat())
}

/// The analyses as CSV.
#[must_use]
pub fn analyses_csv(rows: &[Row], mode: Mode) -> String {
    let header = columns(mode).into_iter().map(str::to_owned).collect();
    write(&[vec![header], cells(rows, mode)].concat())
}

/// The analyses as JSON: a list of rows, numbers in full.
#[must_use]
pub fn analyses_json(rows: &[Row], mode: Mode) -> String {
    let kept: Vec<Row> = rows
        .iter()
        .cloned()
        .map(|row| match mode {
            Mode::Corrected => Row { compatible: None, ..row },
            Mode::Compatible => Row { corrected: None, ..row },
            Mode::Both => row,
        })
        .filter(|row| row.compatible.is_some() || row.corrected.is_some())
        .collect();
    serde_json::to_string_pretty(&kept).expect("keys are text") + "\n"
}

/// The analyses as one table of Markdown each.
#[must_use]
pub fn analyses_markdown(rows: &[Row], mode: Mode) -> String {
    let line = |cells: &[String]| {
        let escaped: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
        format!("| {} |\n", escaped.join(" | "))
    };
    let header: Vec<String> = columns(mode)[1..].iter().map(|&name| name.to_owned()).collect();
    let mut out = String::new();
    for (analysis, title) in TITLES {
        let of: Vec<Vec<String>> = cells(rows, mode).into_iter().filter(|cells| cells[0] == analysis).collect();
        if of.is_empty() {
            continue;
        }
        let _ = writeln!(out, "## {analysis} {title}\n");
        out.push_str(&line(&header));
        out.push_str(&line(&vec!["---".to_owned(); header.len()]));
        of.iter().for_each(|cells| out.push_str(&line(&cells[1..])));
        out.push('\n');
    }
    out
}

/// The analyses for a terminal.
#[must_use]
pub fn analyses_text(rows: &[Row], mode: Mode) -> String {
    let all = cells(rows, mode);
    let mut out = String::new();
    for (analysis, title) in TITLES {
        let of: Vec<&[String]> = all.iter().filter(|cells| cells[0] == analysis).map(|cells| &cells[1..]).collect();
        if of.is_empty() {
            continue;
        }
        let _ = writeln!(out, "{analysis} {title}");
        let header: Vec<String> = columns(mode)[1..].iter().map(|&name| name.to_owned()).collect();
        let lines: Vec<&[String]> = std::iter::once(header.as_slice()).chain(of).collect();
        let widths: Vec<usize> = (0..header.len())
            .map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0))
            .collect();
        for line in lines {
            let padded: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            let _ = writeln!(out, "  {}", padded.join("  ").trim_end());
        }
        out.push('\n');
    }
    out
}
