//! What a campaign's results show now: its page and plots made of what is committed, while it runs and after.

use std::path::Path;

use teebench_analysis::{
    read,
    report::{self, Sources},
    summary::{self, Summary},
};
use tokio::task::spawn_blocking;

use super::{
    CampaignStore, StoreError,
    campaign::{PLAN, REPORT, SUMMARY},
};

/// Something that is made on demand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// `report.html`, of a campaign that has not ended.
    Page,
    /// `summary.json`, of a campaign that has not ended.
    Summary,
    /// `plots/<name>.svg`.
    Drawing(String),
    /// `plots/<name>.csv`.
    Numbers(String),
}

impl Shown {
    /// What a path names, if it is made on demand.
    #[must_use]
    pub fn of(path: &str) -> Option<Self> {
        match path {
            REPORT => Some(Self::Page),
            SUMMARY => Some(Self::Summary),
            _ => {
                let plot = path.strip_prefix("plots/")?;
                let drawing = plot.strip_suffix(".svg").map(|name| Self::Drawing(name.to_owned()));
                drawing.or_else(|| plot.strip_suffix(".csv").map(|name| Self::Numbers(name.to_owned())))
            }
        }
    }
}

impl CampaignStore {
    /// Makes one thing of what is committed; `None` where there is no such campaign or plot.
    ///
    /// # Errors
    /// The store refuses, or the results cannot be read.
    pub async fn shown_now(&self, shown: Shown) -> Result<Option<Vec<u8>>, StoreError> {
        if self.objects().size(&self.path(PLAN)).await?.is_none() {
            return Ok(None);
        }
        let (root, kept) = self.directory_on_disk().await?;
        let made = spawn_blocking(move || {
            let made = make(&root, &shown);
            drop(kept);
            made
        });
        made.await.map_err(|source| StoreError::CutOff { action: "summarising", source })?
    }
}

fn make(root: &Path, shown: &Shown) -> Result<Option<Vec<u8>>, StoreError> {
    let campaigns = read::campaigns(&[root.to_owned()])?;
    let summary: Summary = summary::summarise(&campaigns);
    let sources = Sources::read(&campaigns, root);
    let plot = |name: &str| report::plots(&summary, &sources).into_iter().find(|plot| plot.name == name);
    let text = match shown {
        Shown::Page => Some(report::html(&summary, &sources)),
        Shown::Summary => Some(summary.to_json()),
        Shown::Drawing(name) => plot(name).map(|plot| plot.svg),
        Shown::Numbers(name) => plot(name).map(|plot| plot.csv),
    };
    Ok(text.map(String::into_bytes))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("report.html", Some(Shown::Page))]
    #[case("summary.json", Some(Shown::Summary))]
    #[case("plots/ablation-ttft_p50.svg", Some(Shown::Drawing("ablation-ttft_p50".into())))]
    #[case("plots/ablation-ttft_p50.csv", Some(Shown::Numbers("ablation-ttft_p50".into())))]
    #[case("plots/ablation.exe", None)]
    #[case("plan.json", None)]
    fn page_summary_and_plots_are_made_on_demand(#[case] path: &str, #[case] expected: Option<Shown>) {
        assert_eq!(Shown::of(path), expected);
    }
}
