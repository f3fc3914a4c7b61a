//! What a campaign will take, as a range. Throughput is what the campaign is there to find out, so the range is wide;
//! what follows from the file alone (arrivals, repetitions, boots) is not guessed.
//!
//! A run's window is at least as long as its arrivals take (prompts / rate), as its prompts take to be read
//! (prompts x prompt tokens / (servers x reading speed)), and as its sequences take to be written (prompts x seconds of
//! one request / sequences at a time). The least figure takes the planned runs at the fast figures, the greatest all
//! repetitions and points of searches that may be decided, at the slow ones. Retries and the wait for machines are in
//! neither. An arm's machines count for the whole of every boot it takes part in.

use rust_decimal::{Decimal, RoundingStrategy};

use super::{
    arrange,
    error::PlanError,
    expand,
    model::{Boot, Condition, Estimate, Plan, Range},
    repetitions,
};
use crate::campaign::{Arm, Budget, SimulatorProfile};

/// What is assumed of an engine; the fast and the slow figures enclose what is published for the models and GPUs that
/// campaigns name (1B to 32B on H100 and H200).
#[derive(Clone, Copy)]
pub(super) struct Figures {
    /// Seconds to a first token without a queue.
    first_token_seconds: f64,
    /// Seconds for each further token of a sequence.
    token_seconds: f64,
    /// Prompt tokens that a server reads in a second.
    prompt_tokens_per_second: f64,
    /// Sequences at a time where `maxNumSeqs` is not given.
    default_sequences: u32,
    /// Tokens of a ToolBench prompt, or of one from a file that has not been read.
    toolbench_tokens: f64,
    /// Output tokens of a request whose file has not been read.
    unread_output_tokens: f64,
    /// From starting servers to the first served token.
    boot_seconds: f64,
    /// Resets, canary, evidence and files around each window.
    around_run_seconds: f64,
    /// From the last run to the servers' end.
    stop_seconds: f64,
}

const FAST: Figures = Figures {
    first_token_seconds: 0.05,
    token_seconds: 0.005,
    prompt_tokens_per_second: 40_000.0,
    default_sequences: 1024,
    toolbench_tokens: 1000.0,
    unread_output_tokens: 32.0,
    boot_seconds: 45.0,
    around_run_seconds: 5.0,
    stop_seconds: 2.0,
};

const SLOW: Figures = Figures {
    first_token_seconds: 1.0,
    token_seconds: 0.05,
    prompt_tokens_per_second: 3000.0,
    default_sequences: 256,
    toolbench_tokens: 2000.0,
    unread_output_tokens: 1024.0,
    boot_seconds: 900.0,
    around_run_seconds: 45.0,
    stop_seconds: 60.0,
};

/// The simulator's fictional fast profile: a step of four sequences in about 3.5 ms, 30 us for a prompt token.
const TINY_FAST: Figures = Figures {
    first_token_seconds: 0.01,
    token_seconds: 0.003,
    boot_seconds: 0.3,
    around_run_seconds: 0.5,
    stop_seconds: 0.1,
    ..FAST
};

const TINY_SLOW: Figures = Figures {
    first_token_seconds: 0.2,
    token_seconds: 0.008,
    prompt_tokens_per_second: 20_000.0,
    boot_seconds: 10.0,
    around_run_seconds: 5.0,
    stop_seconds: 2.0,
    ..SLOW
};

/// Fast and slow figures for the plan's engine.
pub(super) fn figures(plan: &Plan) -> Range<Figures> {
    let engine = &plan.spec.engine;
    let ready_timeout = f64::from(engine.ready_timeout_seconds);
    let (minimum, maximum) = match engine.simulator.as_ref().map(|simulator| simulator.profile) {
        Some(SimulatorProfile::Tiny) => (TINY_FAST, TINY_SLOW),
        Some(SimulatorProfile::H100Nvl | SimulatorProfile::H200) => {
            (Figures { boot_seconds: 1.0, ..FAST }, Figures { boot_seconds: 120.0, ..SLOW })
        }
        None => (FAST, SLOW),
    };
    let bounded = |figures: Figures| Figures { boot_seconds: figures.boot_seconds.min(ready_timeout), ..figures };
    Range { minimum: bounded(minimum), maximum: bounded(maximum) }
}

/// What the plan will take.
pub(super) fn estimate(plan: &Plan) -> Result<Estimate, PlanError> {
    let figures = figures(plan);
    let longest = everything_that_may_be_decided(plan);
    let least = totals(plan, &figures.minimum)?;
    let greatest = totals(&longest, &figures.maximum)?;
    let currency = currency(plan);
    let money = |amount: Decimal, strategy| amount.round_dp_with_strategy(2, strategy);
    Ok(Estimate {
        duration_seconds: Range { minimum: whole(least.seconds.floor()), maximum: whole(greatest.seconds.ceil()) },
        cost: currency.as_ref().map(|_| Range {
            minimum: money(least.cost, RoundingStrategy::ToZero),
            maximum: money(greatest.cost, RoundingStrategy::AwayFromZero),
        }),
        currency,
    })
}

impl Estimate {
    /// Why a budget does not even pay for the least that is expected, if it does not. A budget in another currency, or
    /// one that is no number, is not compared: the validator refuses it.
    #[must_use]
    pub fn exceeds(&self, budget: &Budget) -> Option<String> {
        let least = self.cost.filter(|_| self.currency.as_ref() == Some(&budget.currency))?.minimum;
        let maximum: Decimal = budget.maximum.parse().ok()?;
        (least > maximum).then(|| {
            format!(
                "budget.maximum: {maximum} {} do not pay for the expected {least} at least; raise it or plan fewer runs",
                budget.currency
            )
        })
    }
}

struct Totals {
    seconds: f64,
    cost: Decimal,
}

fn totals(plan: &Plan, figures: &Figures) -> Result<Totals, PlanError> {
    let mut of_boots: Vec<f64> = plan.boots.iter().map(|_| boot_overhead_seconds(plan, figures)).collect();
    for block in &plan.blocks {
        let seconds = run_seconds(plan, &plan.conditions[block.condition], figures);
        for run in &block.runs {
            of_boots[run.boot] += seconds;
        }
    }
    let mut cost = Decimal::ZERO;
    for (boot, seconds) in plan.boots.iter().zip(&of_boots) {
        cost += boot_price_per_hour(plan, boot)? * hours(*seconds);
    }
    Ok(Totals { seconds: of_boots.iter().sum(), cost })
}

/// Seconds of a boot in which no run is under way: start, idling, stop.
pub(super) fn boot_overhead_seconds(plan: &Plan, figures: &Figures) -> f64 {
    figures.boot_seconds + f64::from(plan.spec.energy.idle_seconds) + figures.stop_seconds
}

/// Seconds of one run, with warm-up, resets and files.
pub(super) fn run_seconds(plan: &Plan, condition: &Condition, figures: &Figures) -> f64 {
    let warmup = served_seconds(plan, condition, figures, condition.warmup_requests);
    figures.around_run_seconds + warmup + window_seconds(plan, condition, figures)
}

/// Seconds of a run's window.
pub(super) fn window_seconds(plan: &Plan, condition: &Condition, figures: &Figures) -> f64 {
    let at_a_rate = |rate: u32| f64::from(condition.prompts()) * 1000.0 / f64::from(rate.max(1));
    let recorded = plan.dataset_file(condition).and_then(|file| file.arrivals_milliseconds);
    let arrivals = condition.load.request_rate_milli.map(at_a_rate).or(recorded.map(seconds)).unwrap_or(0.0);
    arrivals.max(served_seconds(plan, condition, figures, condition.prompts()))
}

/// Requests per second that the servers of an arm can complete.
pub(super) fn capacity_per_second(plan: &Plan, condition: &Condition, figures: &Figures) -> f64 {
    let unbounded =
        Condition { load: super::LoadPoint { max_concurrency: None, ..condition.load }, ..condition.clone() };
    f64::from(condition.prompts()) / served_seconds(plan, &unbounded, figures, condition.prompts())
}

fn served_seconds(plan: &Plan, condition: &Condition, figures: &Figures, requests: u32) -> f64 {
    let servers = f64::from(plan.replicas().max(1));
    let of_server = f64::from(condition.engine.max_num_seqs.unwrap_or(figures.default_sequences).max(1));
    let concurrency = condition.load.max_concurrency.map_or(f64::INFINITY, f64::from);
    let sequences = (servers * of_server).min(concurrency).min(f64::from(requests.max(1)));
    let Tokens { prompt: prompt_tokens, output: output_tokens } = tokens(plan, condition, figures);
    let reading = f64::from(requests) * prompt_tokens / (servers.min(concurrency) * figures.prompt_tokens_per_second);
    let request = figures.first_token_seconds + output_tokens * figures.token_seconds;
    reading.max(f64::from(requests) * request / sequences)
}

/// Mean lengths of one request.
struct Tokens {
    prompt: f64,
    output: f64,
}

/// As the condition says, or its file, or as is assumed of one that has not been read.
fn tokens(plan: &Plan, condition: &Condition, figures: &Figures) -> Tokens {
    let file = plan.dataset_file(condition);
    let generated = condition.input_tokens.or(condition
        .dataset
        .prefix_repetition
        .as_ref()
        .map(|set| set.prefix_tokens.saturating_add(set.suffix_tokens)));
    let prompt = generated.or(file.map(|file| file.mean_prompt_tokens));
    let output = condition.output_tokens.or(file.and_then(|file| file.mean_output_tokens));
    Tokens {
        prompt: prompt.map_or(figures.toolbench_tokens, f64::from),
        output: output.map_or(figures.unread_output_tokens, f64::from),
    }
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of a trace fit 53 bits")]
fn seconds(milliseconds: u64) -> f64 {
    milliseconds as f64 / 1000.0
}

/// Price of one hour of a boot's machines; zero where an arm has no price.
pub(super) fn boot_price_per_hour(plan: &Plan, boot: &Boot) -> Result<Decimal, PlanError> {
    boot.arms.iter().filter_map(|arm| plan.arm(arm)).map(|arm| arm_price_per_hour(plan, arm)).sum()
}

fn arm_price_per_hour(plan: &Plan, arm: &Arm) -> Result<Decimal, PlanError> {
    let Some(price) = &arm.price else { return Ok(Decimal::ZERO) };
    let of_machine: Decimal = price
        .per_machine_hour
        .parse()
        .map_err(|_| PlanError::Price { arm: arm.name.clone(), price: price.per_machine_hour.clone() })?;
    Ok(of_machine * Decimal::from(price.machines.unwrap_or(plan.replicas())))
}

/// Seconds as hours, to the second above.
pub(super) fn hours(seconds: f64) -> Decimal {
    Decimal::from(whole(seconds.ceil())) / Decimal::from(3600)
}

/// The one currency of all arms that take part, when each has a price.
fn currency(plan: &Plan) -> Option<String> {
    let mut arms = plan.spec.arms.iter().filter(|arm| plan.boots.iter().any(|boot| boot.arms.contains(&arm.name)));
    let currency = arms.next()?.price.as_ref()?.currency.clone();
    arms.all(|arm| arm.price.as_ref().is_some_and(|price| price.currency == currency)).then_some(currency)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "estimates are not negative and saturate")]
const fn whole(seconds: f64) -> u64 {
    seconds as u64
}

/// The plan with every repetition and every point of a search that may be decided.
fn everything_that_may_be_decided(plan: &Plan) -> Plan {
    let mut longest = plan.clone();
    for first in &plan.conditions {
        let search = plan.experiment(&first.experiment).and_then(|experiment| experiment.load.saturation);
        for concurrency in search.into_iter().flat_map(repetitions::concurrencies).skip(1) {
            let point = expand::search_point(&plan.spec, &longest.conditions, first, concurrency);
            longest.conditions.extend(point);
        }
    }
    let mut blocks = Vec::new();
    for condition in 0..longest.conditions.len() {
        let there = plan.blocks.iter().filter(|block| block.condition == condition).count();
        let wanted = longest.repetitions_of(condition).map_or(0, repetitions::maximum);
        let first = u32::try_from(there).map_or(u32::MAX, |there| there.saturating_add(1));
        blocks.extend((first..=wanted).map(|repetition| (condition, repetition)));
    }
    arrange::add_blocks(&mut longest, blocks);
    longest
}
