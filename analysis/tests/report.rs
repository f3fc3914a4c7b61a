//! What every report shows of a summary.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod support;

use std::{path::Path, process::ExitCode};

use clap::Parser as _;
use rstest::rstest;
use support::{Tree, edit, first_run};
use teebench_analysis::{
    Args, Format,
    read::campaigns,
    report::{self, Sources},
    run,
    summary::{Summary, headline_text, summarise},
};

fn both(tree: &Tree) -> (Summary, String) {
    let directory = tempfile::tempdir().unwrap();
    tree.write(directory.path());
    let campaigns = campaigns(&[directory.path().to_owned()]).unwrap();
    let summary = summarise(&campaigns);
    let page = report::html(&summary, &Sources::read(&campaigns, directory.path()));
    (summary, page)
}

/// What the command line gives for one path and no flag.
fn arguments(path: &Path) -> Args {
    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }
    Line::parse_from([Path::new("report"), path]).args
}

fn small() -> Tree {
    Tree { requests: 20, ..Tree::default() }
}

#[test]
fn the_text_report_reads_as_it_is_meant_to() {
    let (summary, _) = both(&Tree { routers: vec!["direct", "hr-tree-lb"], ..small() });
    insta::assert_snapshot!(report::text(&summary));
}

#[test]
fn simulated_figures_say_so_wherever_they_stand() {
    let (summary, page) = both(&small());
    for shown in [report::text(&summary), headline_text(&summary), report::markdown(&summary)] {
        assert!(shown.to_lowercase().contains("simulated"), "{shown}");
    }
    assert!(summary.to_json().contains("\"simulated\":true"));
    let csv = report::csv(&summary);
    assert!(csv.lines().skip(1).all(|line| line.contains(",true,")), "{csv}");
    assert!(page.contains("class=\"banner\""));
    assert_eq!(page.matches("class=\"figure\"").count(), page.matches("class=\"stamp\"").count());
    assert!(page.matches("class=\"figure\"").count() >= 7);
}

#[test]
fn measured_figures_do_not_say_that_they_are_simulated() {
    let (summary, page) = both(&Tree { simulated: false, ..small() });
    assert!(!summary.simulated);
    assert!(!page.contains("class=\"banner\"") && !page.contains("class=\"stamp\""));
    assert!(!report::text(&summary).to_lowercase().contains("simulated"));
}

#[test]
fn the_page_needs_nothing_from_anywhere() {
    let (_, page) = both(&small());
    for outside in ["http://", "https://", "src=", "@import", "url(", "<link"] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(page.len() < 1024 * 1024, "{}", page.len());
}

#[test]
fn the_page_serves_those_who_cannot_see_it() {
    let (_, page) = both(&small());
    assert!(
        page.contains("<html lang=\"en\">") && page.contains("href=\"#results\"") && page.contains("id=\"results\"")
    );
    let figures = page.matches("class=\"figure\"").count();
    assert_eq!(page.matches("<title id=").count(), figures);
    assert_eq!(page.matches("<desc id=").count(), figures);
    assert_eq!(page.matches("class=\"sortable\"").count(), page.matches("<caption>").count());
}

#[test]
fn every_run_leads_to_its_files() {
    let (summary, page) = both(&small());
    for run in &summary.campaigns[0].runs {
        assert!(page.contains(&format!("href=\"{}/bench.json\"", run.path)), "{}", run.path);
    }
}

#[test]
fn what_people_wrote_cannot_become_markup() {
    let directory = tempfile::tempdir().unwrap();
    let plan = small().write(directory.path());
    let run = first_run(directory.path(), &plan, "cc-on", "direct");
    edit(&run.join("run.json"), |file| {
        file["validity"] = serde_json::json!("Failed");
        file["reasons"] = serde_json::json!([{"code": "LoadFailed", "message": "<script>alert(1)</script>"}]);
    });
    let campaigns = campaigns(&[directory.path().to_owned()]).unwrap();
    let page = report::html(&summarise(&campaigns), &Sources::default());
    assert!(!page.contains("<script>alert") && page.contains("&lt;script&gt;alert"));
}

#[test]
fn the_csv_has_a_row_for_each_cell_and_metric() {
    let (summary, _) = both(&small());
    let text = report::csv(&summary);
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    assert_eq!(&reader.headers().unwrap()[5], "metric");
    let cells: usize =
        summary.campaigns[0].experiments[0].conditions[0].cells.iter().map(|cell| cell.metrics.len()).sum();
    assert_eq!(reader.records().map(Result::unwrap).count(), cells);
}

#[test]
fn a_campaign_without_runs_is_reported_as_such() {
    let (summary, page) = both(&Tree { arms: Vec::new(), ..small() });
    assert!(report::text(&summary).contains("0 of 36 planned runs valid"));
    assert!(page.contains("There is no answer: no run is valid."));
}

#[rstest]
#[case("report.html", None, "<!DOCTYPE html>")]
#[case("summary.json", None, "{\"schema_version\":1")]
#[case("table.csv", None, "campaign,experiment")]
#[case("notes.md", None, "# planetserve-ablation")]
#[case("anything", Some(Format::Text), "planetserve-ablation (SIMULATED")]
fn the_format_follows_the_flag_and_then_the_files_name(
    #[case] name: &str,
    #[case] output: Option<Format>,
    #[case] begins: &str,
) {
    let directory = tempfile::tempdir().unwrap();
    Tree { repetitions: 1, ..small() }.write(directory.path());
    let out = directory.path().join(name);
    let args = Args { out: Some(out.clone()), output, ..arguments(directory.path()) };
    assert_eq!(run(args).unwrap(), ExitCode::SUCCESS);
    let written = std::fs::read_to_string(out).unwrap();
    assert!(written.starts_with(begins), "{}", &written[..60]);
}

#[test]
fn no_campaign_is_bad_input() {
    let directory = tempfile::tempdir().unwrap();
    let args = arguments(directory.path());
    assert_eq!(run(args).unwrap(), ExitCode::from(2));
}
