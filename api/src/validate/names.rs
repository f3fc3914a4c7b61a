//! Names of conditions: known fields in braces, and no name twice in an experiment.

use std::collections::{BTreeMap, BTreeSet};

use super::{meaning::Problem, words};
use crate::campaign::{BenchmarkCampaignSpec, Experiment};

/// The fields that a condition's name may take up, as `conditionName` writes them.
const FIELDS: [&str; 7] = ["displayName", "model", "maxNumSeqs", "concurrency", "rate", "input", "output"];

/// Most conditions of one experiment; each is a block of runs for every repetition.
const MOST_CONDITIONS: usize = 4096;

/// Finds braces that hold no known field.
pub(super) fn placeholders(spec: &BenchmarkCampaignSpec, problems: &mut Vec<Problem>) {
    for (index, experiment) in spec.experiments.iter().enumerate() {
        let Some(template) = &experiment.condition_name else { continue };
        let path = format!("spec.experiments[{index}].conditionName");
        let Some(fields) = fields(template) else {
            problems.push(Problem::new(path, "a brace has no partner; write each field as in {displayName}"));
            continue;
        };
        for field in fields.into_iter().filter(|field| !FIELDS.contains(field)) {
            let mend = match words::nearest(field, FIELDS) {
                Some(near) => format!("did you mean {{{near}}}?"),
                None => format!("use one of {}", words::list(FIELDS)),
            };
            problems.push(Problem::new(&path, format!("{{{field}}} is no field of a condition; {mend}")));
        }
    }
}

/// Finds experiments of which two conditions have one name, or that have too many conditions.
pub(super) fn doubles(spec: &BenchmarkCampaignSpec, problems: &mut Vec<Problem>) {
    for (index, experiment) in spec.experiments.iter().enumerate() {
        let at = format!("spec.experiments[{index}]");
        let template = experiment.condition_name.as_deref();
        let named: BTreeSet<&str> = match template {
            Some(template) => fields(template).unwrap_or_default().into_iter().collect(),
            // What names a condition by default: the model as people read it, and every list with several values.
            None => FIELDS.into_iter().filter(|field| *field != "model").collect(),
        };
        if experiment.points.is_empty() {
            double_in_product(spec, experiment, &at, &named, problems);
        } else {
            double_in_points(spec, experiment, &at, &named, problems);
        }
    }
}

/// In a product, two conditions share a name exactly when a list with several values is not in the name.
fn double_in_product(
    spec: &BenchmarkCampaignSpec,
    experiment: &Experiment,
    at: &str,
    named: &BTreeSet<&str>,
    problems: &mut Vec<Problem>,
) {
    let models: Vec<&str> = match experiment.models.as_slice() {
        [] => spec.models.iter().map(|model| model.name.as_str()).collect(),
        some => some.iter().map(String::as_str).collect(),
    };
    let inputs = experiment.dataset.random.as_ref().map_or(0, |random| random.input_tokens.len());
    let lists = [
        ("maxNumSeqs", experiment.max_num_seqs.len()),
        ("concurrency", experiment.load.max_concurrency.len()),
        ("rate", experiment.load.request_rate_milli.len()),
        ("input", inputs),
        ("output", experiment.output_tokens.len()),
    ];
    let conditions = lists.iter().fold(models.len(), |product, (_, values)| product.saturating_mul((*values).max(1)));
    if conditions > MOST_CONDITIONS {
        problems.push(Problem::new(
            at,
            format!("has {conditions} conditions; at most {MOST_CONDITIONS} are allowed; shorten its lists"),
        ));
    }
    let display_names: BTreeSet<&str> = models.iter().map(|name| display_name(spec, name)).collect();
    let models_told_apart =
        named.contains("model") || (named.contains("displayName") && display_names.len() == models.len());
    // A search goes through concurrencies that no list holds.
    let searched = if experiment.load.saturation.is_some() { 2 } else { 1 };
    let mut missing: Vec<&str> = Vec::new();
    if models.len() > 1 && !models_told_apart {
        missing.push(if display_names.len() == models.len() { "displayName" } else { "model" });
    }
    missing.extend(
        lists
            .into_iter()
            .filter(|(field, values)| {
                let values = if *field == "concurrency" { (*values).max(searched) } else { *values };
                values > 1 && !named.contains(field)
            })
            .map(|(field, _)| field),
    );
    if !missing.is_empty() {
        let fields = missing.iter().map(|field| format!("{{{field}}}")).collect::<Vec<_>>().join(" and ");
        problems.push(Problem::new(
            format!("{at}.conditionName"),
            format!("several conditions would have one name; add {fields}"),
        ));
    }
}

fn double_in_points(
    spec: &BenchmarkCampaignSpec,
    experiment: &Experiment,
    at: &str,
    named: &BTreeSet<&str>,
    problems: &mut Vec<Problem>,
) {
    let listed_inputs = experiment.dataset.random.as_ref().map_or(&[][..], |random| &random.input_tokens);
    let mut first_by_name = BTreeMap::new();
    for (index, point) in experiment.points.iter().enumerate() {
        let shown = |field: &str, value: Option<u32>| value.filter(|_| named.contains(field));
        let model = named.contains("model").then_some(point.model.as_str());
        let display = named.contains("displayName").then(|| display_name(spec, &point.model));
        for input in values(point.input_tokens, listed_inputs) {
            for output in values(point.output_tokens, &experiment.output_tokens) {
                let name = (
                    (model, display),
                    shown("maxNumSeqs", point.max_num_seqs),
                    shown("concurrency", point.max_concurrency),
                    shown("rate", point.request_rate_milli),
                    shown("input", input),
                    shown("output", output),
                );
                if let Some(first) = first_by_name.insert(name, index) {
                    let other = if first == index {
                        "another of its own".to_owned()
                    } else {
                        format!("one of points[{first}]")
                    };
                    problems.push(Problem::new(
                        format!("{at}.points[{index}]"),
                        format!(
                            "gives a condition the name of {other}; change a value, or tell them apart in conditionName"
                        ),
                    ));
                    break;
                }
            }
        }
    }
}

/// What a point takes for a length: its own value, or each of the list's.
fn values(own: Option<u32>, listed: &[u32]) -> Vec<Option<u32>> {
    match (own, listed) {
        (Some(own), _) => vec![Some(own)],
        (None, []) => vec![None],
        (None, listed) => listed.iter().copied().map(Some).collect(),
    }
}

fn display_name<'a>(spec: &'a BenchmarkCampaignSpec, model: &'a str) -> &'a str {
    spec.models.iter().find(|known| known.name == model).map_or(model, |known| known.display_name())
}

/// The words in braces; nothing when a brace has no partner.
fn fields(template: &str) -> Option<Vec<&str>> {
    let mut fields = Vec::new();
    let mut rest = template;
    while let Some(brace) = rest.find(['{', '}']) {
        let inner = rest[brace..].strip_prefix('{')?;
        let end = inner.find(['{', '}'])?;
        rest = inner[end..].strip_prefix('}')?;
        fields.push(&inner[..end]);
    }
    Some(fields)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::fields;

    #[rstest]
    #[case::none("all", Some(vec![]))]
    #[case::two("{model}-{rate} x", Some(vec!["model", "rate"]))]
    #[case::empty("{}", Some(vec![""]))]
    #[case::open("{model", None)]
    #[case::close("model}", None)]
    #[case::nested("{a{b}}", None)]
    fn words_in_braces_are_fields(#[case] template: &str, #[case] expected: Option<Vec<&str>>) {
        assert_eq!(fields(template), expected);
    }
}
