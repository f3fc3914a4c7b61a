//! From experiments to conditions: the product of an experiment's lists, or its points.

use std::collections::BTreeSet;

use super::{
    error::PlanError,
    model::{Condition, LoadPoint},
    names::{self, Fields, Varying},
};
use crate::campaign::{BenchmarkCampaignSpec, DatasetKind, EngineSettings, Experiment, Model};

/// A gamma shape of 1: Poisson arrivals.
const POISSON_MILLI: u32 = 1000;

/// More conditions than this in one experiment are refused before they are made.
const MOST_CONDITIONS: usize = 4096;

/// What tells one condition of an experiment from another.
struct Combination<'a> {
    model: &'a Model,
    max_num_seqs: Option<u32>,
    rate_milli: Option<u32>,
    concurrency: Option<u32>,
    input: Option<u32>,
    output: Option<u32>,
    prompts: Option<u32>,
}

/// Values to try for one field; `None` leaves it out.
type Values = Vec<Option<u32>>;

/// All conditions, in the order of experiments and of their lists or points. Of a saturation search only the first
/// point is planned; the others are decided as it goes.
pub(super) fn conditions(spec: &BenchmarkCampaignSpec) -> Result<Vec<Condition>, PlanError> {
    let mut conditions = Vec::new();
    for experiment in &spec.experiments {
        expand(spec, experiment, &mut conditions)?;
    }
    Ok(conditions)
}

fn expand(
    spec: &BenchmarkCampaignSpec,
    experiment: &Experiment,
    conditions: &mut Vec<Condition>,
) -> Result<(), PlanError> {
    let arms = chosen(experiment, "arms", &experiment.arms, spec.arms.iter().map(|arm| arm.name.as_str()))?;
    let routers =
        chosen(experiment, "routers", &experiment.routers, spec.routers.iter().map(|router| router.name.as_str()))?;
    let combinations = combinations(spec, experiment)?;
    let template = names::template(experiment, &varying(experiment, &combinations));
    let search = experiment.load.saturation.is_some();
    let mut known_names = BTreeSet::new();
    let mut slugs = BTreeSet::new();
    for combination in combinations {
        if let (Some(_), Some(arm)) = (combination.max_num_seqs, arm_with_max_num_seqs(spec, &arms)) {
            return Err(PlanError::ArmUndoesPoint { arm, experiment: experiment.name.clone() });
        }
        let mut condition = condition(spec, experiment, &combination);
        condition.name = render(experiment, &template, &condition, combination.model)?;
        if !known_names.insert(condition.name.clone()) {
            return Err(PlanError::ConditionName { experiment: experiment.name.clone(), name: condition.name });
        }
        condition.slug = names::slug(&condition.name, &slugs);
        slugs.insert(condition.slug.clone());
        condition.search = search.then(|| condition.slug.clone());
        condition.arms.clone_from(&arms);
        condition.routers.clone_from(&routers);
        if search {
            check_search_name(experiment, &template, &condition, combination.model)?;
        }
        conditions.push(condition);
    }
    Ok(())
}

/// The names of a list that an experiment chooses, in the order of the file; an empty choice is all.
fn chosen<'a>(
    experiment: &Experiment,
    field: &'static str,
    choice: &[String],
    all: impl Iterator<Item = &'a str> + Clone,
) -> Result<Vec<String>, PlanError> {
    if let Some(name) = choice.iter().find(|name| !all.clone().any(|known| known == name.as_str())) {
        return Err(PlanError::UnknownName { experiment: experiment.name.clone(), field, name: name.clone() });
    }
    Ok(all.filter(|name| choice.is_empty() || choice.iter().any(|c| c == name)).map(ToOwned::to_owned).collect())
}

fn combinations<'a>(
    spec: &'a BenchmarkCampaignSpec,
    experiment: &Experiment,
) -> Result<Vec<Combination<'a>>, PlanError> {
    let model = |name: &String| {
        spec.models.iter().find(|model| model.name == *name).ok_or_else(|| PlanError::UnknownName {
            experiment: experiment.name.clone(),
            field: "models",
            name: name.clone(),
        })
    };
    let mut combinations = Vec::new();
    if experiment.points.is_empty() {
        let models = chosen(experiment, "models", &experiment.models, spec.models.iter().map(|m| m.name.as_str()))?;
        let (rates, concurrencies) = loads(experiment)?;
        let max_num_seqs = optional(&experiment.max_num_seqs);
        let (inputs, outputs) = (inputs(experiment, None)?, outputs(experiment, None)?);
        let product = [models.len(), max_num_seqs.len(), rates.len(), concurrencies.len(), inputs.len(), outputs.len()];
        if product.iter().try_fold(1, |n: usize, m| n.checked_mul(*m)).is_none_or(|n| n > MOST_CONDITIONS) {
            return Err(PlanError::TooLarge { experiment: experiment.name.clone(), limit: super::MOST_RUNS });
        }
        for name in &models {
            let model = model(name)?;
            for &max_num_seqs in &max_num_seqs {
                for &rate_milli in &rates {
                    for &concurrency in &concurrencies {
                        lengths(&inputs, &outputs, |input, output| {
                            combinations.push(Combination {
                                model,
                                max_num_seqs,
                                rate_milli,
                                concurrency,
                                input,
                                output,
                                prompts: None,
                            });
                        });
                    }
                }
            }
        }
    }
    for point in &experiment.points {
        let model = model(&point.model)?;
        if point.max_concurrency.is_none() && point.request_rate_milli.is_none() {
            return Err(PlanError::Load(experiment.name.clone()));
        }
        let (inputs, outputs) = (inputs(experiment, point.input_tokens)?, outputs(experiment, point.output_tokens)?);
        lengths(&inputs, &outputs, |input, output| {
            combinations.push(Combination {
                model,
                max_num_seqs: point.max_num_seqs,
                rate_milli: point.request_rate_milli,
                concurrency: point.max_concurrency,
                input,
                output,
                prompts: point.prompts,
            });
        });
    }
    Ok(combinations)
}

fn lengths(inputs: &[Option<u32>], outputs: &[Option<u32>], mut each: impl FnMut(Option<u32>, Option<u32>)) {
    for &input in inputs {
        for &output in outputs {
            each(input, output);
        }
    }
}

/// A list's values, or once "not given".
fn optional(list: &[u32]) -> Values {
    if list.is_empty() { vec![None] } else { list.iter().copied().map(Some).collect() }
}

/// Rates and concurrencies.
fn loads(experiment: &Experiment) -> Result<(Values, Values), PlanError> {
    let load = &experiment.load;
    if let Some(search) = load.saturation {
        return Ok((vec![None], vec![Some(search.minimum_concurrency)]));
    }
    if load.request_rate_milli.is_empty() && load.max_concurrency.is_empty() && experiment.dataset.trace.is_none() {
        return Err(PlanError::Load(experiment.name.clone()));
    }
    Ok((optional(&load.request_rate_milli), optional(&load.max_concurrency)))
}

fn inputs(experiment: &Experiment, of_point: Option<u32>) -> Result<Values, PlanError> {
    match experiment.dataset.kind() {
        Some(DatasetKind::Random(random)) => match of_point {
            Some(input) => Ok(vec![Some(input)]),
            None if random.input_tokens.is_empty() => {
                Err(PlanError::Length { experiment: experiment.name.clone(), field: "dataset.random.inputTokens" })
            }
            None => Ok(optional(&random.input_tokens)),
        },
        Some(_) => Ok(vec![None]),
        None => Err(PlanError::Dataset(experiment.name.clone())),
    }
}

fn outputs(experiment: &Experiment, of_point: Option<u32>) -> Result<Values, PlanError> {
    match of_point {
        Some(output) => Ok(vec![Some(output)]),
        None if experiment.output_tokens.is_empty() && experiment.dataset.source().is_some() => Ok(vec![None]),
        None if experiment.output_tokens.is_empty() => {
            Err(PlanError::Length { experiment: experiment.name.clone(), field: "outputTokens" })
        }
        None => Ok(optional(&experiment.output_tokens)),
    }
}

fn varying(experiment: &Experiment, combinations: &[Combination<'_>]) -> Varying {
    let differs = |field: fn(&Combination<'_>) -> Option<u32>| {
        combinations.windows(2).any(|pair| field(&pair[0]) != field(&pair[1]))
    };
    Varying {
        max_num_seqs: differs(|combination| combination.max_num_seqs),
        concurrency: differs(|combination| combination.concurrency) || experiment.load.saturation.is_some(),
        rate: differs(|combination| combination.rate_milli),
        input: differs(|combination| combination.input),
        output: differs(|combination| combination.output),
    }
}

fn arm_with_max_num_seqs(spec: &BenchmarkCampaignSpec, arms: &[String]) -> Option<String> {
    let undoes = |engine: &EngineSettings| engine.max_num_seqs.is_some();
    spec.arms
        .iter()
        .find(|arm| arms.contains(&arm.name) && arm.engine.as_ref().is_some_and(undoes))
        .map(|arm| arm.name.clone())
}

/// The condition of a combination, still without name, slug and cells.
fn condition(spec: &BenchmarkCampaignSpec, experiment: &Experiment, combination: &Combination<'_>) -> Condition {
    let Combination { model, max_num_seqs, rate_milli, concurrency, input, output, prompts } = *combination;
    let campaign = match (&spec.engine.vllm, &spec.engine.simulator) {
        (Some(vllm), _) => vllm.settings.clone(),
        (None, Some(simulator)) => simulator.settings.clone(),
        (None, None) => EngineSettings::default(),
    };
    let of_model = model.engine.as_ref().map_or_else(|| campaign.clone(), |own| campaign.overridden_by(own));
    let mut dataset = experiment.dataset.clone();
    if let Some(prompts) = prompts {
        dataset = dataset.with_prompts(prompts);
    }
    if let Some(random) = &mut dataset.random {
        random.input_tokens = input.into_iter().collect();
    }
    Condition {
        experiment: experiment.name.clone(),
        slug: String::new(),
        name: String::new(),
        model: model.name.clone(),
        engine: of_model.overridden_by(&EngineSettings { max_num_seqs, ..EngineSettings::default() }),
        dataset,
        load: LoadPoint {
            request_rate_milli: rate_milli,
            burstiness_milli: experiment.load.burstiness_milli.unwrap_or(POISSON_MILLI),
            max_concurrency: concurrency,
        },
        input_tokens: input,
        output_tokens: output,
        warmup_requests: experiment.warmup.requests,
        slo: experiment.slo,
        arms: Vec::new(),
        routers: Vec::new(),
        search: None,
    }
}

fn render(experiment: &Experiment, template: &str, condition: &Condition, model: &Model) -> Result<String, PlanError> {
    let fields = Fields {
        display_name: model.display_name(),
        model: &model.name,
        max_num_seqs: condition.engine.max_num_seqs,
        concurrency: condition.load.max_concurrency,
        rate_milli: condition.load.request_rate_milli,
        input: condition.input_tokens,
        output: condition.output_tokens,
    };
    names::render(template, &fields)
        .map_err(|problem| PlanError::Template { experiment: experiment.name.clone(), problem })
}

/// The name of a search's next point must differ from that of this one.
fn check_search_name(
    experiment: &Experiment,
    template: &str,
    condition: &Condition,
    model: &Model,
) -> Result<(), PlanError> {
    let mut next = condition.clone();
    next.load.max_concurrency = next.load.max_concurrency.map(|concurrency| concurrency.saturating_mul(2));
    if render(experiment, template, &next, model)? == condition.name {
        return Err(PlanError::ConditionName { experiment: experiment.name.clone(), name: next.name });
    }
    Ok(())
}

/// The point of a saturation search that follows its first one at another concurrency: named and numbered as if it
/// stood in the file. `None` if the search is not one of this spec's.
pub(super) fn search_point(
    spec: &BenchmarkCampaignSpec,
    known: &[Condition],
    first: &Condition,
    concurrency: u32,
) -> Option<Condition> {
    let experiment = spec.experiments.iter().find(|experiment| experiment.name == first.experiment)?;
    let model = spec.models.iter().find(|model| model.name == first.model)?;
    let template = names::template(experiment, &varying(experiment, &combinations(spec, experiment).ok()?));
    let mut point = first.clone();
    point.load.max_concurrency = Some(concurrency);
    point.name = render(experiment, &template, &point, model).ok()?;
    let slugs = known.iter().filter(|other| other.experiment == first.experiment).map(|other| other.slug.clone());
    point.slug = names::slug(&point.name, &slugs.collect());
    Some(point)
}
