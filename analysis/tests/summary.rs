//! What a summary says of trees whose true effects are known.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod support;

use std::{fs, path::Path};

use rstest::rstest;
use serde_json::json;
use support::{TEE_THROUGHPUT, Tree, edit, edit_plan, first_run, run_directory};
use teebench_analysis::{
    metrics::Measure,
    read::campaigns,
    summary::{
        CampaignSummary, Contrast, ContrastKind, Difference, Figures, NoteCode, PMethod, Summary, schema, summarise,
    },
};

fn summary_of(paths: &[&Path]) -> Summary {
    summarise(&campaigns(&paths.iter().map(|path| path.to_path_buf()).collect::<Vec<_>>()).unwrap())
}

fn only(tree: &Tree) -> CampaignSummary {
    let directory = tempfile::tempdir().unwrap();
    tree.write(directory.path());
    let Summary { mut campaigns, .. } = summary_of(&[directory.path()]);
    assert_eq!(campaigns.len(), 1);
    campaigns.remove(0)
}

fn contrast<'a>(campaign: &'a CampaignSummary, kind: ContrastKind, router: &str) -> &'a Contrast {
    campaign.experiments[0].conditions[0]
        .contrasts
        .iter()
        .find(|contrast| contrast.kind == kind && contrast.numerator.router == router)
        .unwrap()
}

fn figures(contrast: &Contrast, measure: Measure) -> &Figures {
    contrast.effects.iter().find(|effect| effect.metric == measure).unwrap().figures.as_ref().unwrap()
}

fn has_note(campaign: &CampaignSummary, code: NoteCode) -> bool {
    let conditions = campaign.experiments.iter().flat_map(|experiment| &experiment.conditions);
    conditions.flat_map(|condition| &condition.notes).chain(&campaign.notes).any(|note| note.code == code)
}

#[test]
fn the_true_effects_lie_in_their_intervals() {
    let campaign = only(&Tree::default());
    let direct = contrast(&campaign, ContrastKind::Arms, "direct");
    assert_eq!((direct.numerator.arm.as_str(), direct.denominator.arm.as_str()), ("cc-on", "cc-off"));
    for (kind, router, truth) in [
        (ContrastKind::Arms, "direct", TEE_THROUGHPUT),
        (ContrastKind::Routers, "hr-tree-lb", 1.12),
        (ContrastKind::WinBack, "hr-tree-lb", TEE_THROUGHPUT * 1.12),
    ] {
        let found = figures(contrast(&campaign, kind, router), Measure::OutputThroughput);
        let interval = found.interval.unwrap();
        assert!(interval.low < truth && truth < interval.high, "{kind:?} {router}: {found:?}");
        assert_eq!((found.n, found.p_method, found.verdict), (6, PMethod::SignFlip, Difference::Different));
        assert_eq!(found.p, found.least_p);
    }
}

#[test]
fn the_primary_family_is_throughput_of_the_arms_with_the_baseline() {
    let campaign = only(&Tree::default());
    assert_eq!(campaign.baseline_router.as_deref(), Some("direct"));
    assert_eq!(campaign.experiments[0].primary_family, 1);
    for contrast in &campaign.experiments[0].conditions[0].contrasts {
        for effect in &contrast.effects {
            let expected = contrast.kind == ContrastKind::Arms
                && contrast.numerator.router == "direct"
                && effect.metric == Measure::OutputThroughput;
            assert_eq!(effect.primary, expected);
            assert_eq!(effect.figures.as_ref().unwrap().holm_p.is_some(), expected);
        }
    }
}

#[test]
fn the_answers_name_each_factor_with_its_interval() {
    let campaign = only(&Tree::default());
    let sentences: Vec<&str> = campaign.answers.iter().map(|answer| answer.text.as_str()).collect();
    assert!(
        sentences[0]
            .starts_with("Turning the TEE on (cc-on against cc-off, router direct) changes output throughput by −6.")
    );
    assert!(sentences.iter().any(|text| text.starts_with("On cc-on, hr-tree-lb in place of direct changes")));
    assert!(sentences.iter().any(|text| text.starts_with("With hr-tree-lb, cc-on comes to 104 %")));
    assert!(sentences.iter().all(|text| text.contains("95 % intervals, 6 pairs")));
}

#[test]
fn two_arms_run_apart_and_reported_together_are_unpaired_and_wider() {
    let directory = tempfile::tempdir().unwrap();
    let (off, on) = (directory.path().join("host-a"), directory.path().join("host-b"));
    Tree { arms: vec!["cc-off"], ..Tree::default() }.write(&off);
    Tree { arms: vec!["cc-on"], ..Tree::default() }.write(&on);
    let summary = summary_of(&[directory.path()]);
    let [campaign] = summary.campaigns.as_slice() else { panic!("one plan is one campaign") };
    assert_eq!(campaign.sources.iter().map(|source| source.label.as_str()).collect::<Vec<_>>(), ["host-a", "host-b"]);
    assert_eq!(campaign.validity.valid, 36);
    let apart = contrast(campaign, ContrastKind::Arms, "direct");
    let found = figures(apart, Measure::OutputThroughput);
    assert!(!apart.paired);
    assert_eq!((found.n, found.p_method), (6, PMethod::Welch));
    assert!(contrast(campaign, ContrastKind::Routers, "hr-tree").paired);
    assert!(has_note(campaign, NoteCode::NotInterleaved));
    assert!(campaign.answers[0].text.contains("6 runs a side, not interleaved"), "{}", campaign.answers[0].text);
}

#[test]
fn five_pairs_are_said_to_prove_nothing() {
    let campaign = only(&Tree { repetitions: 5, ..Tree::default() });
    let found = figures(contrast(&campaign, ContrastKind::Arms, "direct"), Measure::OutputThroughput);
    assert_eq!((found.n, found.verdict, found.least_p), (5, Difference::Inconclusive, Some(0.0625)));
    assert!(has_note(&campaign, NoteCode::FewPairs));
    assert!(
        campaign.answers[0].text.contains("(all inconclusive; 95 % intervals, 5 pairs"),
        "{}",
        campaign.answers[0].text
    );
    let cell = &campaign.experiments[0].conditions[0].cells[0];
    assert!(cell.metrics.iter().all(|metric| metric.interval.is_none()));
}

#[rstest]
#[case("Inconclusive", "Throttled")]
#[case("Failed", "LoadFailed")]
#[case("Interrupted", "Stopped")]
fn runs_that_do_not_count_enter_no_number_and_are_all_shown(#[case] verdict: &str, #[case] code: &str) {
    let directory = tempfile::tempdir().unwrap();
    let plan = Tree { requests: 20, ..Tree::default() }.write(directory.path());
    let run = first_run(directory.path(), &plan, "cc-on", "direct");
    edit(&run.join("run.json"), |file| {
        file["validity"] = json!(verdict);
        file["reasons"] = json!([{"code": code, "message": "seen in the test"}]);
    });
    fs::remove_file(run.join("bench.json")).unwrap();
    let summary = summary_of(&[directory.path()]);
    let campaign = &summary.campaigns[0];
    assert_eq!((campaign.validity.planned, campaign.validity.valid), (36, 35));
    assert_eq!(campaign.validity.reasons[0].code, code);
    assert_eq!(figures(contrast(campaign, ContrastKind::Arms, "direct"), Measure::OutputThroughput).n, 5);
    assert_eq!(figures(contrast(campaign, ContrastKind::Arms, "hr-tree"), Measure::OutputThroughput).n, 6);
    assert!(campaign.runs.iter().any(|run| run.reasons == ["seen in the test"]));
}

#[test]
fn a_retry_counts_in_place_of_the_failed_attempt() {
    let directory = tempfile::tempdir().unwrap();
    let plan = Tree { requests: 20, ..Tree::default() }.write(directory.path());
    let first = first_run(directory.path(), &plan, "cc-on", "direct");
    let second = first.with_file_name("r1a2");
    fs::create_dir(&second).unwrap();
    for file in ["run.json", "bench.json", "energy.json", "SHA256SUMS"] {
        fs::copy(first.join(file), second.join(file)).unwrap();
    }
    edit(&first.join("run.json"), |file| {
        file["validity"] = json!("Failed");
        file["reasons"] = json!([{"code": "LoadFailed", "message": "connection refused"}]);
    });
    edit(&second.join("run.json"), |file| {
        file["attempt"] = json!(2);
        file["epoch"] = json!(10_000);
    });
    let summary = summary_of(&[directory.path()]);
    let validity = &summary.campaigns[0].validity;
    assert_eq!((validity.valid, validity.failed, validity.unusable), (36, 1, 0));
    let direct = contrast(&summary.campaigns[0], ContrastKind::Arms, "direct");
    assert_eq!(figures(direct, Measure::OutputThroughput).n, 6);
}

#[test]
fn arrivals_that_outrun_completions_are_named() {
    let campaign = only(&Tree { overload: true, ..Tree::default() });
    let condition = &campaign.experiments[0].conditions[0];
    assert!(condition.cells.iter().all(|cell| cell.overloaded_runs == 6), "{:?}", condition.cells[0]);
    let note = condition.notes.iter().find(|note| note.code == NoteCode::Overload).unwrap();
    assert!(note.text.contains("latency grows with the length of the run"), "{}", note.text);
    assert!(campaign.answers.iter().all(|answer| answer.text.contains("overload")));
    assert!(!has_note(&only(&Tree::default()), NoteCode::Overload));
}

#[test]
fn machines_that_differ_in_what_breaks_the_comparison_leave_it_inconclusive() {
    let campaign = only(&Tree { gpu_on: "NVIDIA H200", ..Tree::default() });
    let arms = contrast(&campaign, ContrastKind::Arms, "direct");
    assert_eq!(arms.parity_broken, ["GPU product"]);
    assert!(arms.effects.iter().all(|effect| effect.figures.as_ref().unwrap().verdict == Difference::Inconclusive));
    assert!(has_note(&campaign, NoteCode::ParityBroken));
    let routers = contrast(&campaign, ContrastKind::Routers, "hr-tree-lb");
    assert_eq!(figures(routers, Measure::OutputThroughput).verdict, Difference::Different);
}

#[test]
fn a_percentile_of_too_few_requests_is_absent_with_its_reason() {
    let campaign = only(&Tree { requests: 100, ..Tree::default() });
    let cell = &campaign.experiments[0].conditions[0].cells[0];
    let metric = |measure| cell.metrics.iter().find(|metric| metric.metric == measure).unwrap();
    assert!(metric(Measure::TtftP95).median.is_some());
    assert_eq!(metric(Measure::TtftP99).median, None);
    assert!(metric(Measure::TtftP99).absent.as_ref().unwrap().contains("p99 needs 459"));
    assert!(has_note(&campaign, NoteCode::Absent));
}

#[test]
fn boots_that_are_not_replicated_are_said_to_be_so() {
    let campaign = only(&Tree { requests: 20, restart: "Campaign", ..Tree::default() });
    assert!(has_note(&campaign, NoteCode::BootsNotReplicated));
    assert_eq!(figures(contrast(&campaign, ContrastKind::Arms, "direct"), Measure::OutputThroughput).n, 6);
}

#[test]
fn cost_follows_price_and_throughput() {
    let campaign = only(&Tree { requests: 20, ..Tree::default() });
    let condition = &campaign.experiments[0].conditions[0];
    let money = condition.cells[0].money.as_ref().unwrap();
    assert_eq!((money.per_hour.to_string().as_str(), money.machines), ("13.96", 2));
    let arms = contrast(&campaign, ContrastKind::Arms, "direct");
    let ratio = figures(arms, Measure::OutputThroughput).ratio;
    let premium = arms.cost.unwrap();
    assert!((premium.percent - 100.0 * (8.40 / 6.98 / ratio - 1.0)).abs() < 1e-9);
    assert!(premium.low.unwrap() < premium.percent && premium.percent < premium.high.unwrap());
}

#[test]
fn costs_in_two_currencies_are_not_compared_and_all_else_is() {
    let directory = tempfile::tempdir().unwrap();
    Tree { requests: 20, ..Tree::default() }.write(directory.path());
    edit_plan(directory.path(), |plan| plan["spec"]["arms"][1]["price"]["currency"] = json!("EUR"));
    let Summary { campaigns, .. } = summary_of(&[directory.path()]);
    let note = campaigns[0].notes.iter().find(|note| note.code == NoteCode::Currencies).unwrap();
    assert_eq!(note.text, "Prices are in EUR and USD: costs of arms in different currencies are not compared.");
    let arms = contrast(&campaigns[0], ContrastKind::Arms, "direct");
    assert!(arms.cost.is_none());
    assert_eq!(figures(arms, Measure::OutputThroughput).verdict, Difference::Different);
    let currencies: Vec<&str> = campaigns[0].experiments[0].conditions[0]
        .cells
        .iter()
        .map(|cell| cell.money.as_ref().unwrap().currency.as_str())
        .collect();
    assert!(currencies.contains(&"EUR") && currencies.contains(&"USD"), "{currencies:?}");
}

#[test]
fn a_stopping_rule_says_how_often_it_looked() {
    let directory = tempfile::tempdir().unwrap();
    Tree { requests: 20, repetitions: 8, ..Tree::default() }.write(directory.path());
    edit_plan(directory.path(), |plan| {
        plan["spec"]["experiments"][0]["repetitions"] = json!({"minimum": 6, "maximum": 12,
            "until": {"metric": "OutputThroughput", "ratioHalfWidthPermille": 10}});
    });
    let Summary { campaigns, .. } = summary_of(&[directory.path()]);
    let notes = &campaigns[0].experiments[0].conditions[0].notes;
    let note = notes.iter().find(|note| note.code == NoteCode::Looks).unwrap();
    assert!(note.text.contains("it looked 2 times"), "{}", note.text);
    assert!(!has_note(&only(&Tree { requests: 20, ..Tree::default() }), NoteCode::Looks));
}

#[test]
fn a_throughput_that_drifts_from_block_to_block_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let plan = Tree { requests: 20, ..Tree::default() }.write(directory.path());
    for block in &plan.blocks {
        for run in block.runs.iter().filter(|run| run.arm == "cc-on" && run.router == "direct") {
            edit(&run_directory(directory.path(), &plan, block, run, 1).join("bench.json"), |bench| {
                let throughput = bench["output_throughput"].as_f64().unwrap();
                bench["output_throughput"] = json!(throughput * 0.97_f64.powf(f64::from(block.repetition)));
            });
        }
    }
    let Summary { campaigns, .. } = summary_of(&[directory.path()]);
    let notes = &campaigns[0].experiments[0].conditions[0].notes;
    let note = notes.iter().find(|note| note.code == NoteCode::Drift).unwrap();
    assert!(note.text.contains("cc-on") && !note.text.contains("cc-off"), "{}", note.text);
}

#[test]
fn arms_are_held_side_by_side_within_a_condition_alone() {
    let directory = tempfile::tempdir().unwrap();
    let tree = Tree { requests: 20, routers: vec!["direct"], rates_milli: vec![7200, 14_400], ..Tree::default() };
    let plan = tree.write(directory.path());
    let runs = || plan.blocks.iter().flat_map(|block| block.runs.iter().map(move |run| (block, run)));
    let slow = plan.blocks[0].condition;
    for (block, run) in runs() {
        let attempt = run_directory(directory.path(), &plan, block, run, 1);
        // The second condition needs another engine, and the arm with the TEE off did not run it.
        match (block.condition == slow, run.arm.as_str()) {
            (true, _) => {}
            (false, "cc-off") => fs::remove_dir_all(attempt).unwrap(),
            (false, _) => edit(&attempt.join("run.json"), |file| {
                for server in file["servers"].as_array_mut().unwrap() {
                    server["flags_sha256"] = json!("e".repeat(64));
                }
            }),
        }
    }
    let Summary { campaigns, .. } = summary_of(&[directory.path()]);
    let settings = campaigns[0].parity.iter().find(|row| row.property == "engine settings (SHA-256)").unwrap();
    assert_eq!(settings.arms.iter().map(|arm| arm.values.len()).collect::<Vec<_>>(), [1, 2]);
    assert!(!settings.differs);
}

#[test]
fn equal_results_give_equal_files_that_can_be_read_again() {
    let directory = tempfile::tempdir().unwrap();
    Tree { requests: 20, ..Tree::default() }.write(directory.path());
    let (first, second) = (summary_of(&[directory.path()]).to_json(), summary_of(&[directory.path()]).to_json());
    assert_eq!(first, second);
    let read: Summary = serde_json::from_str(&first).unwrap();
    assert_eq!(read.schema_version, Summary::SCHEMA_VERSION);
    assert_eq!(read.to_json(), first);
}

#[test]
fn one_condition_takes_little_of_what_a_config_map_holds() {
    let directory = tempfile::tempdir().unwrap();
    Tree { requests: 20, repetitions: 12, ..Tree::default() }.write(directory.path());
    assert!(summary_of(&[directory.path()]).to_json().len() < 250 * 1024);
}

#[test]
fn the_schema_describes_every_field_of_the_summary() {
    let schema = serde_json::to_value(schema()).unwrap();
    let properties = schema["properties"].as_object().unwrap();
    assert!(["schema_version", "simulated", "campaigns"].iter().all(|name| properties.contains_key(*name)));
    assert!(schema["$defs"].as_object().unwrap().contains_key("Figures"));
}
