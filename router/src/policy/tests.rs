//! The promises of the policies: each fault of earlier prototypes has the test that would catch it.

use std::collections::VecDeque;
use std::sync::LazyLock;
use std::time::Duration;

use rstest::rstest;
use serde_json::{Value, json};
use teebench_api::policy::RouterPolicySpec;

use super::*;

const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

fn engine(policy: Value, workers: usize) -> Engine {
    let spec: RouterPolicySpec = serde_json::from_value(policy).unwrap();
    let settings = PolicySettings::try_from(&spec).unwrap();
    Engine::new(&settings, NAMES[..workers].iter().copied(), 1, 0)
}

fn tree(balancing: &str) -> Value {
    json!({"mode": "HashRadixTree", "hashRadixTree": {"loadBalancing": balancing}})
}

fn capped(mut policy: Value, slots: u32) -> Value {
    policy["maxInFlightPerServer"] = slots.into();
    policy
}

fn gated(chunks: u32) -> Value {
    json!({"mode": "HashRadixTree",
        "hashRadixTree": {"loadBalancing": "LatencyFactor", "hitThresholdChunks": chunks}})
}

/// A prompt of chunks of 256 bytes, and as many further tokens of output as make `tokens` together.
fn request(path: &[u64], tokens: u64) -> Prompt<'_> {
    static PLAN: LazyLock<ChunkPlan> = LazyLock::new(|| ChunkPlan::fixed(256));
    let prompt_tokens = PLAN.bytes_of(path.len()) / BYTES_PER_TOKEN;
    Prompt { path, plan: &PLAN, work: Work { prompt_tokens, output_tokens: tokens, is_streamed: false } }
}

fn choose(engine: &mut Engine, path: &[u64], excluded: &[WorkerIndex]) -> Choice {
    engine.choose(&request(path, 0), excluded, Duration::ZERO)
}

/// Chooses and takes the slot.
fn send(engine: &mut Engine, path: &[u64]) -> Flight {
    let Choice::Send(worker) = choose(engine, path, &[]) else { panic!("a worker should be free") };
    engine.begin(worker, &request(path, 0), Duration::ZERO)
}

/// Puts a load of so many tokens on a worker.
fn load(engine: &mut Engine, worker: u16, tokens: u64) -> Flight {
    engine.begin(WorkerIndex(worker), &request(&[], tokens), Duration::ZERO)
}

/// A request that took so many milliseconds.
fn answer(engine: &mut Engine, flight: &Flight, latency_ms: u64) {
    engine.succeeded(flight, Duration::from_millis(latency_ms));
    engine.end(flight);
}

/// A whole request: chosen, accepted, served.
fn serve(engine: &mut Engine, path: &[u64]) -> (WorkerIndex, Accepted) {
    let flight = send(engine, path);
    let accepted = engine.accepted(flight.worker(), path);
    answer(engine, &flight, 10);
    (flight.worker(), accepted)
}

/// A prompt: chunks that all share, chunks of its group, chunks of its own.
fn prompt(common: u64, group: (u64, u64), own: (u64, u64)) -> Vec<u64> {
    let common = (0..common).map(|chunk| 0x5afe << 32 | chunk);
    let of_group = (0..group.1).map(|chunk| (0x10_0000 + group.0) << 32 | chunk);
    let of_own = (0..own.1).map(|chunk| (0x20_0000 + own.0) << 32 | chunk);
    // Every chain hash of a real path depends on all before it; mixing in the group keeps that true here.
    common.chain(of_group).chain(of_own.map(|chunk| chunk ^ group.0 << 52)).collect()
}

/// Serves the prompts with `concurrency` in flight, first come, first done; returns hotspot and hit share.
fn closed_loop(engine: &mut Engine, prompts: &[Vec<u64>], concurrency: usize) -> (f64, f64) {
    let mut in_flight = VecDeque::new();
    let (mut requests, mut hits) = (vec![0_usize; engine.workers().len()], 0);
    for path in prompts {
        if in_flight.len() == concurrency {
            let flight = in_flight.pop_front().unwrap();
            answer(engine, &flight, 10);
        }
        let flight = send(engine, path);
        hits += usize::from(engine.accepted(flight.worker(), path).is_hit);
        requests[flight.worker().at()] += 1;
        in_flight.push_back(flight);
    }
    let hottest = *requests.iter().max().unwrap() as f64;
    (hottest * requests.len() as f64 / prompts.len() as f64, hits as f64 / prompts.len() as f64)
}

/// A fixed shuffle: the same prompts in an order without runs.
fn shuffled(mut prompts: Vec<Vec<u64>>) -> Vec<Vec<u64>> {
    let mut state = 42_u64;
    for last in (1..prompts.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        prompts.swap(last, (state >> 33) as usize % (last + 1));
    }
    prompts
}

fn groups(common: u64, groups: u64, requests: u64, shared: u64, own: u64) -> Vec<Vec<u64>> {
    let each = |group| (0..requests).map(move |request| prompt(common, (group, shared), (group * 1000 + request, own)));
    shuffled((0..groups).flat_map(each).collect())
}

#[rstest]
fn a_shared_system_prompt_does_not_collapse_routing(
    #[values("None", "LatencyFactor", "ExpectedCost")] balancing: &str,
    #[values(1, 4, 32)] concurrency: usize,
) {
    let prompts = groups(40, 64, 10, 40, 20);
    let (hotspot, hit) = closed_loop(&mut engine(tree(balancing), 4), &prompts, concurrency);
    assert!(hotspot < 1.5, "workers x largest share is {hotspot}");
    assert!(hit > 0.9, "{hit} of the requests came where their prefix was");
}

#[rstest]
fn a_shared_system_prompt_alone_is_spread_evenly(#[values("None", "LatencyFactor", "ExpectedCost")] balancing: &str) {
    let prompts: Vec<_> = (0..400).map(|request| prompt(40, (0, 0), (request, 20))).collect();
    let (hotspot, _) = closed_loop(&mut engine(tree(balancing), 4), &prompts, 16);
    assert!(hotspot < 1.2, "workers x largest share is {hotspot}");
}

#[rstest]
#[case::wholly_equal(0)]
#[case::with_an_own_end(8)]
fn one_hot_prefix_is_replicated_instead_of_hammering_one_worker(#[case] own: u64) {
    let group_of = |request| if request % 10 == 0 { request } else { 0 };
    let prompts: Vec<_> = (0..1000).map(|request| prompt(0, (group_of(request), 40), (request, own))).collect();
    let (hotspot, _) = closed_loop(&mut engine(tree("LatencyFactor"), 4), &prompts, 48);
    assert!(hotspot < 1.3, "workers x largest share is {hotspot}");
}

#[rstest]
fn prompts_of_a_group_come_where_their_prefix_is(
    #[values("None", "LatencyFactor", "ExpectedCost")] balancing: &str,
    #[values((80, 20), (20, 80))] shares: (u64, u64),
) {
    let prompts = groups(0, 16, 20, shares.0, shares.1);
    let (_, hit) = closed_loop(&mut engine(tree(balancing), 4), &prompts, 16);
    assert!(hit >= 0.94, "{hit} of the requests came where their prefix was; .950 is the best possible");
}

#[rstest]
fn prompts_that_share_nothing_are_spread_as_evenly_as_by_load(
    #[values("None", "LatencyFactor", "ExpectedCost")] balancing: &str,
    #[values(1, 16)] concurrency: usize,
) {
    let prompts: Vec<_> = (0..2000).map(|request| prompt(0, (0, 0), (request, 30))).collect();
    let (hotspot, hit) = closed_loop(&mut engine(tree(balancing), 4), &prompts, concurrency);
    assert!(hotspot < 1.1, "workers x largest share is {hotspot}");
    assert_eq!(hit, 0.0);
}

#[test]
fn a_holder_is_found_by_every_prefix_of_what_it_took() {
    let mut engine = engine(tree("None"), 4);
    let (holder, _) = serve(&mut engine, &[1, 2, 3, 4, 5, 6]);
    for other in 100..104 {
        serve(&mut engine, &[other; 3]);
    }
    for length in [6, 4, 2] {
        assert_eq!(choose(&mut engine, &[1, 2, 3, 4, 5, 6][..length], &[]), Choice::Send(holder));
    }
}

#[test]
fn among_the_deepest_holders_the_least_loaded_is_taken() {
    let mut engine = engine(tree("LatencyFactor"), 3);
    for worker in 0..3 {
        engine.accepted(WorkerIndex(worker), &[1, 2, 3]);
        engine.accepted(WorkerIndex(worker), &[u64::from(worker) + 100; 8]);
        engine.accepted(WorkerIndex(worker), &[u64::from(worker) + 200; 8]);
    }
    for (worker, tokens) in [(0, 300), (1, 100), (2, 200)] {
        load(&mut engine, worker, tokens);
    }
    assert_eq!(choose(&mut engine, &[1, 2, 3, 4], &[]), Choice::Send(WorkerIndex(1)));
    load(&mut engine, 1, 1000);
    assert_eq!(choose(&mut engine, &[1, 2, 3, 4], &[]), Choice::Send(WorkerIndex(2)));
}

#[test]
fn without_balancing_the_deepest_holder_is_taken_whatever_its_load() {
    let mut engine = engine(capped(tree("None"), 1), 2);
    let (holder, _) = serve(&mut engine, &[1, 2, 3]);
    serve(&mut engine, &[9, 9, 9]);
    serve(&mut engine, &[8, 8, 8]);
    assert_eq!(send(&mut engine, &[1, 2, 3]).worker(), holder);
    assert_eq!(choose(&mut engine, &[1, 2, 3], &[]), Choice::WaitFor(holder));
}

#[rstest]
fn a_prompt_that_nobody_holds_goes_to_the_cheapest_worker(#[values("None", "LatencyFactor")] balancing: &str) {
    let mut engine = engine(tree(balancing), 4);
    for (worker, tokens) in [(0, 500), (1, 400), (2, 100), (3, 700)] {
        load(&mut engine, worker, tokens);
    }
    assert_eq!(choose(&mut engine, &[77, 78], &[]), Choice::Send(WorkerIndex(2)));
}

#[test]
fn the_worker_that_accepted_is_recorded_and_not_the_one_that_was_chosen() {
    let mut engine = engine(tree("None"), 4);
    let path = [1, 2, 3];
    let Choice::Send(chosen) = choose(&mut engine, &path, &[]) else { panic!() };
    let Choice::Send(other) = choose(&mut engine, &path, &[chosen]) else { panic!() };
    assert_ne!(chosen, other);
    engine.accepted(other, &path);
    assert_eq!(choose(&mut engine, &path, &[]), Choice::Send(other));
    assert!(engine.accepted(other, &path).is_hit);
}

#[test]
fn a_choice_that_nobody_accepted_leaves_no_trace() {
    let mut engine = engine(tree("None"), 4);
    send(&mut engine, &[1, 2, 3]);
    assert!(engine.tree().unwrap().is_empty());
}

#[test]
fn a_spill_makes_the_new_worker_a_holder_too() {
    let mut engine = engine(capped(tree("LatencyFactor"), 1), 2);
    let path = [1, 2, 3];
    let (first, _) = serve(&mut engine, &path);
    for other in 100..103 {
        serve(&mut engine, &[other; 3]);
    }
    assert_eq!(send(&mut engine, &path).worker(), first);
    let flight = send(&mut engine, &path);
    let second = flight.worker();
    assert_ne!(first, second, "the holder is full");
    assert!(!engine.accepted(second, &path).is_hit);
    assert!(engine.accepted(second, &path).is_hit);
    assert_eq!(choose(&mut engine, &path, &[]), Choice::WaitForAny);
    engine.end(&flight);
    assert_eq!(choose(&mut engine, &path, &[]), Choice::Send(second));
}

#[test]
fn a_slow_first_answer_is_remembered_as_slow() {
    let mut engine = engine(tree("LatencyFactor"), 2);
    let first = load(&mut engine, 0, 100);
    answer(&mut engine, &first, 1000);
    for _ in 0..20 {
        let next = load(&mut engine, 1, 100);
        answer(&mut engine, &next, 400);
    }
    for worker in 0..2 {
        load(&mut engine, worker, 100);
    }
    assert_eq!(choose(&mut engine, &[5], &[]), Choice::Send(WorkerIndex(1)), "400 ms beat a single sample of 1000 ms");
}

#[test]
fn a_failed_request_does_not_feed_the_latency_and_its_slot_is_free_again() {
    let mut engine = engine(capped(tree("LatencyFactor"), 1), 1);
    let flight = send(&mut engine, &[1]);
    assert_eq!(choose(&mut engine, &[1], &[]), Choice::WaitForAny);
    engine.failed(flight.worker());
    engine.end(&flight);
    assert_eq!(engine.workers()[0].latency_ms.mean(), None);
    assert_eq!(engine.workers()[0].load(), Load::default());
    assert_eq!(choose(&mut engine, &[1], &[]), Choice::Send(flight.worker()));
}

#[test]
fn a_prompt_shorter_than_the_gate_can_hit() {
    let mut engine = engine(gated(8), 4);
    let (holder, first) = serve(&mut engine, &[1, 2]);
    assert!(!first.is_hit);
    for other in 100..104 {
        serve(&mut engine, &[other; 9]);
    }
    let (again, second) = serve(&mut engine, &[1, 2]);
    assert_eq!(again, holder);
    assert!(second.is_hit);
}

#[test]
fn a_match_below_the_gate_is_a_miss() {
    let mut engine = engine(gated(3), 4);
    let (holder, _) = serve(&mut engine, &[1, 2, 3, 4]);
    for other in 100..104 {
        serve(&mut engine, &[other; 9]);
    }
    load(&mut engine, holder.0, 100);
    let Choice::Send(other) = choose(&mut engine, &[1, 2, 9, 9], &[]) else { panic!() };
    assert_ne!(other, holder);
    assert_eq!(choose(&mut engine, &[1, 2, 3, 9], &[]), Choice::Send(holder));
}

#[test]
fn an_unreliable_worker_gets_no_prefix_until_probes_bring_it_back() {
    let policy = json!({"mode": "HashRadixTree",
        "hashRadixTree": {"reputation": {"thresholdPermille": 500, "windowRequests": 4}}});
    let mut engine = engine(policy, 2);
    let path = [1, 2, 3];
    let (holder, _) = serve(&mut engine, &path);
    serve(&mut engine, &[9; 3]);
    serve(&mut engine, &[8; 3]);
    for _ in 0..3 {
        engine.failed(holder);
    }
    let Choice::Send(other) = choose(&mut engine, &path, &[]) else { panic!() };
    assert_ne!(other, holder);
    assert_eq!(choose(&mut engine, &[77], &[]), Choice::Send(other), "a new prefix neither");
    assert_eq!(choose(&mut engine, &path, &[other]), Choice::Send(holder), "but it is better than nobody");

    assert_eq!(engine.probed_workers().collect::<Vec<_>>(), [holder]);
    for _ in 0..4 {
        engine.reinstate(holder);
    }
    assert_eq!(choose(&mut engine, &path, &[]), Choice::Send(holder));
}

#[test]
fn an_ejected_worker_is_left_out_and_what_it_held_is_forgotten() {
    let mut engine = engine(tree("None"), 2);
    let path = [1, 2, 3];
    let (holder, _) = serve(&mut engine, &path);
    assert!(!engine.connect_failed(holder));
    assert!(!engine.connect_failed(holder));
    assert!(engine.connect_failed(holder));
    assert!(engine.tree().unwrap().is_empty());
    assert_eq!(engine.generations()[holder.at()], 1);
    let Choice::Send(other) = choose(&mut engine, &path, &[]) else { panic!() };
    assert_ne!(other, holder);
    assert_eq!(choose(&mut engine, &path, &[other]), Choice::Send(holder), "rather a try than an error");
    assert_eq!(choose(&mut engine, &path, &[other, holder]), Choice::Nobody);
}

#[rstest]
fn replicas_that_never_spoke_agree(#[values("None", "LatencyFactor", "ExpectedCost")] balancing: &str) {
    let (mut one, mut other) = (engine(tree(balancing), 8), engine(tree(balancing), 8));
    let mut reached = [false; 8];
    for group in 0..64_u64 {
        let chosen = choose(&mut one, &[group << 40, 1], &[]);
        assert_eq!(chosen, choose(&mut other, &[group << 40, 2], &[]), "only the first chunk is the group's");
        let Choice::Send(worker) = chosen else { panic!() };
        reached[worker.at()] = true;
    }
    assert_eq!(reached, [true; 8]);
}

#[test]
fn round_robin_takes_each_in_its_turn_and_passes_over_the_full() {
    let mut engine = engine(capped(json!({"mode": "RoundRobin"}), 1), 3);
    let flights: Vec<Flight> = (0..3).map(|_| send(&mut engine, &[])).collect();
    assert_eq!(flights.iter().map(|flight| flight.worker().0).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(choose(&mut engine, &[], &[]), Choice::WaitForAny);
    engine.end(&flights[1]);
    assert_eq!(choose(&mut engine, &[], &[]), Choice::Send(WorkerIndex(1)));
}

#[test]
fn least_loaded_takes_the_fewest_in_flight_and_equals_in_turn() {
    let mut engine = engine(json!({"mode": "LeastLoaded"}), 3);
    let flights: Vec<Flight> = (0..6).map(|_| send(&mut engine, &[])).collect();
    assert_eq!(flights.iter().map(|flight| flight.worker().0).collect::<Vec<_>>(), [0, 1, 2, 0, 1, 2]);
    engine.end(&flights[2]);
    assert_eq!(choose(&mut engine, &[], &[]), Choice::Send(WorkerIndex(2)));
}

#[test]
fn the_load_of_other_routers_counts_and_can_be_taken_back() {
    let mut engine = engine(json!({"mode": "LeastLoaded"}), 2);
    let told = Load { in_flight: 5, tokens: 500, ..Load::default() };
    engine.replace_load_of_others(WorkerIndex(0), Load::default(), told, Duration::ZERO);
    assert_eq!(send(&mut engine, &[]).worker(), WorkerIndex(1));
    assert_eq!(send(&mut engine, &[]).worker(), WorkerIndex(1));
    engine.replace_load_of_others(WorkerIndex(0), told, Load::default(), Duration::ZERO);
    assert_eq!(send(&mut engine, &[]).worker(), WorkerIndex(0));
}

#[test]
fn routers_share_a_workers_slots() {
    let spec = serde_json::from_value(capped(json!({"mode": "LeastLoaded"}), 4)).unwrap();
    let mut engine = Engine::new(&PolicySettings::try_from(&spec).unwrap(), ["a"], 2, 0);
    let flights: Vec<Flight> = (0..4).map(|_| send(&mut engine, &[])).collect();
    assert_eq!(choose(&mut engine, &[], &[]), Choice::WaitForAny, "all four while the other router has none");
    engine.end(&flights[0]);
    engine.end(&flights[1]);
    engine.replace_load_of_others(
        WorkerIndex(0),
        Load::default(),
        Load { in_flight: 9, tokens: 900, ..Load::default() },
        Duration::ZERO,
    );
    assert_eq!(choose(&mut engine, &[], &[]), Choice::WaitForAny, "its part is two");
    engine.end(&flights[2]);
    assert_eq!(choose(&mut engine, &[], &[]), Choice::Send(WorkerIndex(0)), "which it has, whatever the other does");
}

#[test]
fn among_thousands_a_holder_is_found_and_new_prefixes_are_spread() {
    let spec: RouterPolicySpec = serde_json::from_value(tree("ExpectedCost")).unwrap();
    let names: Vec<String> = (0..2048).map(|worker| format!("worker-{worker}")).collect();
    let settings = PolicySettings::try_from(&spec).unwrap();
    let mut engine = Engine::new(&settings, names.iter().map(String::as_str), 1, 0);
    let mut requests = vec![0_u32; names.len()];
    let mut flights = Vec::new();
    for group in 0..4096_u64 {
        let path = prompt(0, (group, 10), (group, 5));
        let flight = send(&mut engine, &path);
        engine.accepted(flight.worker(), &path);
        requests[flight.worker().at()] += 1;
        assert_eq!(choose(&mut engine, &path, &[]), Choice::Send(flight.worker()));
        flights.push(flight);
    }
    let most = requests.iter().max().unwrap();
    assert!(*most <= 5, "one of 2,048 workers got {most} of 4,096 requests");
}
