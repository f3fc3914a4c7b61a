//! What the API server has recorded of requests: its audit log.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
};

use anyhow::Context;
use jiff::Timestamp;
use serde::{Deserialize, de::DeserializeOwned};

/// Hands each request of the log to `each`, the oldest first, and says whether the cluster keeps a log. What is recorded
/// of a request is taken as far as `T` asks for it; a line that is half written is left out.
///
/// # Errors
/// The log is there and cannot be read.
pub fn audited<T: DeserializeOwned>(mut each: impl FnMut(T)) -> anyhow::Result<bool> {
    let Some(newest) = std::env::var_os("TEEBENCH_AUDIT_LOG").map(PathBuf::from).filter(|path| path.exists()) else {
        return Ok(false);
    };
    for path in with_rotated(&newest)? {
        let file = File::open(&path).with_context(|| path.display().to_string())?;
        for line in BufReader::new(file).lines() {
            let line = line.with_context(|| path.display().to_string())?;
            if let Ok(request) = serde_json::from_str(&line) {
                each(request);
            }
        }
    }
    Ok(true)
}

/// The API server moves a log that has grown to 100 MB aside, as `audit-TIME.log`.
fn with_rotated(newest: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let directory = newest.parent().context("an audit log without a directory")?;
    let stem = newest.file_stem().context("an audit log without a name")?.to_string_lossy();
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(&format!("{stem}-")) && name.ends_with(".log") {
            paths.push(path);
        }
    }
    paths.sort();
    paths.push(newest.to_owned());
    Ok(paths)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    verb: String,
    object_ref: Option<Reference>,
    response_status: Option<Status>,
    stage_timestamp: Timestamp,
}

#[derive(Deserialize)]
struct Reference {
    resource: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    name: String,
    subresource: Option<String>,
}

#[derive(Deserialize)]
struct Status {
    code: u16,
}

/// By campaign, the milliseconds from the last word on a Job's status, which is its end, to the creation of the campaign's
/// next Job; none where no audit log is kept.
///
/// # Errors
/// The log cannot be read.
pub fn pauses_between_jobs_ms(namespace: &str) -> anyhow::Result<Option<BTreeMap<String, Vec<f64>>>> {
    let (mut created, mut ended) = (BTreeMap::new(), BTreeMap::new());
    let is_kept = audited(|Request { verb, object_ref, response_status, stage_timestamp: at }| {
        let Some(Reference { resource, namespace: place, name, subresource }) = object_ref else { return };
        // CAMPAIGN-rEPOCH
        let Some((campaign, epoch)) = name.rsplit_once("-r") else { return };
        let Some(epoch) = epoch.parse::<u32>().ok().filter(|_| resource == "jobs" && place == namespace) else {
            return;
        };
        let job = (campaign.to_owned(), epoch);
        match (verb.as_str(), subresource.as_deref(), response_status.map(|status| status.code)) {
            // An earlier campaign of this name had Jobs of the same names; the latest count.
            ("patch", None, Some(201)) => {
                ended.remove(&job);
                created.insert(job, at);
            }
            ("update", Some("status"), Some(200)) => {
                ended.insert(job, at);
            }
            _ => {}
        }
    })?;
    if !is_kept {
        return Ok(None);
    }
    let mut pauses: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for ((campaign, epoch), ended) in ended {
        if let Some(next) = created.get(&(campaign.clone(), epoch + 1)) {
            pauses.entry(campaign).or_default().push(next.duration_since(ended).as_secs_f64() * 1e3);
        }
    }
    Ok(Some(pauses))
}

/// By the nearest rank.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a rank among some thousands"
)]
pub fn quantile(ascending: &[f64], share: f64) -> f64 {
    let rank = (share * ascending.len() as f64).ceil() as usize;
    ascending.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}
