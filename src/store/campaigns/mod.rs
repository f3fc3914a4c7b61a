//! The results tree of campaigns in an object store: the files of a local run, at `<namespace>/<name>.<uid>/`.
//!
//! An attempt is there when its `SHA256SUMS` stands, which is written last and only where there is none: whoever writes
//! it first has committed the attempt. What is uploaded before lies apart, under `.operator/staging/`.

mod campaign;
mod commit;
mod connection;
mod error;
mod listing;
mod locks;
mod now;
mod objects;
mod publish;
mod remote;
mod staging;
#[cfg(test)]
mod tests;

use std::{path::PathBuf, sync::Arc};

use object_store::path::Path;

pub use self::{
    campaign::CampaignStore,
    commit::{Commit, Committed, run_json},
    error::StoreError,
    listing::{CampaignEntry, ListedFile, Listing, Place, place},
    now::Shown,
    staging::{BlobWriter, Finished, Staging},
};
use self::{locks::Locks, objects::Objects};

/// Where the operator keeps what belongs to no campaign's results.
const OWN_DIRECTORY: &str = ".operator";
/// Digits of the uid in a campaign's directory.
const UID_DIGITS: usize = 8;

/// Names a campaign for all time: another one of the same name has another uid.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CampaignKey {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

impl CampaignKey {
    /// The campaign's directory in the store.
    #[must_use]
    pub fn directory(&self) -> String {
        let Self { namespace, name, uid } = self;
        format!("{namespace}/{name}.{}", uid.chars().take(UID_DIGITS).collect::<String>())
    }
}

/// The results of all campaigns. Clones share locks and store.
#[derive(Clone, Debug)]
pub struct ResultsStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    url: String,
    objects: Objects,
    locks: Locks,
}

impl ResultsStore {
    /// Opens the store at this address, for instance `file:///results`.
    ///
    /// # Errors
    /// The address is not understood, or its directory can be neither found nor made.
    pub fn open(url: &str) -> Result<Self, StoreError> {
        let objects = Objects::open(url)?;
        let url = url.trim_end_matches('/').to_owned();
        Ok(Self { shared: Arc::new(Shared { url, objects, locks: Locks::default() }) })
    }

    /// The results of one campaign.
    #[must_use]
    pub fn campaign(&self, key: &CampaignKey) -> CampaignStore {
        self.directory(key.directory())
    }

    /// The results in a directory that [`campaigns`](Self::campaigns) named.
    pub(in crate::store) fn directory(&self, directory: String) -> CampaignStore {
        CampaignStore::new(Arc::clone(&self.shared), directory)
    }

    /// The directory that the store is, if it is one. Nothing but durability and TLS keys may rest on it.
    #[must_use]
    pub fn local_root(&self) -> Option<&std::path::Path> {
        self.shared.objects.local_root()
    }

    /// Where the operator keeps what is its own, if the store is a directory.
    pub(in crate::store) fn own_directory(&self) -> Option<PathBuf> {
        self.local_root().map(|root| root.join(OWN_DIRECTORY))
    }

    /// Bytes that the store holds, staging and the operator's own included.
    ///
    /// # Errors
    /// The store cannot be listed.
    pub async fn bytes(&self) -> Result<u64, StoreError> {
        let objects = self.shared.objects.list(&Path::default()).await?;
        Ok(objects.iter().map(|object| object.size).sum())
    }
}
