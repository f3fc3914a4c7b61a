//! One campaign's own files: plan, campaign, decisions, ledger.

use std::sync::Arc;

use object_store::path::Path;
use serde::{Serialize, de::DeserializeOwned};
use teebench_api::plan::{
    Plan, RunId,
    next::{Decision, Log},
};

use super::{Shared, StoreError, objects::Objects};
use crate::store::{BOOTS_FILE, ledger::Entry, sha256_hex};

pub(super) const PLAN: &str = "plan.json";
pub(super) const CAMPAIGN: &str = "campaign.yaml";
pub(super) const DECISIONS: &str = "decisions.jsonl";
pub(super) const SUMMARY: &str = "summary.json";
pub(super) const REPORT: &str = "report.html";
pub(super) const SUMS: &str = "SHA256SUMS";
pub(super) const RUNS: &str = "runs";

/// The results of one campaign. Clones are the same campaign.
#[derive(Clone, Debug)]
pub struct CampaignStore {
    pub(super) shared: Arc<Shared>,
    pub(super) directory: String,
}

impl CampaignStore {
    pub(super) const fn new(shared: Arc<Shared>, directory: String) -> Self {
        Self { shared, directory }
    }

    /// Address of the campaign's directory, for people and for `status.results.storeUrl`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}/{}", self.shared.url, self.directory)
    }

    /// Begins the campaign: its plan, its file and an empty log of decisions. What was begun before is left as it is.
    ///
    /// # Errors
    /// The store refuses, or holds another plan for this campaign.
    pub async fn begin(&self, plan: &Plan, campaign_yaml: &[u8]) -> Result<(), StoreError> {
        let _alone = self.alone().await;
        let path = self.path(PLAN);
        if let Some(text) = self.objects().read(&path).await? {
            let (found, wanted) = (Plan::from_json(&text)?.digest(), plan.digest());
            let short = |digest: &str| digest.chars().take(12).collect();
            return if found == wanted {
                Ok(())
            } else {
                let directory = self.directory.clone();
                Err(StoreError::OtherPlan { directory, found: short(&found), wanted: short(&wanted) })
            };
        }
        // The plan makes a directory a campaign's, so it comes last.
        self.objects().write(&self.path(CAMPAIGN), campaign_yaml.to_vec()).await?;
        self.objects().write_new(&self.path(DECISIONS), Vec::new()).await?;
        self.objects().write(&path, plan.to_json()).await
    }

    /// The plan as it was begun; `None` of a campaign that was not.
    ///
    /// # Errors
    /// The store refuses, or the plan is not one that this program can continue.
    pub async fn plan(&self) -> Result<Option<Plan>, StoreError> {
        let text = self.objects().read(&self.path(PLAN)).await?;
        Ok(text.map(|text| Plan::from_json(&text)).transpose()?)
    }

    /// SHA-256 of the plan as it was begun, in hex.
    ///
    /// # Errors
    /// The store refuses, or the campaign was not begun.
    pub async fn plan_sha256(&self) -> Result<String, StoreError> {
        let text = self.objects().read(&self.path(PLAN)).await?;
        let text = text.ok_or_else(|| StoreError::NotBegun { directory: self.directory.clone() })?;
        // The file has the canonical bytes that the digest is of.
        Ok(sha256_hex(&text))
    }

    /// The decisions so far.
    ///
    /// # Errors
    /// The store refuses, or a line is none of this plan's.
    pub async fn decisions(&self, plan: &Plan) -> Result<Vec<Decision>, StoreError> {
        let text = self.objects().read(&self.path(DECISIONS)).await?.unwrap_or_default();
        Ok(Log::read(plan, &text)?.decisions)
    }

    /// Appends a decision; it is durable when this returns.
    ///
    /// # Errors
    /// The store refuses; the decision is then not there.
    pub async fn append_decision(&self, decision: &Decision) -> Result<(), StoreError> {
        self.append(DECISIONS, decision.to_line().as_bytes()).await
    }

    /// What the campaign's servers occupied, in order.
    ///
    /// # Errors
    /// The store refuses, or a line is no entry.
    pub async fn ledger(&self) -> Result<Vec<Entry>, StoreError> {
        self.lines(BOOTS_FILE, "boots").await
    }

    /// Appends an entry to the ledger; it is durable when this returns.
    ///
    /// # Errors
    /// The store refuses; the entry is then not there.
    pub async fn append_ledger(&self, entry: &Entry) -> Result<(), StoreError> {
        self.append(BOOTS_FILE, &line(entry)).await
    }

    /// Replaces the campaign's file: limits may change while it runs.
    ///
    /// # Errors
    /// The store refuses; the old file stands.
    pub async fn write_campaign_yaml(&self, campaign_yaml: &[u8]) -> Result<(), StoreError> {
        let _alone = self.alone().await;
        let path = self.path(CAMPAIGN);
        if self.objects().read(&path).await?.is_some_and(|present| present == campaign_yaml) {
            return Ok(());
        }
        self.objects().write(&path, campaign_yaml.to_vec()).await
    }

    pub(super) fn objects(&self) -> &Objects {
        &self.shared.objects
    }

    /// Path of an object of the campaign.
    pub(super) fn path(&self, relative: &str) -> Path {
        Path::from(format!("{}/{relative}", self.directory))
    }

    /// Path of a committed attempt.
    pub(super) fn attempt_path(&self, run: &RunId, attempt: u32) -> Path {
        self.path(&format!("{RUNS}/{}", run.attempt_path(attempt)))
    }

    /// Waits until nothing else writes the campaign's own files.
    pub(super) async fn alone(&self) -> impl Drop + use<> {
        self.shared.locks.hold(&self.directory).await
    }

    /// Appends by writing the whole file anew: stores of objects know no other way, and no crash leaves half a line. The
    /// files are short: a line for each decision, or for each arm of a boot.
    async fn append(&self, name: &str, line: &[u8]) -> Result<(), StoreError> {
        let _alone = self.alone().await;
        let path = self.path(name);
        let (present, version) = self.objects().read_version(&path).await?.unzip();
        let present = present.unwrap_or_default();
        let complete = complete_lines(&present);
        let mut text = Vec::with_capacity(complete.len() + line.len());
        text.extend_from_slice(complete);
        text.extend_from_slice(line);
        self.objects().replace(&path, text, version).await
    }

    async fn lines<T: DeserializeOwned>(&self, name: &str, what: &'static str) -> Result<Vec<T>, StoreError> {
        let path = self.path(name);
        let text = self.objects().read(&path).await?.unwrap_or_default();
        complete_lines(&text)
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| parse(&path, what, line))
            .collect()
    }
}

/// The text up to its last complete line: what follows was cut off, and nothing was done for it.
fn complete_lines(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    &text[..end]
}

fn line(value: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).expect("our own types serialise to JSON");
    line.push(b'\n');
    line
}

pub(super) fn parse<T: DeserializeOwned>(path: &Path, what: &'static str, text: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(text).map_err(|source| StoreError::Malformed { path: path.to_string(), what, source })
}
