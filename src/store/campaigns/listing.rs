//! What of a campaign can be fetched: its own files, and those of committed attempts.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::Stream;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use super::{
    CampaignStore, OWN_DIRECTORY, ResultsStore, StoreError,
    campaign::{PLAN, RUNS, SUMS},
    publish::OWN_FILES,
};
use crate::store::{run_files::check_path, sha256_hex};

/// A campaign that the store has.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct CampaignEntry {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// First digits of its uid.
    pub uid: String,
}

/// The files of a campaign.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Listing {
    /// Whether the campaign's own `SHA256SUMS` is of the files as they are now. It is not while the campaign runs, and is
    /// then left out.
    pub sealed: bool,
    /// The files by path.
    pub files: Vec<ListedFile>,
}

/// One file of a campaign.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ListedFile {
    /// Path below the campaign's directory.
    pub path: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// SHA-256 of its content, in hex.
    pub sha256: String,
}

impl ResultsStore {
    /// The campaigns that the store has, those of one namespace or all.
    ///
    /// # Errors
    /// The store refuses.
    pub async fn campaigns(&self, namespace: Option<&str>) -> Result<Vec<CampaignEntry>, StoreError> {
        let objects = &self.shared.objects;
        let namespaces = match namespace {
            Some(namespace) => vec![namespace.to_owned()],
            None => objects.directories(&Path::default()).await?,
        };
        let mut found = Vec::new();
        for namespace in namespaces.into_iter().filter(|name| name != OWN_DIRECTORY) {
            for directory in objects.directories(&Path::from(namespace.as_str())).await? {
                let Some((name, uid)) = directory.rsplit_once('.') else { continue };
                if objects.size(&Path::from(format!("{namespace}/{directory}/{PLAN}"))).await?.is_some() {
                    let (name, uid) = (name.to_owned(), uid.to_owned());
                    found.push(CampaignEntry { namespace: namespace.clone(), name, uid });
                }
            }
        }
        Ok(found)
    }
}

impl CampaignStore {
    /// The campaign's files; `None` where there is no such campaign.
    ///
    /// # Errors
    /// The store refuses.
    pub async fn listing(&self) -> Result<Option<Listing>, StoreError> {
        if self.objects().size(&self.path(PLAN)).await?.is_none() {
            return Ok(None);
        }
        let mut files = Vec::new();
        for name in OWN_FILES {
            files.extend(self.hashed(name).await?);
        }
        let sums = self.objects().read(&self.path(SUMS)).await?;
        let sealed = match &sums {
            Some(sums) => *sums == self.present_sums().await?,
            None => false,
        };
        if sealed {
            files.extend(self.hashed(SUMS).await?);
        }
        files.extend(self.files_of_runs().await?);
        files.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(Some(Listing { sealed, files }))
    }

    /// A file that [`listing`](Self::listing) may name, in pieces, with its length; `None` for anything else.
    ///
    /// # Errors
    /// The store refuses.
    pub async fn read_file(
        &self,
        relative: &str,
    ) -> Result<Option<(u64, impl Stream<Item = object_store::Result<Bytes>> + use<>)>, StoreError> {
        match place(relative) {
            None => return Ok(None),
            Some(Place::Campaign) => {}
            Some(Place::Attempt(attempt)) => {
                let sums = self.file(&format!("{attempt}/{SUMS}"));
                if self.objects().size(&sums).await?.is_none() {
                    return Ok(None);
                }
            }
        }
        self.objects().stream(&self.file(relative)).await
    }

    async fn hashed(&self, name: &str) -> Result<Option<ListedFile>, StoreError> {
        let content = self.objects().read(&self.path(name)).await?;
        Ok(content.map(|content| listed(name.to_owned(), &content)))
    }

    async fn files_of_runs(&self) -> Result<Vec<ListedFile>, StoreError> {
        let own = format!("{}/", self.directory);
        let objects = self.objects().list(&self.path(RUNS)).await?;
        let sizes: BTreeMap<&str, u64> =
            objects.iter().map(|object| (object.location.as_ref().trim_start_matches(&own), object.size)).collect();
        let mut files = Vec::new();
        let suffix = format!("/{SUMS}");
        for attempt in sizes.keys().filter_map(|path| path.strip_suffix(&suffix)) {
            let path = self.file(attempt);
            let Some((sums, text)) = self.read_files(&path).await? else { continue };
            files.push(listed(format!("{attempt}/{SUMS}"), &text));
            files.extend(sums.iter().filter_map(|(file, sum)| {
                let path = format!("{attempt}/{file}");
                let bytes = *sizes.get(path.as_str())?;
                Some(ListedFile { path, bytes, sha256: sum.to_owned() })
            }));
        }
        Ok(files)
    }
}

fn listed(path: String, content: &[u8]) -> ListedFile {
    ListedFile { path, bytes: content.len() as u64, sha256: sha256_hex(content) }
}

/// Where a file of the results tree lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// Beside the runs.
    Campaign,
    /// In the attempt with this path.
    Attempt(&'a str),
}

/// Where the file of this path lies; `None` of a path that no file of a results tree has. What passes stays below the
/// campaign's directory.
pub fn place(relative: &str) -> Option<Place<'_>> {
    if relative == SUMS || OWN_FILES.contains(&relative) {
        return Some(Place::Campaign);
    }
    // runs/<experiment>/<condition>/<arm>/<router>/<attempt>
    let (end, _) = relative.match_indices('/').nth(5)?;
    let (attempt, file) = (&relative[..end], &relative[end + 1..]);
    let plain = |part: &str| {
        !part.starts_with('.')
            && !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    let known = attempt.starts_with("runs/") && attempt.split('/').all(plain);
    (known && (file == SUMS || check_path(file).is_ok())).then_some(Place::Attempt(attempt))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("plan.json", Some(Place::Campaign))]
    #[case("SHA256SUMS", Some(Place::Campaign))]
    #[case("runs/e/c/a/r/r1a1/run.json", Some(Place::Attempt("runs/e/c/a/r/r1a1")))]
    #[case("runs/e/c/a/r/r1a1/SHA256SUMS", Some(Place::Attempt("runs/e/c/a/r/r1a1")))]
    #[case("runs/e/c/a/r/r1a1/servers/0/evidence/pre.json", Some(Place::Attempt("runs/e/c/a/r/r1a1")))]
    #[case("runs/e/c/a/r/run.json", None)]
    #[case("runs/e/c/../r/r1a1/run.json", None)]
    #[case("runs/../../../../../etc/passwd.json", None)]
    #[case("runs/e/c/a/r/r1a1/../../../../../../plan.json", None)]
    #[case("../other.12345678/plan.json", None)]
    #[case(".operator/tls/ca.key", None)]
    #[case("/plan.json", None)]
    #[case("", None)]
    fn only_files_of_the_tree_have_a_place(#[case] path: &str, #[case] expected: Option<Place<'_>>) {
        assert_eq!(place(path), expected);
    }
}
