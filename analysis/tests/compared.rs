//! Sweeps, campaigns over time, plots and reports for llm-d: what a campaign's results give beside its summary.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod llm_d;
mod support;

use std::path::Path;

use support::{Tree, edit};
use teebench_analysis::{
    notebook::{self, Tree as Notebook},
    read::{Campaign, campaigns},
    report::{self, Sources, write_plots},
    stats::Margin,
    summary::{Difference, Rules, Summary, summarise, summarise_by},
};

fn written(tree: &Tree, directory: &Path) -> Vec<Campaign> {
    tree.write(directory);
    campaigns(&[directory.to_owned()]).unwrap()
}

/// The notebook's tree that comes with the tests: sweeps, maps and calibrations of a few runs each.
fn notebook_summary() -> (Summary, Vec<Campaign>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/notebook/tree");
    let campaigns = notebook::campaigns(&Notebook::read(&root).unwrap().unwrap());
    (summarise(&campaigns), campaigns)
}

/// A campaign, and a later one of another seed whose servers of cc-on are of a newer driver and slower.
fn then_and_now(directory: &Path) -> Summary {
    let tree = Tree { requests: 20, routers: vec!["direct"], ..Tree::default() };
    let (then, now) = (directory.join("then"), directory.join("now"));
    tree.write(&then);
    tree.write(&now);
    let plan = support::edit_plan(&now, |plan| {
        plan["seed"] = 7.into();
        plan["spec"]["seed"] = 7.into();
    });
    for (block, run) in plan.blocks.iter().flat_map(|block| block.runs.iter().map(move |run| (block, run))) {
        let attempt = support::run_directory(&now, &plan, block, run, 1);
        if run.arm == "cc-on" {
            edit(&attempt.join("run.json"), |file| {
                for server in file["servers"].as_array_mut().unwrap() {
                    server["environment"]["driver_version"] = "590.10".into();
                }
            });
            edit(&attempt.join("bench.json"), |bench| {
                bench["output_throughput"] = (0.9 * bench["output_throughput"].as_f64().unwrap()).into();
            });
        }
    }
    summarise(&campaigns(&[then, now]).unwrap())
}

#[test]
fn two_campaigns_of_different_plans_are_compared_in_environment_settings_figures_and_effects() {
    let directory = tempfile::tempdir().unwrap();
    let summary = then_and_now(directory.path());
    assert_eq!(summary.campaigns.len(), 2);
    let versus = &summary.versus[0];
    let driver = versus.environment.iter().find(|changed| changed.name == "NVIDIA driver").unwrap();
    assert_eq!(driver.arm.as_deref(), Some("cc-on"));
    assert_eq!((driver.before.as_deref(), driver.after.as_deref()), (Some("580.159.04"), Some("590.10")));
    assert_eq!(versus.environment.len(), 1, "{:?}", versus.environment);
    assert!(versus.settings.iter().any(|changed| changed.name == "spec.seed"), "{:?}", versus.settings);
    let on = versus.conditions[0].cells.iter().find(|cell| cell.name.arm == "cc-on").unwrap();
    let figures = on.effects[0].figures.as_ref().unwrap();
    let interval = figures.interval.unwrap();
    assert!((figures.ratio - 0.9).abs() < 1e-9 && interval.low < 0.9 && 0.9 < interval.high, "{figures:?}");
    assert_eq!(figures.verdict, Difference::Different);
    let effect = &versus.effects[0];
    assert!((effect.change - 0.9).abs() < 1e-9 && effect.interval.is_some(), "{effect:?}");
}

#[test]
fn a_comparison_over_time_stands_in_every_report() {
    let directory = tempfile::tempdir().unwrap();
    let summary = then_and_now(directory.path());
    let page = report::html(&summary, &Sources::default());
    for shown in [report::text(&summary), report::markdown(&summary), page, summary.to_json()] {
        assert!(shown.contains("590.10"), "{}", &shown[..200]);
    }
}

#[test]
fn a10_a_sweep_has_knees_with_what_they_cost_and_curves() {
    let (summary, campaigns) = notebook_summary();
    let experiments = &summary.campaigns[0].experiments;
    let sweep = experiments.iter().find(|experiment| experiment.name == "saturation-point").unwrap();
    assert!(!sweep.knees.is_empty() && !sweep.knee_contrasts.is_empty(), "{:?}", sweep.knees);
    let plots = report::plots(&summary, &Sources::read(&campaigns, Path::new(".")));
    for name in ["output_throughput", "request_throughput", "ttft_p50"] {
        assert!(plots.iter().any(|plot| plot.name == format!("saturation-point-load-{name}")), "{name}");
    }
}

#[test]
fn a4_a_calibration_chooses_by_its_rule() {
    let (summary, _) = notebook_summary();
    let choices: Vec<_> = summary.campaigns[0].experiments.iter().flat_map(|experiment| &experiment.choices).collect();
    assert!(!choices.is_empty());
    assert!(choices.iter().all(|choice| choice.tried.contains(&choice.max_num_seqs)), "{choices:?}");
}

#[test]
fn a12_and_a13_are_maps_of_both_modes_and_of_what_is_lost() {
    let (summary, campaigns) = notebook_summary();
    let plots = report::plots(&summary, &Sources::read(&campaigns, Path::new(".")));
    let maps = plots.iter().filter(|plot| plot.name.contains("-map-")).count();
    assert_eq!(maps, 3, "{:?}", plots.iter().map(|plot| &plot.name).collect::<Vec<_>>());
}

#[test]
fn every_plot_is_written_as_svg_png_and_csv() {
    let directory = tempfile::tempdir().unwrap();
    let campaigns = written(&Tree { requests: 20, ..Tree::default() }, &directory.path().join("results"));
    let plots = report::plots(&summarise(&campaigns), &Sources::read(&campaigns, directory.path()));
    assert!(plots.len() >= 7, "{}", plots.len());
    let out = directory.path().join("plots");
    // A machine without a font gives no PNG and says so; the others are there in any case.
    let drawn = write_plots(&plots, &out);
    for plot in &plots {
        assert!(
            plot.svg.contains("SIMULATED") && !plot.svg.contains("NaN") && !plot.svg.contains("var("),
            "{}",
            plot.name
        );
        assert!(out.join(format!("{}.svg", plot.name)).is_file() && out.join(format!("{}.csv", plot.name)).is_file());
        if drawn.is_ok() {
            let png = std::fs::read(out.join(format!("{}.png", plot.name))).unwrap();
            assert!(png.starts_with(b"\x89PNG"), "{}", plot.name);
        }
    }
}

#[test]
fn figures_of_a_single_value_are_drawn() {
    let directory = tempfile::tempdir().unwrap();
    let tree = Tree { repetitions: 1, arms: vec!["cc-on"], routers: vec!["direct"], ..Tree::default() };
    let campaigns = written(&tree, directory.path());
    let page = report::html(&summarise(&campaigns), &Sources::read(&campaigns, directory.path()));
    assert!(!page.contains("NaN"));
}

#[test]
fn a15_energy_has_its_own_price_apart_and_the_margin_is_the_readers() {
    let directory = tempfile::tempdir().unwrap();
    let campaigns = written(&Tree { requests: 20, ..Tree::default() }, directory.path());
    let rules = Rules { margin: Margin(0.2), electricity: Some("0.36 EUR".parse().unwrap()) };
    let summary = summarise_by(&campaigns, &rules);
    let condition = &summary.campaigns[0].experiments[0].conditions[0];
    assert!(condition.cells.iter().all(|cell| cell.energy_cost.as_ref().is_some_and(|cost| cost.currency == "EUR")));
    let throughput = condition.contrasts[0].effects[0].figures.as_ref().unwrap();
    assert_eq!(throughput.verdict, Difference::Equivalent, "7 % are within 20 %");
}

#[test]
fn a15_occupied_time_is_counted_and_paid() {
    let directory = tempfile::tempdir().unwrap();
    Tree { requests: 20, ..Tree::default() }.write(directory.path());
    let line = |event: &str, minute: u32| {
        format!(
            "{{\"boot\":0,\"generation\":1,\"arm\":\"cc-on\",\"event\":\"{event}\",\"at\":\"2026-11-22T09:{minute:02}:00Z\"}}\n"
        )
    };
    let lines = [line("started", 0), line("ready", 5), line("stopped", 30)].concat();
    std::fs::write(directory.path().join("boots.jsonl"), lines).unwrap();
    let summary = summarise(&campaigns(&[directory.path().to_owned()]).unwrap());
    let arms = &summary.campaigns[0].arms;
    assert!(arms.iter().find(|arm| arm.name == "cc-off").unwrap().occupied.is_none());
    let occupied = arms.iter().find(|arm| arm.name == "cc-on").unwrap().occupied.as_ref().unwrap();
    assert_eq!((occupied.seconds, occupied.starting_seconds, occupied.starts), (1800.0, 300.0, 1));
    // Two machines at 8.40 an hour for half an hour.
    assert_eq!(occupied.cost, Some("8.40".parse().unwrap()));
}

#[test]
fn reports_for_llm_d_have_its_form() {
    let directory = tempfile::tempdir().unwrap();
    let campaigns = written(&Tree { requests: 100, ..Tree::default() }, directory.path());
    let reports = report::llm_d_v0_2(&campaigns);
    assert_eq!(reports.len(), 36);
    for each in &reports {
        let read: llm_d::Report = serde_json::from_value(each.report.clone()).unwrap();
        read.check();
    }
}
