//! A campaign's results as `teebench fetch` brings them from the cluster, for a test that looks into the files.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::bail;
use teebench_api::files::evidence::Evidence;
use teebench_e2e::cluster::Suite;

/// The results, in a directory that goes with this.
pub struct Fetched {
    directory: tempfile::TempDir,
    campaign: String,
}

impl Fetched {
    /// Fetches the results of a campaign.
    pub async fn of(suite: &Suite, campaign: &str) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let out = directory.path().to_string_lossy().into_owned();
        suite.teebench(&["fetch", campaign, "--namespace", &suite.namespace, "--out", &out]).await?.well()?;
        Ok(Self { directory, campaign: campaign.to_owned() })
    }

    /// The directory above the campaign's, as subcommands take it.
    pub fn path(&self) -> String {
        self.directory.path().to_string_lossy().into_owned()
    }

    /// The campaign's directory.
    pub fn campaign(&self) -> PathBuf {
        self.directory.path().join(&self.campaign)
    }

    /// The directory of an arm's first run that was not routed.
    pub fn run(&self, arm: &str) -> anyhow::Result<PathBuf> {
        let end = Path::new(arm).join("direct/r1a1");
        let mut open = vec![self.campaign().join("runs")];
        while let Some(directory) = open.pop() {
            if directory.ends_with(&end) {
                return Ok(directory);
            }
            let below = fs::read_dir(&directory).into_iter().flatten().flatten().map(|entry| entry.path());
            open.extend(below.filter(|path| path.is_dir()));
        }
        bail!("no run of {arm} was fetched")
    }

    /// The evidence of that run's first server, before (`pre`) or after (`post`).
    pub fn evidence(&self, arm: &str, phase: &str) -> anyhow::Result<Evidence> {
        let file = self.run(arm)?.join(format!("servers/0/evidence/{phase}.json"));
        Ok(serde_json::from_slice(&fs::read(file)?)?)
    }
}
