//! What the definitions promise the API server and the reader of `kubectl explain`, and that `crds/` is up to date.

use std::path::Path;

use serde_json::{Value, json};
use teebench_api::schema::{crd_files, crds, crds_yaml};

/// Keys of JSON schema that a structural schema of the API server has no place for, or that we do without.
const FOREIGN: &[&str] =
    &["$ref", "anyOf", "oneOf", "allOf", "not", "nullable", "const", "title", "definitions", "examples"];

fn schemas() -> Vec<(String, Value)> {
    crds()
        .into_iter()
        .map(|crd| {
            let schema = crd.spec.versions[0].schema.as_ref().and_then(|schema| schema.open_api_v3_schema.clone());
            (crd.spec.names.kind, json!(schema.expect("every version has a schema")))
        })
        .collect()
}

/// Visits every schema with its path in general form.
fn visit(path: &str, schema: &Value, see: &mut dyn FnMut(&str, &Value)) {
    see(path, schema);
    for (name, child) in schema["properties"].as_object().into_iter().flatten() {
        visit(&format!("{path}.{name}"), child, see);
    }
    if schema["items"].is_object() {
        visit(&format!("{path}[]"), &schema["items"], see);
    }
    if schema["additionalProperties"].is_object() {
        visit(&format!("{path}[*]"), &schema["additionalProperties"], see);
    }
}

fn faults(check: impl Fn(&str, &Value) -> Option<String>) -> Vec<String> {
    let mut faults = Vec::new();
    for (kind, schema) in schemas() {
        visit("", &schema, &mut |path, schema| {
            faults.extend(check(path, schema).map(|fault| format!("{kind}{path}: {fault}")));
        });
    }
    faults
}

#[test]
fn every_value_is_bounded() {
    let found = faults(|_, schema| {
        let has = |key: &str| !schema[key].is_null();
        match schema["type"].as_str() {
            Some("string") if !has("maxLength") && !has("enum") => Some("maxLength is missing".into()),
            Some("integer") if !has("minimum") || !has("maximum") => Some("minimum or maximum is missing".into()),
            Some("array") if !has("maxItems") => Some("maxItems is missing".into()),
            Some("object") if has("additionalProperties") && !has("maxProperties") => {
                Some("maxProperties is missing".into())
            }
            Some("number") => Some("no floats in the API".into()),
            None => Some("type is missing".into()),
            _ => None,
        }
    });
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn every_field_has_a_sentence_of_bounded_length() {
    let found = faults(|path, schema| {
        // An item of a plain list, or a label's value, is described by its list; `metadata` by the API server.
        if path == ".metadata" || path.ends_with(']') && schema["type"] != "object" {
            return None;
        }
        let description = schema["description"].as_str().unwrap_or_default();
        let sentence = description.lines().next().unwrap_or_default();
        if !sentence.starts_with(|c: char| c.is_uppercase() || c.is_ascii_digit()) || !sentence.ends_with('.') {
            return Some(format!("the description is no sentence: {description:?}"));
        }
        (description.len() > 1000).then(|| format!("the description has {} bytes", description.len()))
    });
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn schemas_are_structural() {
    let found = faults(|_, schema| {
        let foreign = FOREIGN.iter().find(|key| !schema[**key].is_null());
        let format = schema["format"].as_str().filter(|format| !["int64", "date", "date-time"].contains(format));
        let list_type = schema["type"] == "array" && schema["x-kubernetes-list-type"].is_null();
        match (foreign, format) {
            (Some(key), _) => Some(format!("{key} has no place here")),
            (None, Some(format)) => Some(format!("the API server does not know the format {format}")),
            (None, None) => list_type.then(|| "x-kubernetes-list-type is missing".into()),
        }
    });
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn an_absent_list_or_option_stays_absent_so_that_rules_see_presence() {
    let found = faults(|path, schema| {
        let default = &schema["default"];
        let empty_list = default.as_array().is_some_and(Vec::is_empty) && path != ".spec.parity.allow";
        (empty_list || default == &Value::Null && schema.get("default").is_some())
            .then(|| "has an empty default".into())
    });
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn rules_name_their_field_and_compile() {
    for (kind, schema) in schemas() {
        let compiled = kube::core::cel::compile_schema(&schema);
        let broken = compiled.compilation_errors();
        let broken: Vec<String> = broken.into_iter().map(ToString::to_string).collect();
        assert_eq!(broken, Vec::<String>::new(), "{kind}");
    }
    let found = faults(|path, schema| {
        let rules = schema["x-kubernetes-validations"].as_array()?;
        rules.iter().find_map(|rule| {
            let message = rule["message"].as_str().unwrap_or_default();
            let Some((general, _)) = message.split_once(": ").filter(|(general, _)| !general.contains(' ')) else {
                // Rules of settings that stand at several places name the fields without a path.
                let names_a_field = schema["properties"].as_object()?.keys().any(|field| message.starts_with(field));
                return (!names_a_field).then(|| format!("the message names no field: {message:?}"));
            };
            let here = path.trim_start_matches('.');
            (!general.starts_with(here)).then(|| format!("the message speaks of {general}"))
        })
    });
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn definitions_are_the_same_at_every_call() {
    assert_eq!(crds_yaml(), crds_yaml());
    assert_eq!(crds_yaml().matches("\nkind: CustomResourceDefinition\n").count(), 3);
}

#[test]
fn the_checked_in_definitions_are_up_to_date() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds");
    for (name, yaml) in crd_files() {
        let checked_in = std::fs::read_to_string(directory.join(&name)).unwrap_or_default();
        assert!(checked_in == yaml, "crds/{name} is stale: run `teebench crds --out crds`");
    }
}
