//! The upload port: committing an attempt from the files that were uploaded.

use std::sync::Arc;

use axum::{
    Json,
    body::{Body, to_bytes},
    extract::State,
};
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use teebench_api::files::run::{RunFile, Validity, Verdict};
use tokio::time::timeout;

use super::{
    AttemptIdentity, Service,
    refusal::{Refusal, RefusalCode},
};
use crate::store::{
    CampaignStore, Commit, Committed, RunFiles,
    campaigns::{Staging, run_json},
};

/// The answer to a commit.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct CommitAnswer {
    /// Path of the attempt below `runs/`.
    pub attempt: String,
    /// Whether it counts.
    pub verdict: Verdict,
    /// SHA-256 of its `SHA256SUMS`, in hex.
    pub sums_sha256: String,
}

/// Commits the attempt from the text of its `SHA256SUMS`.
pub async fn commit(
    State(service): State<Arc<Service>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<CommitAnswer>, Refusal> {
    let attempt = service.attempt_of(&headers).await?;
    let text = list(&service, body).await?;
    let files = RunFiles::parse(&text, service.limits.attempt_files)
        .map_err(|error| Refusal::new(RefusalCode::BadList, error.to_string()))?;
    // A client that goes away does not leave a commit half done.
    let done = tokio::spawn(async move { service.commit(&attempt, files).await });
    done.await
        .unwrap_or_else(|error| Err(Refusal::new(RefusalCode::Unavailable, format!("cut off: {error}"))))
        .map(Json)
}

async fn list(service: &Service, body: Body) -> Result<String, Refusal> {
    let most = service.limits.list_bytes();
    let bytes = match timeout(service.limits.body_timeout, to_bytes(body, most)).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(error)) => {
            let message = format!("the list could not be read, or has over {most} bytes: {error}");
            return Err(Refusal::new(RefusalCode::TooLarge, message));
        }
        Err(_) => return Err(Refusal::new(RefusalCode::TooSlow, "the list comes too slowly")),
    };
    String::from_utf8(bytes.into()).map_err(|_| Refusal::new(RefusalCode::BadList, "SHA256SUMS: not UTF-8"))
}

impl Service {
    async fn commit(&self, attempt: &AttemptIdentity, files: RunFiles) -> Result<CommitAnswer, Refusal> {
        let AttemptIdentity { campaign: _, run, attempt: number, epoch: _ } = attempt;
        let campaign = self.campaign(attempt);
        let _alone = campaign.alone_with(run, *number).await;
        if let Some(committed) = campaign.committed_attempt(run, *number).await? {
            return self.again(attempt, &campaign, &files, &committed).await;
        }
        let staging = campaign.staging(run, *number);
        self.check_presence(&staging, &files).await?;
        let mut run_file = self.run_file(attempt, &campaign, &staging, &files).await?;
        let replaced = self.attempts.broken_off(attempt).map(|reason| {
            run_file.validity = Validity::broken_off(reason);
            run_json(&run_file)
        });
        match campaign.commit_staged(run, *number, files.clone(), replaced).await? {
            Commit::Won(committed) => {
                let path = run.attempt_path(*number);
                tracing::info!(campaign = %attempt.campaign.directory(), attempt = path, verdict = ?committed.run.validity.validity, "committed");
                self.attempts.committed(attempt, &committed);
                Ok(answer(&committed))
            }
            Commit::Lost(committed) => self.again(attempt, &campaign, &files, &committed).await,
        }
    }

    /// A commit of what is committed: granted when it is the same, whatever became of the verdict.
    async fn again(
        &self,
        attempt: &AttemptIdentity,
        campaign: &CampaignStore,
        files: &RunFiles,
        committed: &Committed,
    ) -> Result<CommitAnswer, Refusal> {
        let present = campaign.committed_files(&attempt.run, attempt.attempt).await?.unwrap_or_default();
        let same_verdict = present.sum_of("run.json") == files.sum_of("run.json");
        let replaced = self.attempts.broken_off(attempt).is_some() && committed.run.validity.validity != Verdict::Valid;
        if present.same_but_for_the_verdict(files) && (same_verdict || replaced) {
            return Ok(answer(committed));
        }
        let why = match committed.run.validity.reasons.first() {
            Some(reason) => format!(": {}", reason.message),
            None => String::new(),
        };
        let message = format!("the attempt was committed before as {:?}{why}", committed.run.validity.validity);
        Err(Refusal::new(RefusalCode::Committed, message))
    }

    async fn check_presence(&self, staging: &Staging, files: &RunFiles) -> Result<(), Refusal> {
        let mut missing = Vec::new();
        let mut total = 0_u64;
        for (_, sum) in files.iter() {
            match staging.size(sum).await? {
                Some(bytes) => total = total.saturating_add(bytes),
                None => missing.push(sum.to_owned()),
            }
        }
        if !missing.is_empty() {
            let message = format!("{} of {} files were not uploaded", missing.len(), files.iter().count());
            return Err(Refusal { code: RefusalCode::Missing, message, missing });
        }
        if total > self.limits.attempt_bytes {
            let message = format!("{total} bytes; an attempt may have {}", self.limits.attempt_bytes);
            return Err(Refusal::new(RefusalCode::TooLarge, message));
        }
        Ok(())
    }

    /// The uploaded `run.json`, when it is of this attempt.
    async fn run_file(
        &self,
        attempt: &AttemptIdentity,
        campaign: &CampaignStore,
        staging: &Staging,
        files: &RunFiles,
    ) -> Result<RunFile, Refusal> {
        let refuse = |message: String| Refusal::new(RefusalCode::OtherAttempt, message);
        let sum = files.sum_of("run.json").unwrap_or_default();
        if staging.size(sum).await?.is_some_and(|bytes| bytes > self.limits.run_file_bytes) {
            let message = format!("run.json has over {} bytes", self.limits.run_file_bytes);
            return Err(Refusal::new(RefusalCode::TooLarge, message));
        }
        let text = staging.read(sum).await?.unwrap_or_default();
        let run: RunFile =
            serde_json::from_slice(&text).map_err(|error| refuse(format!("run.json is no run file: {error}")))?;
        let AttemptIdentity { campaign: key, run: id, attempt: number, epoch } = attempt;
        let expected = id.attempt_path(*number);
        let found = run.run.attempt_path(run.attempt);
        if (&run.run, run.attempt, run.epoch, &run.campaign) != (id, *number, *epoch, &key.name) {
            return Err(refuse(format!(
                "run.json is of {found}, epoch {}, of campaign {}; this pod executes {expected}, epoch {epoch}, of {}",
                run.epoch, run.campaign, key.name
            )));
        }
        let plan_sha256 = campaign.plan_sha256().await?;
        if run.plan_sha256 != plan_sha256 {
            return Err(refuse(format!(
                "run.json is of the plan {}, the campaign's is {plan_sha256}",
                run.plan_sha256
            )));
        }
        Ok(run)
    }
}

fn answer(committed: &Committed) -> CommitAnswer {
    CommitAnswer {
        attempt: committed.run.run.attempt_path(committed.run.attempt),
        verdict: committed.run.validity.validity,
        sums_sha256: committed.sums_sha256.clone(),
    }
}
