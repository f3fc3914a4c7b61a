//! Objects that a campaign names and does not make: looked up by name, as far as the reader may.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::{
    core::v1::{PersistentVolumeClaim, Service},
    node::v1::RuntimeClass,
    scheduling::v1::PriorityClass,
    storage::v1::StorageClass,
};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use teebench_api::campaign::BenchmarkCampaignSpec;

/// What came of looking an object up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Looked<T> {
    /// It is there; what matters of it.
    There(T),
    /// It is not there.
    Absent,
    /// It may not be read, so nothing is known.
    Unknown,
}

/// Objects that a campaign names, by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalogue {
    /// Runtime classes of the arms.
    pub runtime_classes: BTreeMap<String, Looked<()>>,
    /// The priority class of the servers, with its value.
    pub priority_classes: BTreeMap<String, Looked<i32>>,
    /// Storage classes of ephemeral caches.
    pub storage_classes: BTreeMap<String, Looked<()>>,
    /// Claims of shared caches, with their access modes.
    pub claims: BTreeMap<String, Looked<Vec<String>>>,
    /// Services of existing servers and foreign routers, with their ports.
    pub services: BTreeMap<String, Looked<Vec<u32>>>,
}

impl Catalogue {
    /// Looks up everything that a campaign in a namespace names.
    ///
    /// # Errors
    /// The API server does not answer; that something may not be read is no error.
    pub async fn of(client: &Client, namespace: &str, spec: &BenchmarkCampaignSpec) -> Result<Self, kube::Error> {
        let mut catalogue = Self::default();
        for name in spec.arms.iter().filter_map(|arm| arm.node_pool.as_ref()?.runtime_class_name.as_ref()) {
            let found = look_up::<RuntimeClass>(Api::all(client.clone()), name).await?;
            catalogue.runtime_classes.insert(name.clone(), found.map(|_| ()));
        }
        if let Some(name) = spec.scheduling.as_ref().and_then(|scheduling| scheduling.priority_class_name.as_ref()) {
            let found = look_up::<PriorityClass>(Api::all(client.clone()), name).await?;
            catalogue.priority_classes.insert(name.clone(), found.map(|class| class.value));
        }
        let caches = || spec.models.iter().filter_map(|model| model.cache.as_ref());
        let storage_classes = caches().filter_map(|cache| cache.ephemeral.as_ref()?.storage_class_name.as_ref());
        for name in storage_classes.collect::<BTreeSet<_>>() {
            let found = look_up::<StorageClass>(Api::all(client.clone()), name).await?;
            catalogue.storage_classes.insert(name.clone(), found.map(|_| ()));
        }
        for name in caches().filter_map(|cache| cache.shared_claim.as_ref()).collect::<BTreeSet<_>>() {
            let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
            let found = look_up(claims, name).await?;
            let modes =
                |claim: PersistentVolumeClaim| claim.spec.and_then(|spec| spec.access_modes).unwrap_or_default();
            catalogue.claims.insert(name.clone(), found.map(modes));
        }
        let of_arms = spec.arms.iter().filter_map(|arm| arm.service_ref.as_ref());
        let of_routers = spec.routers.iter().filter_map(|router| router.service_ref.as_ref());
        for name in of_arms.chain(of_routers).map(|service| &service.name).collect::<BTreeSet<_>>() {
            let services: Api<Service> = Api::namespaced(client.clone(), namespace);
            let found = look_up(services, name).await?;
            catalogue.services.insert(name.clone(), found.map(|service| ports(&service)));
        }
        Ok(catalogue)
    }

    /// The priority that a campaign's servers have; that of a class which is not known counts as none.
    #[must_use]
    pub fn priority(&self) -> i32 {
        let known = self.priority_classes.values().find_map(|found| match found {
            Looked::There(value) => Some(*value),
            Looked::Absent | Looked::Unknown => None,
        });
        known.unwrap_or(0)
    }
}

impl<T> Looked<T> {
    fn map<U>(self, change: impl FnOnce(T) -> U) -> Looked<U> {
        match self {
            Self::There(value) => Looked::There(change(value)),
            Self::Absent => Looked::Absent,
            Self::Unknown => Looked::Unknown,
        }
    }
}

fn ports(service: &Service) -> Vec<u32> {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    ports.filter_map(|port| u32::try_from(port.port).ok()).collect()
}

async fn look_up<K>(api: Api<K>, name: &str) -> Result<Looked<K>, kube::Error>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug,
{
    match api.get_opt(name).await {
        Ok(Some(object)) => Ok(Looked::There(object)),
        Ok(None) => Ok(Looked::Absent),
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(Looked::Unknown),
        Err(error) => Err(error),
    }
}
