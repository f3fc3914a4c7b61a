//! Everything that a report promises has a test: the rows of the notebook by their names, N1 to N13 and A0 to A15, and each
//! rule of statistics, energy, money and report by the tests that hold it. One that goes missing is missed here.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use std::{fs, path::Path};

/// What is promised, and the tests that hold it.
const RULES: &[(&str, &[&str])] = &[
    // Statistics.
    (
        "runs are the unit",
        &[
            "pairs_of_one_boot_count_once_when_there_are_several_boots",
            "runs_that_do_not_count_enter_no_number_and_are_all_shown",
        ],
    ),
    ("ratio of pairs", &["the_true_effects_lie_in_their_intervals", "paired_ratios_equal_scipys"]),
    (
        "coverage",
        &[
            "the_paired_interval_covers_95_percent",
            "the_unpaired_interval_covers_95_percent",
            "the_medians_interval_covers_at_least_what_it_says",
        ],
    ),
    (
        "bootstrap as a check",
        &[
            "of_six_pairs_it_covers_too_little_to_be_the_headline",
            "the_same_seed_gives_the_same_interval_whatever_came_before",
        ],
    ),
    ("permutation", &["equal_signs_reach_the_least_p", "the_drawn_p_is_near_the_exact_one"]),
    (
        "primary family",
        &["the_primary_family_is_throughput_of_the_arms_with_the_baseline", "holm_equals_the_definition"],
    ),
    (
        "equivalence",
        &[
            "a_verdict_needs_evidence_for_what_it_says",
            "a15_energy_has_its_own_price_apart_and_the_margin_is_the_readers",
        ],
    ),
    ("stopping rule", &["a_stopping_rule_says_how_often_it_looked"]),
    (
        "hosts apart",
        &["two_arms_run_apart_and_reported_together_are_unpaired_and_wider", "unpaired_ratios_equal_scipys"],
    ),
    ("few pairs", &["five_pairs_cannot_reach_0_05_and_six_can", "five_pairs_are_said_to_prove_nothing"]),
    (
        "percentiles",
        &[
            "a_percentile_needs_the_stated_number_of_requests",
            "a_percentile_of_too_few_requests_is_absent_with_its_reason",
        ],
    ),
    ("drift", &["a_throughput_that_drifts_from_block_to_block_is_named", "trends_equal_scipys"]),
    ("lock step", &["requests_that_take_equally_long_run_in_lock_step"]),
    (
        "parity",
        &[
            "machines_that_differ_in_what_breaks_the_comparison_leave_it_inconclusive",
            "arms_are_held_side_by_side_within_a_condition_alone",
        ],
    ),
    ("overload", &["arrivals_that_outrun_completions_are_named", "arrivals_at_twice_the_capacity_are_overload"]),
    (
        "oracles",
        &[
            "percentiles_and_the_medians_interval_equal_numpys",
            "students_t_equals_scipys",
            "metrics_of_vllms_own_files_equal_numpys",
        ],
    ),
    ("knee", &["noise_widens_the_interval", "curves_are_compared_each_at_its_own_knee"]),
    // Energy.
    (
        "window and clocks",
        &[
            "the_window_is_looked_up_on_the_clock_of_the_probe",
            "offsets_are_held_to_their_bounds",
            "clocks_that_do_not_map_give_no_energy",
        ],
    ),
    ("counter", &["a_counter_is_followed_along_its_rate", "energy_of_any_curve_agrees_within_the_step_of_its_counter"]),
    (
        "integral as a check",
        &["the_verdict_is_how_far_the_methods_part", "a_gap_counts_whole_when_the_span_touches_it"],
    ),
    ("power files", &["every_variant_gives_the_same_energy", "what_cannot_be_read_is_refused_with_line_and_reason"]),
    (
        "unsupported is absent",
        &["what_a_gpu_does_not_have_is_absent_and_never_zero", "no_gpu_or_no_window_is_absent_with_the_reason"],
    ),
    ("idle apart", &["gross_idle_net_and_shares_follow_from_the_counter"]),
    (
        "distinct boards",
        &["distinct_boards_are_summed_and_one_without_a_figure_leaves_no_sum", "errors_of_two_boards_do_not_cancel"],
    ),
    ("short windows", &["a_window_under_the_minimum_has_energy_but_no_claim_per_token"]),
    // Money.
    (
        "price and rate",
        &["a_million_tokens_at_a_thousand_a_second_take_the_price_of_1000_seconds", "nothing_made_has_no_price"],
    ),
    ("premium", &["cost_follows_price_and_throughput"]),
    (
        "occupied time",
        &[
            "a15_occupied_time_is_counted_and_paid",
            "machines_are_occupied_between_start_and_stop_and_starting_until_ready",
        ],
    ),
    ("currencies", &["costs_in_two_currencies_are_not_compared_and_all_else_is"]),
    (
        "energy apart",
        &["a_joule_a_token_is_a_million_joules_for_a_million_tokens", "a_price_of_energy_has_amount_and_currency"],
    ),
    ("cost at the knee", &["a10_a_sweep_has_knees_with_what_they_cost_and_curves"]),
    ("planned cost", &["a_budget_below_the_least_cost_is_told_before_anything_is_applied"]),
    // Report.
    ("one file", &["the_page_needs_nothing_from_anywhere", "every_run_leads_to_its_files"]),
    (
        "first screen",
        &["the_answers_name_each_factor_with_its_interval", "simulated_figures_say_so_wherever_they_stand"],
    ),
    ("for those who cannot see", &["the_page_serves_those_who_cannot_see_it"]),
    ("figures as files", &["every_plot_is_written_as_svg_png_and_csv", "figures_of_a_single_value_are_drawn"]),
    (
        "formats",
        &[
            "the_format_follows_the_flag_and_then_the_files_name",
            "the_text_report_reads_as_it_is_meant_to",
            "the_csv_has_a_row_for_each_cell_and_metric",
            "reports_for_llm_d_have_its_form",
        ],
    ),
    (
        "both modes",
        &[
            "the_compatible_figures_are_the_notebooks_to_the_last_digit",
            "what_the_notebook_lacks_is_there_with_the_reason",
        ],
    ),
    ("over time", &["two_campaigns_of_different_plans_are_compared_in_environment_settings_figures_and_effects"]),
    (
        "exchange",
        &[
            "a_tree_that_is_imported_and_exported_has_the_same_files",
            "a_simulated_run_stays_simulated_on_its_way_through_a_tree",
        ],
    ),
    (
        "bad input",
        &[
            "what_is_missing_is_told_and_the_rest_is_reported",
            "a_bad_file_is_listed_with_its_place_and_left_out_on_request",
            "campaigns_of_different_plans_are_compared_in_what_both_measured",
        ],
    ),
    // What it must show.
    ("benchmark", &["bootstrap", "measured"]),
];

/// The text of all sources under a directory.
fn sources(directory: &Path, text: &mut String) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            text.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

/// Names of all functions and cases below directories of the repository.
fn names(directories: &[&str]) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut text = String::new();
    directories.iter().for_each(|directory| sources(&root.join(directory), &mut text));
    text.lines()
        .filter_map(|line| line.trim_start().strip_prefix("fn ").or_else(|| line.trim_start().strip_prefix("#[case::")))
        .map(|rest| rest.split(['(', '<']).next().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn every_row_of_the_notebook_has_a_test_of_its_name() {
    let names = names(&["analysis/src", "analysis/tests"]);
    let rows = (1..=13).map(|row| format!("n{row}")).chain((0..=15).map(|row| format!("a{row}")));
    let missing: Vec<String> =
        rows.filter(|row| !names.iter().any(|name| name.split('_').any(|word| word == row))).collect();
    assert!(missing.is_empty(), "no test bears the name of {missing:?}");
}

#[test]
fn every_rule_has_the_tests_that_hold_it() {
    let names = names(&["analysis", "api/src", "probe/src", "src", "tests"]);
    for (rule, tests) in RULES {
        let missing: Vec<&&str> = tests.iter().filter(|test| !names.iter().any(|name| name == *test)).collect();
        assert!(missing.is_empty(), "{rule}: there is no test {missing:?}");
    }
}
