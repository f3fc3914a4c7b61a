//! The one way to write to the API server: server-side apply by our field manager, every write under a timeout and
//! counted.

use std::{fmt::Debug, time::Duration};

use kube::{
    Api, Client, Resource,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    core::NamespaceResourceScope,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use thiserror::Error;
use tokio::time::timeout;

use super::{labels::MANAGER, metrics::Metrics};

/// How long one write may take. The API server itself gives up after a minute; a write that takes a tenth of that is
/// better tried again.
const PATIENCE: Duration = Duration::from_secs(6);

/// A write that did not succeed.
#[derive(Debug, Error)]
pub enum WriteError {
    /// The API server refused it or was not reached.
    #[error("cannot {verb} {kind} \"{name}\"")]
    Api {
        /// What was tried.
        verb: &'static str,
        /// Kind of the object.
        kind: String,
        /// Name of the object.
        name: String,
        /// What the API server says.
        #[source]
        source: Box<kube::Error>,
    },
    /// It took too long.
    #[error("cannot {verb} {kind} \"{name}\": no answer within {} s", PATIENCE.as_secs())]
    TimedOut {
        /// What was tried.
        verb: &'static str,
        /// Kind of the object.
        kind: String,
        /// Name of the object.
        name: String,
    },
}

impl WriteError {
    /// Whether another try may succeed: not what the API server refuses for its content or for lack of rights.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::TimedOut { .. } => true,
            Self::Api { source, .. } => is_retryable(source),
        }
    }
}

/// Whether another try of a request may succeed.
#[must_use]
pub fn is_retryable(error: &kube::Error) -> bool {
    match error {
        // A missing right may be granted, a missing namespace or definition may come; what is invalid stays invalid.
        kube::Error::Api(status) => !matches!(status.code, 400 | 405 | 413 | 415 | 422),
        _ => true,
    }
}

/// Writes to one namespace.
#[derive(Clone)]
pub struct Writer {
    client: Client,
    metrics: Metrics,
}

impl Writer {
    /// A writer with this client.
    #[must_use]
    pub const fn new(client: Client, metrics: Metrics) -> Self {
        Self { client, metrics }
    }

    /// Creates an object or makes it equal to this one, as far as we speak of it.
    pub async fn apply<K>(&self, namespace: &str, object: &K) -> Result<K, WriteError>
    where
        K: Resource<Scope = NamespaceResourceScope> + Serialize + DeserializeOwned + Clone + Debug,
        K::DynamicType: Default,
    {
        let name = name_of(object);
        let parameters = PatchParams::apply(MANAGER).force();
        let patch = Patch::Apply(object);
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        self.write("apply", &name, &K::default_kind(), api.patch(&name, &parameters, &patch)).await
    }

    /// Creates an object that is never changed; one that is there already stays as it is.
    pub async fn create_once<K>(&self, namespace: &str, object: &K) -> Result<(), WriteError>
    where
        K: Resource<Scope = NamespaceResourceScope> + Serialize + DeserializeOwned + Clone + Debug,
        K::DynamicType: Default,
    {
        let name = name_of(object);
        let parameters = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        match self.write("create", &name, &K::default_kind(), api.create(&parameters, object)).await {
            Err(WriteError::Api { source, .. }) if has_code(&source, 409) => Ok(()),
            other => other.map(|_| ()),
        }
    }

    /// Makes the status of an object equal to this one.
    pub async fn apply_status<K>(&self, namespace: &str, name: &str, object: &Value) -> Result<K, WriteError>
    where
        K: Resource<Scope = NamespaceResourceScope> + DeserializeOwned + Clone + Debug,
        K::DynamicType: Default,
    {
        let parameters = PatchParams::apply(MANAGER).force();
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        self.write("status", name, &K::default_kind(), api.patch_status(name, &parameters, &Patch::Apply(object))).await
    }

    /// Adds annotations to an object that is there.
    pub async fn annotate<K>(&self, namespace: &str, name: &str, annotations: &Value) -> Result<(), WriteError>
    where
        K: Resource<Scope = NamespaceResourceScope> + DeserializeOwned + Clone + Debug,
        K::DynamicType: Default,
    {
        let patch = Patch::Merge(serde_json::json!({"metadata": {"annotations": annotations}}));
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        self.write("annotate", name, &K::default_kind(), api.patch(name, &PatchParams::default(), &patch))
            .await
            .map(|_| ())
    }

    /// Deletes an object and what it owns; one that is gone already is no fault.
    pub async fn delete<K>(&self, namespace: &str, name: &str, parameters: &DeleteParams) -> Result<(), WriteError>
    where
        K: Resource<Scope = NamespaceResourceScope> + DeserializeOwned + Clone + Debug,
        K::DynamicType: Default,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        match self.write("delete", name, &K::default_kind(), api.delete(name, parameters)).await {
            Err(WriteError::Api { source, .. }) if has_code(&source, 404) => Ok(()),
            other => other.map(|_| ()),
        }
    }

    async fn write<T>(
        &self,
        verb: &'static str,
        name: &str,
        kind: &str,
        request: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, WriteError> {
        let (outcome, result) = match timeout(PATIENCE, request).await {
            Ok(Ok(value)) => ("succeeded", Ok(value)),
            Ok(Err(source)) => {
                let (kind, name) = (kind.to_owned(), name.to_owned());
                ("failed", Err(WriteError::Api { verb, kind, name, source: Box::new(source) }))
            }
            Err(_) => ("timed_out", Err(WriteError::TimedOut { verb, kind: kind.to_owned(), name: name.to_owned() })),
        };
        self.metrics.wrote(verb, kind, outcome);
        result
    }
}

trait DefaultKind {
    /// Kind of a type whose kind is known when it is compiled.
    fn default_kind() -> String;
}

impl<K: Resource> DefaultKind for K
where
    K::DynamicType: Default,
{
    fn default_kind() -> String {
        K::kind(&K::DynamicType::default()).into_owned()
    }
}

fn name_of<K: Resource>(object: &K) -> String {
    object.meta().name.clone().expect("everything that is built has a name")
}

fn has_code(error: &kube::Error, code: u16) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code)
}
