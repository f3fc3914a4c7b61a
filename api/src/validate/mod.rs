//! The one validator: a file, in memory, becomes a typed campaign with its policies, or a list of everything wrong
//! with it, each with its line, its field and the mend.
//!
//! The steps: limits and encoding, YAML with places (`tree`), the kind of each document (`kinds`), the schema of its
//! custom resource definition (`shape`) with its defaults, the definition's CEL rules (`rules`), the typed value,
//! and what no schema or rule can say (`meaning`).

mod diagnostics;
mod kinds;
mod meaning;
mod names;
mod rules;
mod scalar;
mod settings;
mod shape;
mod tree;
mod words;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::Read,
    path::Path,
};

use kube::core::cel::apply_defaults;
use serde::de::DeserializeOwned;

use self::{diagnostics::Finding, kinds::Kind, tree::Node};
pub use self::{
    diagnostics::{Diagnostic, Diagnostics, Position},
    meaning::{Problem, problems},
};
use crate::{
    campaign::BenchmarkCampaign,
    policy::{RouterPolicy, RouterPolicySpec},
};

/// Largest file that is read, in bytes: as much as the API server takes.
pub const MOST_BYTES: usize = 1 << 20;

/// A valid file: one campaign, with defaults, and the policies that its routers name.
#[derive(Clone, Debug, PartialEq)]
pub struct CampaignFile {
    /// The campaign.
    pub campaign: BenchmarkCampaign,
    /// The policies of the file by name.
    pub policies: BTreeMap<String, RouterPolicySpec>,
}

/// Reads and validates a file; at most [`MOST_BYTES`] and one more are read of it.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load_path(path: &Path) -> Result<CampaignFile, Diagnostics> {
    let name = path.display().to_string();
    let mut text = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MOST_BYTES as u64 + 1).read_to_end(&mut text))
        .map_err(|error| Diagnostics::unreadable(&name, format!("cannot be read: {error}")))?;
    load(&text, &name)
}

/// Validates the text of a file. `file_name` is what the diagnostics call it.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(text: &[u8], file_name: &str) -> Result<CampaignFile, Diagnostics> {
    let documents = decode(text).and_then(tree::parse).map_err(|finding| Diagnostics::new(file_name, vec![finding]))?;
    let mut reading = Reading::default();
    for document in &documents {
        reading.document(document);
    }
    reading.finish().map_err(|findings| Diagnostics::new(file_name, findings))
}

/// The bytes as text, when they can be a file of ours at all.
fn decode(bytes: &[u8]) -> Result<&str, Finding> {
    let refuse = |position: Position, message: String| Finding { position, path: String::new(), message };
    if bytes.len() > MOST_BYTES {
        let message = format!("the file is larger than {MOST_BYTES} bytes; a campaign is a few kilobytes of YAML");
        return Err(refuse(Position::START, message));
    }
    let valid = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
    };
    let foreign = valid.find(|c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\u{85}'));
    if valid.len() == bytes.len() && foreign.is_none() {
        return Ok(valid);
    }
    let before = &valid[..foreign.unwrap_or(valid.len())];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let position =
        Position { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 };
    Err(refuse(position, "no text of YAML in UTF-8; is it a binary file?".to_owned()))
}

/// A file of which some documents have been read.
#[derive(Default)]
struct Reading<'a> {
    findings: Vec<Finding>,
    /// The campaign's document, and its value when that is whole.
    campaign: Option<(&'a Node, Option<BenchmarkCampaign>)>,
    /// Names of all policies, whole or not, so that a reference to a faulty one is not a second fault.
    policy_names: BTreeSet<String>,
    policies: BTreeMap<String, RouterPolicySpec>,
    unidentified: usize,
}

impl<'a> Reading<'a> {
    fn document(&mut self, document: &'a Node) {
        let kind = match kinds::identify(document) {
            Ok(kind) => kind,
            Err(finding) => {
                self.unidentified += 1;
                self.findings.push(finding);
                return;
            }
        };
        if kind.name == kinds::CAMPAIGN.name {
            if self.campaign.is_some() {
                let message = "a file holds one BenchmarkCampaign; move this one to a file of its own";
                self.find(document, "kind", message);
                return;
            }
            let campaign = self.value(document, kind);
            self.campaign = Some((document, campaign));
        } else {
            let policy: Option<RouterPolicy> = self.value(document, kind);
            let name = document.get("metadata").and_then(|metadata| metadata.text("name"));
            if let Some(name) = name
                && !self.policy_names.insert(name.to_owned())
            {
                self.find(document, "metadata.name", "two RouterPolicies of the file share this name; rename one");
            }
            if let (Some(name), Some(policy)) = (name, policy) {
                self.policies.insert(name.to_owned(), policy.spec);
            }
        }
    }

    /// The typed value of a document, unless something was found in it.
    fn value<T: DeserializeOwned>(&mut self, document: &Node, kind: &Kind) -> Option<T> {
        let mut found = Vec::new();
        let value = shape::check(document, &kind.file_schema, "", &mut found);
        let whole = found.is_empty();
        let mut typed = None;
        if let Some(value) = value {
            let value = apply_defaults(&kind.schema, &value);
            let failed = rules::check(kind, &value, document, &found);
            found.extend(failed);
            if whole {
                match serde_json::from_value(value) {
                    Ok(value) => typed = Some(value),
                    Err(error) => found.push(Finding {
                        position: document.position,
                        path: String::new(),
                        message: format!("no {}: {error}", kind.name),
                    }),
                }
            }
        }
        self.findings.append(&mut found);
        typed
    }

    fn find(&mut self, document: &Node, path: &str, message: impl Into<String>) {
        self.findings.push(Finding { position: document.locate(path), path: path.to_owned(), message: message.into() });
    }

    fn finish(mut self) -> Result<CampaignFile, Vec<Finding>> {
        if let Some((document, Some(campaign))) = &self.campaign {
            let precise: Vec<Finding> = problems(&campaign.spec, &self.policy_names)
                .into_iter()
                .map(|Problem { path, message }| Finding { position: document.locate(&path), path, message })
                .collect();
            // A rule over a whole list cannot say which item it means. Where that is known here, it is said once.
            self.findings.retain(|finding| {
                !precise.iter().any(|other| {
                    let is_item =
                        finding.path.contains("[]") && rules::generalize(&other.path).starts_with(&finding.path);
                    is_item || other.path == finding.path
                })
            });
            self.findings.extend(precise);
        }
        if self.campaign.is_none() && self.unidentified == 0 {
            let message = "the file has no BenchmarkCampaign; add one".to_owned();
            self.findings.push(Finding { position: Position::START, path: String::new(), message });
        }
        match self.campaign {
            Some((_, Some(campaign))) if self.findings.is_empty() => {
                Ok(CampaignFile { campaign, policies: self.policies })
            }
            _ => Err(self.findings),
        }
    }
}
