//! Fetching a campaign's results from the cluster: found by name, copied file by file, checked against their sums.

mod download;
mod error;
mod find;
mod results;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use self::download::Download;
pub use self::{error::FetchError, results::Results};

/// How often the list is asked for again when files changed while they were copied.
const ROUNDS: usize = 4;

/// What to fetch, and where to.
#[derive(Clone, Debug)]
pub struct Order {
    /// Namespace of the campaign.
    pub namespace: String,
    /// Its name.
    pub campaign: String,
    /// First digits of its uid, when the name alone does not tell.
    pub uid: Option<String>,
    /// Directory for the results; the campaign's own directory lies in it.
    pub out: PathBuf,
}

/// What was fetched.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The campaign's directory.
    pub root: PathBuf,
    /// Whether the campaign's own sums cover it.
    pub sealed: bool,
    /// Files that were copied.
    pub copied: usize,
    /// Files that were there already.
    pub kept: usize,
    /// Bytes that were copied.
    pub bytes: u64,
}

impl Fetched {
    /// What was done, in a line.
    pub fn counts(&self) -> String {
        let Self { copied, kept, bytes, .. } = self;
        format!("files:   {copied} copied ({}), {kept} were there", indicatif::HumanBytes(*bytes))
    }
}

/// Fetches a campaign's results.
///
/// # Errors
/// The campaign is not found, the service does not answer, or the directory cannot be written. What was copied so far is
/// whole and stays.
pub async fn fetch(results: &Results, order: &Order) -> Result<Fetched, FetchError> {
    let directory = find::directory(results, order).await?;
    let root = order.out.join(&order.campaign);
    let mut download = Download::new(results, directory, root);
    for _ in 1..ROUNDS {
        match download.round().await {
            // A file that a running campaign has changed since it was listed.
            Err(FetchError::Changed { path }) => tracing::info!(path, "changed while it was copied; asking again"),
            ended => return ended,
        }
    }
    download.round().await
}
