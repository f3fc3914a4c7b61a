//! The kinds of documents that a campaign's file may hold, each with its schema and rules.

use std::sync::LazyLock;

use kube::core::cel::{CompiledSchema, compile_schema};
use schemars::JsonSchema;
use serde_json::{Value, json};

use super::{
    diagnostics::{Finding, Position},
    tree::{Node, NodeValue},
    words,
};
use crate::{campaign::BenchmarkCampaign, policy::RouterPolicy, schema::structural_schema};

/// The one version of our API.
const API_VERSION: &str = "teebench.dev/v1alpha1";

/// A kind of document.
pub(super) struct Kind {
    pub name: &'static str,
    /// Schema of the definition, for defaults.
    pub schema: Value,
    /// The same with what a file may say beside it: `apiVersion`, `kind`, all of `metadata`.
    pub file_schema: Value,
    /// The definition's CEL rules.
    pub rules: CompiledSchema,
}

impl Kind {
    fn new<T: JsonSchema>(name: &'static str) -> Self {
        let schema = structural_schema::<T>();
        let mut file_schema = schema.clone();
        let anything = json!({"x-kubernetes-preserve-unknown-fields": true});
        let name_schema = &schema["properties"]["metadata"]["properties"]["name"];
        file_schema["properties"]["apiVersion"] = anything.clone();
        file_schema["properties"]["kind"] = anything.clone();
        // What the API server writes is looked over, so that the output of `kubectl get -o yaml` can be run again.
        file_schema["properties"]["status"] = anything.clone();
        file_schema["properties"]["metadata"] = json!({
            "type": "object",
            "description": "Name and labels of the object.",
            "required": ["name"],
            "properties": {
                "name": name_schema,
                "namespace": name_schema,
                "labels": {
                    "type": "object",
                    "maxProperties": 64,
                    "additionalProperties": {"type": "string", "maxLength": 63},
                },
                "annotations": {
                    "type": "object",
                    "maxProperties": 64,
                    "additionalProperties": {"type": "string", "maxLength": 262_144},
                },
                "creationTimestamp": anything,
                "finalizers": anything,
                "generation": anything,
                "managedFields": anything,
                "ownerReferences": anything,
                "resourceVersion": anything,
                "uid": anything,
            },
        });
        if let Some(required) = file_schema["required"].as_array_mut() {
            required.push(json!("metadata"));
        }
        let rules = compile_schema(&schema);
        Self { name, schema, file_schema, rules }
    }
}

/// The campaign itself.
pub(super) static CAMPAIGN: LazyLock<Kind> = LazyLock::new(|| Kind::new::<BenchmarkCampaign>("BenchmarkCampaign"));

/// A policy that its routers name.
pub(super) static POLICY: LazyLock<Kind> = LazyLock::new(|| Kind::new::<RouterPolicy>("RouterPolicy"));

/// The kind of a document.
///
/// # Errors
/// What to write in `kind` or `apiVersion` instead.
pub(super) fn identify(document: &Node) -> Result<&'static Kind, Finding> {
    let at = |path: &str| document.locate(path);
    let finding = |position: Position, path: &str, message: String| Finding { position, path: path.into(), message };
    if !matches!(document.value, NodeValue::Map(_)) {
        let message = "must have the fields apiVersion, kind, metadata and spec".to_owned();
        return Err(finding(document.position, "", message));
    }
    let known = [&*CAMPAIGN, &*POLICY];
    let names = || known.iter().map(|kind| kind.name);
    let kind = match document.text("kind") {
        None => {
            let message = format!("the field \"kind\" is missing; add it (one of {})", words::list(names()));
            return Err(finding(at("kind"), "", message));
        }
        Some(kind) => known.into_iter().find(|known| known.name == kind).ok_or_else(|| {
            let quoted = words::quote(kind);
            let message = match words::nearest(kind, names()) {
                Some(near) => format!("{quoted} is not known here; did you mean \"{near}\"?"),
                None => format!("{quoted} is not known here; a campaign's file holds {}", words::list(names())),
            };
            finding(at("kind"), "kind", message)
        })?,
    };
    match document.text("apiVersion") {
        Some(API_VERSION) => Ok(kind),
        Some(other) => {
            let message = format!("{} is not known here; write {API_VERSION}", words::quote(other));
            Err(finding(at("apiVersion"), "apiVersion", message))
        }
        None => {
            let message = format!("the field \"apiVersion\" is missing; add it ({API_VERSION})");
            Err(finding(at("apiVersion"), "", message))
        }
    }
}
