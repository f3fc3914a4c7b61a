//! Every field of every kind at, below and above its bounds: a table made of the schemas of the definitions themselves,
//! each value sent to the API server by a dry run.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use futures::{StreamExt, stream};
use serde_json::{Map, Value, json};
use teebench_api::schema::crds;
use teebench_e2e::cluster::{Suite, side_by_side};

/// Requests under way at once.
const AT_ONCE: usize = 4;
/// A campaign, a run and a policy in which every other field is as it should be.
const BASES: [(&str, &str); 3] = [
    ("benchmarkcampaigns", include_str!("../../data/bounds/campaign.yaml")),
    ("benchmarkruns", include_str!("../../data/bounds/run.yaml")),
    ("routerpolicies", include_str!("../../data/bounds/policy.yaml")),
];

/// A value for one field, and whether the field's schema allows it.
struct Case {
    plural: &'static str,
    field: String,
    what: String,
    object: Value,
    is_in_bounds: bool,
}

/// What a value of the schema looks like that keeps every bound: enough for what a field needs beside it.
fn sample(schema: &Value) -> Value {
    if let Some(first) = schema["enum"].get(0) {
        return first.clone();
    }
    match schema["type"].as_str() {
        Some("string") => json!(text(schema, length(schema, "minLength").unwrap_or(1).max(1))),
        Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or(json!(1)),
        Some("boolean") => json!(false),
        Some("array") => {
            let count = length(schema, "minItems").unwrap_or(0);
            json!((0..count).map(|_| sample(&schema["items"])).collect::<Vec<_>>())
        }
        _ => {
            let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let fields: Map<String, Value> =
                required.map(|name| (name.to_owned(), sample(&schema["properties"][name]))).collect();
            Value::Object(fields)
        }
    }
}

fn length(schema: &Value, key: &str) -> Option<usize> {
    schema[key].as_u64().and_then(|length| usize::try_from(length).ok())
}

/// A text of this length that a field's pattern takes, by trying what the patterns of this API are made of.
fn text(schema: &Value, length: usize) -> String {
    let candidates = ["1", "a", "A", "0"].map(|unit| unit.repeat(length));
    let fixed = ["USD", "2026-07-01", "8Gi", "4", "a/b", "1.5", "2026-07-01T00:00:00Z"].map(str::to_owned);
    let digest = format!("a@sha256:{}", "0".repeat(64));
    let padded =
        [format!("a/{}", "b".repeat(length.saturating_sub(2))), format!("{}/b", "a".repeat(length.saturating_sub(2)))];
    let all = candidates.into_iter().chain(padded).chain(fixed).chain([digest]);
    let pattern =
        schema["pattern"].as_str().map(|pattern| regex::Regex::new(pattern).expect("the API's patterns are regular"));
    let fits = |text: &String| pattern.as_ref().is_none_or(|pattern| pattern.is_match(text));
    let mut fitting = all.filter(fits);
    fitting.clone().find(|text| text.chars().count() == length).or_else(|| fitting.next()).unwrap_or_default()
}

/// Values at and just beyond each bound of a leaf or list, with whether they are within it.
fn around(schema: &Value) -> Vec<(String, Value, bool)> {
    let mut values = Vec::new();
    let whole = |key: &str| schema.get(key).and_then(Value::as_f64);
    #[expect(clippy::cast_possible_truncation, reason = "the API's bounds are whole numbers below 2^53")]
    let integer = |value: f64| json!(value as i64);
    if let Some(minimum) = whole("minimum") {
        values.push((format!("{minimum}, the least"), integer(minimum), true));
        values.push((format!("below {minimum}"), integer(minimum - 1.0), false));
    }
    if let Some(maximum) = whole("maximum") {
        values.push((format!("{maximum}, the most"), integer(maximum), true));
        values.push((format!("above {maximum}"), integer(maximum + 1.0), false));
    }
    if schema["type"] == "string" && schema.get("enum").is_none() {
        if let Some(most) = length(schema, "maxLength") {
            let at = text(schema, most);
            if at.chars().count() == most {
                values.push((format!("{most} characters, the most"), json!(at), true));
            }
            values.push((format!("{} characters", most + 1), json!("a".repeat(most + 1)), false));
        }
        if length(schema, "minLength").is_some_and(|least| least > 0) {
            values.push(("no characters".to_owned(), json!(""), false));
        }
        if schema.get("pattern").is_some() {
            values.push(("what the pattern has not".to_owned(), json!("\u{7}!\u{7}"), false));
        }
    }
    if let Some(choices) = schema["enum"].as_array() {
        values.extend(choices.iter().map(|choice| (format!("{choice}"), choice.clone(), true)));
        values.push(("another word".to_owned(), json!("NoSuchWord"), false));
    }
    if schema["type"] == "array" {
        if let Some(most) = length(schema, "maxItems") {
            let many = (0..=most).map(|_| sample(&schema["items"])).collect::<Vec<_>>();
            values.push((format!("{} items", most + 1), json!(many), false));
        }
        if length(schema, "minItems").is_some_and(|least| least > 0) {
            values.push(("no items".to_owned(), json!([]), false));
        }
    }
    let other_type = if schema["type"] == "string" { json!(7) } else { json!("seven") };
    if schema["type"].is_string() && schema.get("x-kubernetes-int-or-string").is_none() {
        values.push(("another type".to_owned(), other_type, false));
    }
    values
}

/// A kind: its name in paths, the schema of its objects, and an object of it.
struct Kind {
    plural: &'static str,
    schema: Value,
    base: Value,
}

/// Walks a part of a kind's schema; fields that the object lacks are given a sample of what is around them.
fn walk(kind: &Kind, schema: &Value, path: &[String], cases: &mut Vec<Case>) {
    for (what, value, is_in_bounds) in around(schema) {
        let mut object = kind.base.clone();
        set(&mut object, path, value, &kind.schema);
        cases.push(Case { plural: kind.plural, field: dotted(path), what, object, is_in_bounds });
    }
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        walk(kind, inner, &[path, std::slice::from_ref(name)].concat(), cases);
    }
    if schema["items"].is_object() {
        walk(kind, &schema["items"], &[path, &["0".to_owned()]].concat(), cases);
    }
}

fn schema_of(plural: &str) -> Option<Value> {
    let definition = crds().into_iter().find(|definition| definition.spec.names.plural == plural)?;
    let schema = definition.spec.versions.into_iter().next()?.schema?.open_api_v3_schema?;
    serde_json::to_value(schema).ok()
}

/// Sets a value deep in an object; what is missing on the way is made with the fields that its schema requires.
fn set(object: &mut Value, path: &[String], value: Value, schema: &Value) {
    let Some((first, rest)) = path.split_first() else {
        *object = value;
        return;
    };
    let inner_schema = if first == "0" { &schema["items"] } else { &schema["properties"][first] };
    let make = || sample(inner_schema);
    let inner = if first == "0" {
        if object.as_array().is_none_or(Vec::is_empty) {
            *object = json!([make()]);
        }
        &mut object[0]
    } else {
        if object.get(first).is_none() {
            object[first] = make();
        }
        &mut object[first]
    };
    set(inner, rest, value, inner_schema);
}

fn dotted(path: &[String]) -> String {
    path.join(".").replace(".0", "[0]")
}

/// What the API server says to an object; nothing when it takes it.
async fn refusal(suite: &Suite, case: &Case) -> anyhow::Result<Option<String>> {
    let path = format!(
        "/apis/teebench.dev/v1alpha1/namespaces/{}/{}?dryRun=All&fieldValidation=Strict",
        suite.namespace, case.plural
    );
    let request = http::Request::post(path).header("Content-Type", "application/json");
    match suite.client.request_text(request.body(serde_json::to_vec(&case.object)?)?).await {
        Ok(_) => Ok(None),
        Err(kube::Error::Api(status)) => Ok(Some(status.message.clone())),
        Err(error) => Err(error.into()),
    }
}

/// Whether a refusal is of this very field: its schema's word, and not that of a rule that compares fields.
fn names(said: &str, field: &str) -> bool {
    said.contains(field) || field.rsplit('.').next().is_some_and(|last| said.contains(last.trim_end_matches("[0]")))
}

#[tokio::test]
async fn every_field_is_taken_at_its_bounds_and_refused_beyond_them_by_its_name() -> anyhow::Result<()> {
    side_by_side("crds", "bounds", async |suite| {
        let mut cases = Vec::new();
        for (plural, text) in BASES {
            let base = serde_yaml::from_str(text).with_context(|| plural.to_owned())?;
            let schema = schema_of(plural).context("a definition without a schema")?;
            let kind = Kind { plural, schema, base };
            walk(&kind, &kind.schema["properties"]["spec"], &["spec".to_owned()], &mut cases);
        }
        let answered: Vec<anyhow::Result<(Case, Option<String>)>> = stream::iter(cases)
            .map(async |case| {
                let said = refusal(&suite, &case).await?;
                Ok((case, said))
            })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        let mut faults = Vec::new();
        let mut counted: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for answer in answered {
            let (case, said) = answer?;
            let told = |verdict: &str| format!("{} {}: {}: {verdict}", case.plural, case.field, case.what);
            let verdict = match (&said, case.is_in_bounds) {
                (None, true) => "taken",
                (None, false) => {
                    faults.push(told("taken beyond its bounds"));
                    "wrong"
                }
                (Some(said), false) if names(said, &case.field) => "refused by name",
                (Some(said), false) => {
                    faults.push(told(&format!("refused without its name: {said}")));
                    "wrong"
                }
                // A value within a field's own bounds may still be refused by a rule that looks at several fields.
                (Some(said), true) if !said.contains(&format!("{}: Invalid value", case.field)) || is_of_rule(said) => {
                    "within, refused by a rule over several fields"
                }
                (Some(said), true) => {
                    faults.push(told(&format!("refused within its bounds: {said}")));
                    "wrong"
                }
            };
            *counted.entry((case.plural, verdict)).or_default() += 1;
        }
        for ((plural, verdict), count) in &counted {
            println!("{plural}: {count} {verdict}");
        }
        ensure!(faults.is_empty(), "{} faults\n{}", faults.len(), faults.join("\n"));
        let of =
            |verdict: &str| counted.iter().filter(|((_, of), _)| *of == verdict).map(|(_, count)| count).sum::<usize>();
        ensure!(of("taken") >= 150 && of("refused by name") >= 400, "only {counted:?}");
        Ok(())
    })
    .await
}

/// A rule's message opens with a path and ends with the mend after a semicolon; a schema's never has one.
fn is_of_rule(said: &str) -> bool {
    said.contains("; ")
}
