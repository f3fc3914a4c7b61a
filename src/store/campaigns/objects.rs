//! Objects by their paths: read, written whole, listed. A write that has returned is durable, and readers see the old
//! content or the new, never a part.

use std::{fs, io, path::PathBuf, sync::Arc};

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::{
    Error, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, UpdateVersion, WriteMultipart,
    local::LocalFileSystem, path::Path,
};
use reqwest::Url;

use super::{StoreError, remote};

/// Parts of a streamed object in a directory; a remote store takes none under 5 MiB.
const LOCAL_PART_BYTES: usize = 1 << 20;
const REMOTE_PART_BYTES: usize = 8 << 20;

/// What an object was when it was read.
#[derive(Clone, Debug)]
pub struct Version(UpdateVersion);

/// A store of objects.
#[derive(Clone, Debug)]
pub struct Objects {
    store: Arc<dyn ObjectStore>,
    local_root: Option<PathBuf>,
}

impl Objects {
    /// Opens the store at this address, for instance `file:///results`; its directory is made when it is not there.
    pub fn open(url: &str) -> Result<Self, StoreError> {
        let refuse = |reason: String| StoreError::Url { url: url.to_owned(), reason };
        let parsed = Url::parse(url)
            .map_err(|error| refuse(format!("{error}; give it like file:///results or s3://bucket/prefix")))?;
        if parsed.scheme() != "file" {
            return Ok(Self { store: remote::open(&parsed).map_err(refuse)?, local_root: None });
        }
        let root = parsed.to_file_path().map_err(|()| refuse("no absolute path; give it as file:///DIR".to_owned()))?;
        fs::create_dir_all(&root).map_err(|error| refuse(format!("cannot be made: {error}; mend permissions")))?;
        let files = LocalFileSystem::new_with_prefix(&root).map_err(|error| refuse(error.to_string()))?;
        let local_root = fs::canonicalize(&root).map_err(|error| refuse(error.to_string()))?;
        Ok(Self { store: Arc::new(files.with_fsync(true)), local_root: Some(local_root) })
    }

    /// The directory that the store is, if it is one.
    pub fn local_root(&self) -> Option<&std::path::Path> {
        self.local_root.as_deref()
    }

    /// The file that an object is, if the store is a directory.
    pub fn local_path(&self, path: &Path) -> Option<PathBuf> {
        self.local_root.as_ref().map(|root| root.join(path.as_ref()))
    }

    /// An object's content; `None` where there is no such object.
    pub async fn read(&self, path: &Path) -> Result<Option<Bytes>, StoreError> {
        let fail = |source| unavailable("read", path, source);
        match self.store.get(path).await {
            Ok(found) => found.bytes().await.map(Some).map_err(fail),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(source) => Err(fail(source)),
        }
    }

    /// An object's content in pieces, with its length; `None` where there is no such object.
    pub async fn stream(
        &self,
        path: &Path,
    ) -> Result<Option<(u64, impl futures::Stream<Item = object_store::Result<Bytes>> + use<>)>, StoreError> {
        match self.store.get(path).await {
            Ok(found) => Ok(Some((found.meta.size, found.into_stream()))),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(source) => Err(unavailable("read", path, source)),
        }
    }

    /// An object's length in bytes; `None` where there is no such object.
    pub async fn size(&self, path: &Path) -> Result<Option<u64>, StoreError> {
        match self.store.head(path).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(source) => Err(unavailable("look at", path, source)),
        }
    }

    /// Writes an object as a whole.
    pub async fn write(&self, path: &Path, content: impl Into<PutPayload>) -> Result<(), StoreError> {
        self.store.put(path, content.into()).await.map_err(|source| unavailable("write", path, source))?;
        Ok(())
    }

    /// The whole content with its version; `None` of an object that is not there.
    pub async fn read_version(&self, path: &Path) -> Result<Option<(Bytes, Version)>, StoreError> {
        let fail = |source| unavailable("read", path, source);
        match self.store.get(path).await {
            Ok(found) => {
                let version = UpdateVersion { e_tag: found.meta.e_tag.clone(), version: found.meta.version.clone() };
                Ok(Some((found.bytes().await.map_err(fail)?, Version(version))))
            }
            Err(Error::NotFound { .. }) => Ok(None),
            Err(source) => Err(fail(source)),
        }
    }

    /// Writes an object whole if it still is what was read; otherwise another operator has written it, and this one acts on
    /// what is no longer true. A directory has one writer, and no way to ask.
    pub async fn replace(
        &self,
        path: &Path,
        content: impl Into<PutPayload>,
        read: Option<Version>,
    ) -> Result<(), StoreError> {
        if self.local_root.is_some() {
            return self.write(path, content).await;
        }
        let mode = read.map_or(PutMode::Create, |Version(version)| PutMode::Update(version));
        let options = PutOptions { mode, ..PutOptions::default() };
        self.store
            .put_opts(path, content.into(), options)
            .await
            .map_err(|source| unavailable("replace", path, source))?;
        Ok(())
    }

    /// Writes an object where there is none; false where there is one, which stays as it is.
    pub async fn write_new(&self, path: &Path, content: impl Into<PutPayload>) -> Result<bool, StoreError> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.store.put_opts(path, content.into(), options).await {
            Ok(_) => Ok(true),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(false),
            Err(source) => Err(unavailable("write", path, source)),
        }
    }

    /// An object to be written in pieces; nothing is there before it is finished, nor after it was dropped.
    pub async fn writer(&self, path: &Path) -> Result<WriteMultipart, StoreError> {
        let upload = self.store.put_multipart(path).await.map_err(|source| unavailable("write", path, source))?;
        let part = if self.local_root.is_some() { LOCAL_PART_BYTES } else { REMOTE_PART_BYTES };
        Ok(WriteMultipart::new_with_chunk_size(upload, part))
    }

    /// Gives an object a second path; in a directory no byte is copied.
    pub async fn copy(&self, from: &Path, to: &Path) -> Result<(), StoreError> {
        self.store.copy(from, to).await.map_err(|source| unavailable("copy", from, source))
    }

    /// All objects below a path.
    pub async fn list(&self, below: &Path) -> Result<Vec<ObjectMeta>, StoreError> {
        self.store.list(Some(below)).try_collect().await.map_err(|source| unavailable("list", below, source))
    }

    /// Names directly below a path that have something below them, in order.
    pub async fn directories(&self, below: &Path) -> Result<Vec<String>, StoreError> {
        let listed = self.store.list_with_delimiter(Some(below)).await;
        let listed = match listed {
            Ok(listed) => listed,
            Err(Error::NotFound { .. }) => return Ok(Vec::new()),
            Err(source) => return Err(unavailable("list", below, source)),
        };
        Ok(listed.common_prefixes.iter().filter_map(|path| path.filename().map(str::to_owned)).collect())
    }

    /// Removes all objects below a path, half-written ones too.
    pub async fn remove_below(&self, below: &Path) -> Result<(), StoreError> {
        if let Some(dir) = self.local_path(below) {
            return self.remove_directory(&dir).await;
        }
        for object in self.list(below).await? {
            match self.store.delete(&object.location).await {
                Ok(()) | Err(Error::NotFound { .. }) => {}
                Err(source) => return Err(unavailable("remove", &object.location, source)),
            }
        }
        Ok(())
    }

    /// Removes a directory, and those above it that are then empty.
    async fn remove_directory(&self, dir: &std::path::Path) -> Result<(), StoreError> {
        match tokio::fs::remove_dir_all(dir).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::Local { action: "remove", path: dir.display().to_string(), source: error });
            }
            _ => {}
        }
        let above = dir.ancestors().skip(1).take_while(|above| Some(*above) != self.local_root());
        for above in above {
            // One that is not empty refuses, which ends the climb.
            if tokio::fs::remove_dir(above).await.is_err() {
                break;
            }
        }
        Ok(())
    }
}

/// The store's refusal with what was tried.
pub fn unavailable(action: &'static str, path: &Path, source: Error) -> StoreError {
    StoreError::Unavailable { action, path: path.to_string(), source }
}
