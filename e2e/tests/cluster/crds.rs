//! The custom resources on a real API server: what it takes and refuses, and in which words.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use anyhow::{Context, ensure};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use serde_json::Value;
use teebench_api::validate::{Diagnostics, load};
use teebench_e2e::cluster::{Said, Suite, eventually, side_by_side};

const CRDS: [&str; 3] = ["benchmarkcampaigns", "benchmarkruns", "routerpolicies"];

fn yaml_files(directory: &str) -> anyhow::Result<Vec<(String, String)>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let mut files = Vec::new();
    for entry in fs::read_dir(&directory).with_context(|| directory.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            files.push((name, fs::read_to_string(&path)?));
        }
    }
    files.sort();
    Ok(files)
}

/// Gives each document of a file to the API server as it stands, by a strict dry run: what a document is refused for.
async fn refusals(suite: &Suite, text: &str) -> anyhow::Result<Vec<String>> {
    let mut refusals = Vec::new();
    let is_document = |part: &&str| part.lines().any(|line| !line.trim().is_empty() && !line.starts_with('#'));
    for document in text.split("\n---\n").filter(is_document) {
        let kind = document.lines().find_map(|line| line.strip_prefix("kind: ")).unwrap_or_default();
        let plural = if kind.trim() == "RouterPolicy" { "routerpolicies" } else { "benchmarkcampaigns" };
        let path = format!(
            "/apis/teebench.dev/v1alpha1/namespaces/{}/{plural}?dryRun=All&fieldValidation=Strict",
            suite.namespace
        );
        let request = http::Request::post(path).header("Content-Type", "application/yaml");
        // The server refuses a namespace that is not the one of the request.
        let lines = document.lines().filter(|line| !line.starts_with("  namespace: "));
        let body = lines.collect::<Vec<_>>().join("\n").into_bytes();
        match suite.client.request_text(request.body(body)?).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) => refusals.push(status.message),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(refusals)
}

/// The messages of all rules of the definitions, as far as they are fixed.
async fn rule_messages(suite: &Suite) -> anyhow::Result<BTreeSet<String>> {
    let definitions: Api<CustomResourceDefinition> = Api::all(suite.client.clone());
    let mut messages = BTreeSet::new();
    for name in CRDS {
        let definition = serde_json::to_value(definitions.get(&format!("{name}.teebench.dev")).await?)?;
        collect_messages(&definition, &mut messages);
    }
    Ok(messages)
}

fn collect_messages(value: &Value, messages: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let rules = if key == "x-kubernetes-validations" { value.as_array() } else { None };
                let of_rules = rules.into_iter().flatten().filter_map(|rule| rule["message"].as_str());
                messages.extend(of_rules.map(str::to_owned));
                collect_messages(value, messages);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_messages(item, messages)),
        _ => {}
    }
}

/// The rules that may have given each diagnostic; nothing unless all are of rules.
fn rules_of_all<'a>(diagnostics: &Diagnostics, rules: &'a BTreeSet<String>) -> Vec<Vec<&'a str>> {
    let of_one = |message: &str| rules.iter().map(String::as_str).filter(|rule| is_of_rule(message, rule)).collect();
    let all: Vec<Vec<&str>> = diagnostics.list().iter().map(|diagnostic| of_one(&diagnostic.message)).collect();
    if all.iter().any(Vec::is_empty) { Vec::new() } else { all }
}

/// Whether a local message is that of a rule: a rule's opens with the field in general form, and the local one tells
/// apart which field of a list it was.
fn is_of_rule(message: &str, rule: &str) -> bool {
    let without_field = rule.split_once(": ").filter(|(field, _)| !field.contains(' ')).map_or(rule, |(_, rest)| rest);
    message == rule || message == without_field
}

#[tokio::test]
async fn the_definitions_are_taken_whole_and_their_rules_are_cheap_enough() -> anyhow::Result<()> {
    side_by_side("crds", "definitions", async |suite| {
        let definitions: Api<CustomResourceDefinition> = Api::all(suite.client.clone());
        for name in CRDS {
            let definition = definitions.get(&format!("{name}.teebench.dev")).await?;
            // A rule over the cost limit, or a schema that is not structural, would keep it from being established.
            let conditions = definition.status.and_then(|status| status.conditions).unwrap_or_default();
            let holding: Vec<&str> =
                conditions.iter().filter(|found| found.status == "True").map(|found| found.type_.as_str()).collect();
            ensure!(holding.contains(&"Established") && holding.contains(&"NamesAccepted"), "{name}: {holding:?}");
            ensure!(!holding.contains(&"NonStructuralSchema"), "{name}: {holding:?}");
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn every_sample_and_every_good_file_is_taken_by_the_api_server() -> anyhow::Result<()> {
    side_by_side("crds", "samples", async |suite| {
        let mut faults = Vec::new();
        for directory in ["../manifests/samples", "../api/tests/corpus/good", "campaigns"] {
            for (name, text) in yaml_files(directory)? {
                faults.extend(refusals(&suite, &text).await?.into_iter().map(|said| format!("{name}: {said}")));
            }
        }
        ensure!(faults.is_empty(), "{}", faults.join("\n"));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_is_refused_locally_is_refused_by_the_api_server_with_the_same_words() -> anyhow::Result<()> {
    side_by_side("crds", "corpus", async |suite| {
        let rules = rule_messages(&suite).await?;
        let mut faults = Vec::new();
        let (mut refused, mut by_rule) = (0, 0);
        for (name, text) in yaml_files("../api/tests/corpus/bad")? {
            // What is wrong between documents, or in the text alone, no API server sees.
            if text.lines().any(|line| line.starts_with("# local:")) {
                continue;
            }
            let diagnostics = load(text.as_bytes(), &name).err().context("a bad file was taken locally")?;
            let said = refusals(&suite, &text).await?.join("\n");
            if said.is_empty() {
                faults.push(format!("{name}: taken by the API server, and refused locally:\n{diagnostics}"));
                continue;
            }
            refused += 1;
            // The API server looks at rules only after the schema, whose faults it tells in words of its own.
            for words in rules_of_all(&diagnostics, &rules) {
                by_rule += 1;
                if !words.iter().any(|rule| said.contains(*rule)) {
                    faults.push(format!("{name}: locally\n{diagnostics}\nby the API server \"{said}\""));
                }
            }
        }
        println!("{refused} files refused by both, {by_rule} times by a rule of equal words");
        ensure!(refused >= 50 && by_rule >= 20, "only {refused} files and {by_rule} rules were tried");
        ensure!(faults.is_empty(), "{} faults\n{}", faults.len(), faults.join("\n\n"));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn every_field_is_explained_by_kubectl() -> anyhow::Result<()> {
    side_by_side("crds", "explain", async |suite| {
        for (field, words) in [
            ("benchmarkcampaign.spec.engine.vllm.image", "digest"),
            ("benchmarkcampaign.spec.arms.tee", "Undeclared"),
            ("bc.spec.experiments.load.requestRateMilli", "1,000 seconds"),
            ("bc.status.progress", "runs"),
            ("br.spec.epoch", "campaign"),
            ("rp.spec.hashRadixTree.loadBalancing", "LatencyFactor"),
        ] {
            // The API server takes a moment to publish definitions that were just applied.
            let said = eventually(field, Duration::from_secs(60), async || {
                suite.kubectl(&["explain", field]).await.and_then(Said::well).map_err(|error| format!("{error:#}"))
            })
            .await?;
            ensure!(said.contains("DESCRIPTION") && !said.contains("<empty>"), "{field}:\n{said}");
            ensure!(said.contains(words), "{field} does not speak of \"{words}\":\n{said}");
        }
        Ok(())
    })
    .await
}
