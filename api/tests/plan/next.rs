//! `next`, rule by rule.

use rstest::rstest;
use rust_decimal::Decimal;
use teebench_api::{
    campaign::{Budget, FailurePolicy, Metric},
    files::run::{ReasonCode, Verdict},
    plan::{
        RunId,
        next::{Action, Decision, Limits, Log, Outcome, ServerState, effective, tally},
    },
};

use crate::{
    executor::{Event, World},
    fixtures::{ONE, Small},
};

use Event::{Crash, Fine, LoadFails, NoEvidence, ServerDies, ServerRestarts};

fn small(campaign: &Small<'_>) -> World {
    World::new(campaign.plan(), Limits::default())
}

fn boots(world: &World) -> Vec<(usize, u32, Vec<String>)> {
    let boots = world.actions.iter().filter_map(|action| match action {
        Action::Boot { boot, generation, arms } => Some((*boot, *generation, arms.clone())),
        _ => None,
    });
    boots.collect()
}

/// With the seed of the small campaign the first block runs `arm-1` first.
const BLOCK: [&str; 2] = ["arm-1/r1a1", "arm-0/r1a1"];

#[rstest]
#[case::calm(&[], Outcome::Completed, "arm-1/r1a1 arm-0/r1a1 arm-0/r2a1 arm-1/r2a1")]
#[case::a_failed_run_is_retried_at_the_end_of_its_block(
    &[Fine, LoadFails], Outcome::Completed, "arm-1/r1a1 arm-0/r1a1 arm-1/r1a2 arm-0/r2a1 arm-1/r2a1")]
#[case::an_inconclusive_run_is_not_retried(
    &[Fine, NoEvidence], Outcome::Inconclusive, "arm-1/r1a1 arm-0/r1a1 arm-0/r2a1 arm-1/r2a1")]
#[case::a_run_that_fails_twice_is_given_up(
    &[Fine, LoadFails, Fine, LoadFails], Outcome::RunFailed,
    "arm-1/r1a1 arm-0/r1a1 arm-1/r1a2 arm-0/r2a1 arm-1/r2a1")]
#[case::an_interrupted_run_costs_no_attempt_and_comes_at_once(
    &[Fine, Crash, Fine, Crash, Fine, Crash], Outcome::Completed,
    "arm-1/r1a1 arm-1/r1a2 arm-1/r1a3 arm-1/r1a4 arm-0/r1a1 arm-0/r2a1 arm-1/r2a1")]
#[case::a_block_is_repeated_whole_when_servers_were_started_anew(
    &[Fine, Fine, Crash], Outcome::Completed,
    "arm-1/r1a1 arm-0/r1a1 arm-1/r1a2 arm-0/r1a2 arm-0/r2a1 arm-1/r2a1")]
#[case::also_when_a_server_died_under_a_run(
    &[Fine, Fine, ServerDies], Outcome::Completed,
    "arm-1/r1a1 arm-0/r1a1 arm-1/r1a2 arm-0/r1a2 arm-0/r2a1 arm-1/r2a1")]
#[case::also_when_a_server_was_replaced(
    &[Fine, Fine, ServerRestarts], Outcome::Completed,
    "arm-1/r1a1 arm-0/r1a1 arm-1/r1a2 arm-0/r1a2 arm-0/r2a1 arm-1/r2a1")]
fn runs_are_executed_in_this_order(#[case] events: &[Event], #[case] outcome: Outcome, #[case] starts: &str) {
    let mut world = small(&Small::default());
    assert_eq!(world.run_to_end(events.iter().copied()), outcome);
    assert_eq!(world.starts().join(" "), starts);
    assert_eq!(world.starts()[0], BLOCK[0]);
}

#[test]
fn a_repeated_block_is_recorded_and_its_old_attempts_do_not_count() {
    let mut world = small(&Small::default());
    world.run_to_end([Fine, Fine, ServerDies]);
    let repeats: Vec<_> =
        world.decisions.iter().filter(|decision| matches!(decision, Decision::RepeatBlock { .. })).collect();
    assert!(
        matches!(repeats[..], [Decision::RepeatBlock { repetition: 1, after_epoch: 2, arm: None, .. }]),
        "{repeats:?}"
    );
    assert_eq!(world.counted().len(), 4);
    let lost: Vec<_> = world.observed.attempts.iter().filter(|attempt| attempt.epoch <= 2).collect();
    assert_eq!(lost.len(), 2);
    assert_eq!(lost[0].verdict, Verdict::Valid);
}

#[test]
fn a_boot_that_never_comes_up_fails_its_runs_and_the_campaign_goes_on() {
    let mut world = small(&Small::default());
    world.observed.limits.failure_policy.maximum_failed_runs = 2;
    let outcome = world.run_to_end([ServerDies, Fine, ServerDies, ServerDies]);
    assert_eq!(outcome, Outcome::RunFailed, "a condition lacks a repetition");
    let failed: Vec<_> = world.observed.attempts.iter().filter(|attempt| attempt.verdict == Verdict::Failed).collect();
    assert_eq!(failed.len(), 2, "both runs of the first repetition");
    assert!(failed.iter().all(|attempt| attempt.reasons[0].code == ReasonCode::NotReady));
    assert!(failed.iter().all(|attempt| attempt.reasons[0].message == "server 0 ended"));
    assert_eq!(world.starts(), ["arm-0/r2a1", "arm-1/r2a1"]);
    let total = tally(&world.plan, &world.decisions, &world.observed);
    assert_eq!((total.valid, total.inconclusive, total.failed, total.total), (2, 0, 2, 4));
}

#[test]
fn too_many_failed_runs_end_the_campaign() {
    let mut world = small(&Small::default());
    world.observed.limits.failure_policy = FailurePolicy { attempts_per_run: 1, maximum_failed_runs: 0 };
    assert_eq!(world.run_to_end([Fine, LoadFails]), Outcome::RunFailed);
    assert_eq!(world.starts(), BLOCK[..1]);
}

#[test]
fn raising_the_attempts_repeats_only_the_block_of_what_failed() {
    let mut world = small(&Small::default());
    world.observed.limits.failure_policy.attempts_per_run = 1;
    assert_eq!(world.run_to_end([Fine, LoadFails]), Outcome::RunFailed);
    world.observed.limits.failure_policy.attempts_per_run = 2;
    world.actions.clear();
    assert_eq!(world.run_to_end([]), Outcome::Completed);
    assert_eq!(world.starts(), ["arm-0/r1a2", "arm-1/r1a2"], "on new servers, so the whole block");
    assert_eq!(boots(&world), [(0, 2, vec![String::from("arm-0"), String::from("arm-1")])]);
}

#[test]
fn a_failed_boot_is_tried_again_when_more_attempts_are_allowed() {
    let mut world = small(&Small::default());
    world.observed.limits.failure_policy = FailurePolicy { attempts_per_run: 1, maximum_failed_runs: 9 };
    assert_eq!(world.run_to_end([ServerDies]), Outcome::RunFailed);
    world.observed.limits.failure_policy.attempts_per_run = 2;
    assert_eq!(world.run_to_end([]), Outcome::Completed);
}

#[test]
fn suspending_interrupts_stops_and_waits() {
    let mut world = small(&Small::default());
    assert_eq!(world.step(Fine), None);
    assert_eq!(world.step(Event::Slow), None);
    assert!(world.running.is_some());
    world.observed.limits.suspended = true;
    let seen = world.actions.len();
    for _ in 0..6 {
        assert_eq!(world.step(Fine), None);
    }
    assert!(matches!(world.actions[seen..], [Action::Interrupt, Action::StopServers { .. }]));
    assert_eq!(world.observed.servers, None);
    assert_eq!(world.observed.attempts[0].verdict, Verdict::Interrupted);
    world.observed.limits.suspended = false;
    assert_eq!(world.run_to_end([]), Outcome::Completed);
}

#[rstest]
#[case::cancelled(|limits: &mut Limits| limits.cancelled = true, Outcome::Cancelled)]
#[case::overdue(|limits: &mut Limits| limits.deadline_seconds = Some(1), Outcome::DeadlineExceeded)]
#[case::overdue_while_suspended(
    |limits: &mut Limits| { limits.suspended = true; limits.deadline_seconds = Some(1); }, Outcome::DeadlineExceeded)]
#[case::overspent(
    |limits: &mut Limits| limits.budget = Some(budget("0.03")), Outcome::BudgetExhausted)]
fn a_limit_interrupts_stops_and_ends(#[case] limit: fn(&mut Limits), #[case] expected: Outcome) {
    let mut world = small(&Small::default());
    world.price_of_step = Decimal::new(1, 2);
    for _ in 0..2 {
        assert_eq!(world.step(Fine), None);
    }
    assert_eq!(world.step(Event::Slow), None);
    limit(&mut world.observed.limits);
    let seen = world.actions.len();
    assert_eq!(world.run_to_end([]), expected);
    assert!(matches!(world.actions[seen..], [Action::Interrupt, Action::StopServers { .. }]));
}

#[test]
fn a_limit_that_is_met_when_all_is_done_comes_too_late() {
    let mut world = small(&Small::default());
    while world.observed.attempts.len() < 4 {
        assert_eq!(world.step(Fine), None);
    }
    world.observed.limits.cancelled = true;
    assert_eq!(world.run_to_end([]), Outcome::Completed);
}

fn budget(maximum: &str) -> Budget {
    Budget { currency: String::from("USD"), maximum: String::from(maximum) }
}

#[test]
fn no_boot_starts_that_cannot_be_paid_to_its_end() {
    let spec = "energy: {idleSeconds: 0}";
    let mut world = small(&Small { spec, ..Small::default() });
    world.price_of_step = Decimal::new(2, 2);
    // The first boot takes four steps of 2 cents; the runs took 10 s each, so the second costs 4 cents more by price.
    world.observed.limits.budget = Some(budget("0.12"));
    assert_eq!(world.run_to_end([]), Outcome::BudgetExhausted);
    assert_eq!(boots(&world).len(), 1);
    assert_eq!(world.observed.attempts.len(), 2);
    assert!(world.observed.spent.unwrap() <= Decimal::new(12, 2));
}

#[test]
fn only_the_arm_in_scope_is_executed_and_another_call_executes_the_other() {
    let mut world = small(&Small { routers: 2, ..Small::default() });
    world.observed.scope = Some(String::from("arm-0"));
    assert_eq!(world.run_to_end([Fine, LoadFails]), Outcome::Completed);
    assert_eq!(world.starts(), ["arm-0/r1a1", "arm-0/r1a1", "arm-0/r1a2", "arm-0/r2a1", "arm-0/r2a1"]);
    assert!(boots(&world).iter().all(|(.., arms)| arms == &["arm-0"]));
    world.observed.scope = Some(String::from("arm-1"));
    world.actions.clear();
    assert_eq!(world.run_to_end([Fine, Fine, Crash]), Outcome::Completed);
    assert_eq!(world.starts().len(), 6, "its first block is repeated");
    assert_eq!(world.counted().len(), 8, "nothing of the first arm is lost by that");
    world.observed.scope = None;
    world.actions.clear();
    assert_eq!(world.run_to_end([]), Outcome::Completed);
    assert!(world.starts().is_empty(), "nothing is left to do");
}

#[test]
fn servers_that_die_under_different_runs_do_not_doom_their_boot() {
    let mut world = small(&Small { routers: 2, ..Small::default() });
    assert_eq!(world.run_to_end([Fine, ServerDies, Fine, Fine, ServerDies]), Outcome::Completed);
    assert_eq!(world.counted().len(), 8);
}

#[test]
fn servers_that_are_seen_to_die_amid_a_run_are_charged_to_that_run() {
    let mut world = small(&Small { restart: "Campaign", ..Small::default() });
    world.observed.limits.failure_policy = FailurePolicy { attempts_per_run: 1, maximum_failed_runs: 9 };
    while world.running.is_none() {
        assert_eq!(world.step(Event::Slow), None);
        if let Some(servers) = &mut world.observed.servers {
            servers.state = ServerState::Ready;
        }
    }
    world.observed.servers.as_mut().unwrap().state = ServerState::Failed { reason: String::from("evicted") };
    for _ in 0..3 {
        assert_eq!(world.step(Event::Slow), None);
    }
    assert_eq!(world.run_to_end([ServerDies]), Outcome::RunFailed);
    assert_eq!(world.observed.attempts.iter().filter(|attempt| attempt.verdict == Verdict::Failed).count(), 1);
    assert_eq!((world.counted().len(), boots(&world).len()), (3, 2));
    assert_eq!(world.starts().len(), 4, "nothing is repeated for a run that has no attempt left");
}

#[test]
fn servers_that_served_a_block_before_they_died_do_not_doom_their_boot() {
    let experiments = ONE.replace("minimum: 2", "minimum: 3");
    let mut world = small(&Small { restart: "Campaign", experiments: &experiments, ..Small::default() });
    for served in [2, 4] {
        while world.observed.attempts.len() < served {
            assert_eq!(world.step(Fine), None);
        }
        world.observed.servers.as_mut().unwrap().state = ServerState::Failed { reason: String::from("evicted") };
    }
    assert_eq!(world.run_to_end([]), Outcome::Completed);
    assert_eq!(world.observed.attempts.len(), 6);
    assert_eq!(boots(&world).len(), 3);
}

#[test]
fn servers_go_as_soon_as_no_planned_run_needs_them() {
    let mut world = small(&Small::default());
    world.run_to_end([]);
    let releases = world.actions.iter().filter_map(|action| match action {
        Action::StopServers { boot, arms } => Some((*boot, arms.join(" "))),
        _ => None,
    });
    let expected = [(0, "arm-1"), (0, "arm-0"), (1, "arm-0"), (1, "arm-1")];
    assert_eq!(releases.collect::<Vec<_>>(), expected.map(|(boot, arms)| (boot, String::from(arms))));
}

#[test]
fn each_run_has_servers_of_its_own_when_restart_says_so() {
    let mut world = small(&Small { restart: "Run", ..Small::default() });
    assert_eq!(world.run_to_end([Fine, LoadFails]), Outcome::Completed);
    let boots: Vec<_> =
        boots(&world).into_iter().map(|(boot, generation, arms)| (boot, generation, arms.join(" "))).collect();
    let expected = [(0, 1, "arm-1"), (1, 1, "arm-0"), (0, 2, "arm-1"), (2, 1, "arm-0"), (3, 1, "arm-1")];
    assert_eq!(boots, expected.map(|(boot, generation, arms)| (boot, generation, String::from(arms))));
}

const UNTIL: &str = "
- name: one
  dataset: {random: {prompts: 100, inputTokens: [128]}}
  load: {maxConcurrency: [8]}
  outputTokens: [32]
  repetitions: {minimum: 2, maximum: 20, until: {metric: MedianTtft, ratioHalfWidthPermille: 10}}
";

/// The second arm is slower by 10 %, give or take `1 / spread` by turns.
fn ratio<const SPREAD: u32>(run: &RunId, _: Metric) -> f64 {
    let sign = if run.repetition.is_multiple_of(2) { 1.0 } else { -1.0 };
    if run.arm == "arm-0" { 100.0 } else { 110.0 * (1.0 + sign / f64::from(SPREAD)) }
}

#[rstest]
#[case::narrow_at_once(ratio::<1000>, &[(6, 6)])]
#[case::narrow_after_ten(ratio::<90>, &[(6, 8), (8, 10), (10, 10)])]
#[case::never_narrow(ratio::<10>, &[(6, 8), (8, 10), (10, 12), (12, 20)])]
fn repetitions_go_on_until_the_interval_is_narrow(
    #[case] value: fn(&RunId, Metric) -> f64,
    #[case] expected: &[(u32, u32)],
) {
    for restart in ["Repetition", "Campaign", "Run"] {
        let mut world = small(&Small { restart, experiments: UNTIL, ..Small::default() });
        world.value = value;
        assert_eq!(world.run_to_end([]), Outcome::Completed);
        let looks = world.decisions.iter().filter_map(|decision| match decision {
            Decision::Look { blocks, repetitions, half_width_permille, .. } => {
                assert_eq!(half_width_permille.unwrap() <= 10.0, repetitions == blocks);
                Some((*blocks, *repetitions))
            }
            _ => None,
        });
        assert_eq!(looks.collect::<Vec<_>>(), expected);
        let (_, last) = expected.last().unwrap();
        let plan = effective(&world.plan, &world.decisions);
        assert_eq!(plan.blocks.len(), *last as usize);
        if restart == "Campaign" {
            assert_eq!(boots(&world).len(), 1, "servers stay while repetitions may follow");
        }
    }
}

const SEARCH: &str = "
- name: search
  dataset: {random: {prompts: 100, inputTokens: [128]}}
  load: {saturation: {minimumConcurrency: 1, maximumConcurrency: 40}}
  outputTokens: [32]
  repetitions: {minimum: 2}
- name: after
  dataset: {random: {prompts: 100, inputTokens: [128]}}
  load: {maxConcurrency: [3]}
  outputTokens: [32]
  repetitions: {minimum: 2}
";

/// Throughput grows up to a knee, which the second arm has at twice the concurrency.
fn knee<const AT: u32>(run: &RunId, _: Metric) -> f64 {
    let concurrency: f64 = run.condition.rsplit('-').next().unwrap().parse().unwrap_or(3.0);
    concurrency.min(f64::from(if run.arm == "arm-0" { AT } else { 2 * AT }))
}

#[rstest]
#[case::one_doubling_beyond_the_last_knee(knee::<4>, &[1, 2, 4, 8, 16], true)]
#[case::as_far_as_allowed(knee::<30>, &[1, 2, 4, 8, 16, 32], false)]
fn a_search_goes_on_until_every_knee_is_bracketed(
    #[case] value: fn(&RunId, Metric) -> f64,
    #[case] expected: &[u32],
    #[case] all_bracketed: bool,
) {
    let mut world = small(&Small { experiments: SEARCH, ..Small::default() });
    world.value = value;
    assert_eq!(world.run_to_end([]), Outcome::Completed);
    let plan = effective(&world.plan, &world.decisions);
    let blocks = plan.blocks.iter().map(|block| {
        let condition = &plan.conditions[block.condition];
        (block.repetition, condition.experiment.as_str(), condition.load.max_concurrency.unwrap())
    });
    let of_repetition = |repetition| {
        let points = expected.iter().map(move |concurrency| (repetition, "search", *concurrency));
        points.chain([(repetition, "after", 3)])
    };
    assert_eq!(blocks.collect::<Vec<_>>(), of_repetition(1).chain(of_repetition(2)).collect::<Vec<_>>());
    assert!(world.decisions.iter().any(|decision| {
        matches!(decision, Decision::Saturated { bracketed, max_concurrency, .. }
            if *bracketed == all_bracketed && Some(max_concurrency) == expected.last())
    }));
    assert_eq!(boots(&world).len(), 2, "points are tried on the servers that are up");
    let slugs: Vec<&str> = plan.conditions.iter().map(|condition| condition.slug.as_str()).collect();
    assert_eq!(slugs[..3], ["model-0-concurrency-1", "model-0", "model-0-concurrency-2"]);
}

#[test]
fn a_search_ends_where_nothing_counts() {
    let mut world = small(&Small { experiments: SEARCH, ..Small::default() });
    world.value = knee::<4>;
    let mut events = vec![Fine, Fine, Fine];
    events.extend([NoEvidence; 2]);
    assert_eq!(world.run_to_end(events), Outcome::Inconclusive);
    assert!(
        world
            .decisions
            .iter()
            .any(|decision| { matches!(decision, Decision::Saturated { bracketed: false, max_concurrency: 2, .. }) })
    );
}

#[test]
fn nothing_is_asked_while_servers_come_and_go() {
    let mut world = small(&Small::default());
    assert_eq!(world.step(Event::Slow), None);
    assert_eq!(world.observed.servers.as_ref().unwrap().state, ServerState::Starting);
    let seen = world.actions.len();
    for _ in 0..3 {
        assert_eq!(world.step(Event::Slow), None);
    }
    assert_eq!(world.actions.len(), seen, "it waits");
}

#[test]
fn a_log_that_a_crash_cut_off_is_read_up_to_its_last_line() {
    let mut world = small(&Small { experiments: SEARCH, ..Small::default() });
    world.value = knee::<4>;
    world.run_to_end([]);
    let mut text: String = world.decisions.iter().map(Decision::to_line).collect();
    let whole = text.len();
    text.push_str("{\"decision\":\"look\",\"exp");
    let log = Log::read(&world.plan, text.as_bytes()).unwrap();
    assert_eq!((log.decisions, log.bytes), (world.decisions.clone(), whole));
}

#[rstest]
#[case(
    "{\"decision\":\"look\"}\n",
    "decisions.jsonl line 1: not a decision; restore the file or start in an empty directory"
)]
#[case(
    "{\"decision\":\"saturationPoint\",\"experiment\":\"one\",\"condition\":\"other\",\"maxConcurrency\":2}\n",
    "decisions.jsonl line 1: names condition one/other, which the plan does not have; it belongs to another plan"
)]
#[case(
    "{\"decision\":\"bootFailed\",\"boot\":2,\"generation\":1,\"reason\":\"\"}\n",
    "decisions.jsonl line 1: names boot 2, which the plan does not have; it belongs to another plan"
)]
fn a_log_of_another_plan_is_refused(#[case] text: &str, #[case] message: &str) {
    let plan = Small::default().plan();
    assert_eq!(Log::read(&plan, text.as_bytes()).unwrap_err().to_string(), message);
}
