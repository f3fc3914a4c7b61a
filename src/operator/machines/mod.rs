//! Machines are exclusive: one Lease for each, in the operator's own namespace, taken all or none and given back at the
//! campaign's end. One operator leads, so what it knows of the Leases is what is true; they are read once, at its start.

mod lease;
pub mod queue;
pub mod watch;

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::channel::mpsc::UnboundedSender;
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Pod};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams},
    runtime::reflector::ObjectRef,
};
use teebench_api::campaign::BenchmarkCampaign;
use thiserror::Error;
use tokio::sync::OnceCell;

use self::queue::{Claim, Holder, Queue, Turn};
use super::{
    labels::CAMPAIGN_UID,
    writer::{WriteError, Writer},
};

/// Machines could not be taken.
#[derive(Debug, Error)]
pub enum MachinesError {
    /// Another campaign was quicker.
    #[error("machine \"{machine}\" went to campaign {holder}")]
    Taken {
        /// The machine.
        machine: String,
        /// Who has it.
        holder: String,
    },
    /// The Leases cannot be read.
    #[error("cannot read the Leases of machines")]
    Read(#[source] Box<kube::Error>),
    /// A Lease cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl MachinesError {
    /// Whether another try may succeed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Taken { .. } | Self::Read(_) => true,
            Self::Write(error) => error.is_retryable(),
        }
    }
}

/// Asks for a pass over a campaign.
pub type Wake = UnboundedSender<ObjectRef<BenchmarkCampaign>>;

/// All machines that the operator gives to campaigns.
pub struct Machines {
    leases: Api<Lease>,
    namespace: String,
    writer: Writer,
    state: Mutex<State>,
    /// One campaign takes at a time, so that none is left with half of what it wants.
    taking: tokio::sync::Mutex<()>,
    read: OnceCell<()>,
}

#[derive(Default)]
struct State {
    queue: Queue,
    /// How campaigns are woken, by their uids.
    wakes: HashMap<String, Wake>,
}

impl Machines {
    /// The machines whose Leases lie in this namespace.
    #[must_use]
    pub fn new(client: &Client, namespace: &str, writer: Writer) -> Self {
        Self {
            leases: Api::namespaced(client.clone(), namespace),
            namespace: namespace.to_owned(),
            writer,
            state: Mutex::default(),
            taking: tokio::sync::Mutex::default(),
            read: OnceCell::new(),
        }
    }

    /// Who waits and who holds what, as it is now.
    ///
    /// # Errors
    /// The Leases have not been read yet and cannot be.
    pub async fn queue(&self) -> Result<Queue, MachinesError> {
        self.read.get_or_try_init(|| self.read_leases()).await?;
        Ok(self.lock().queue.clone())
    }

    /// How a campaign is woken when something happens to its machines.
    pub fn meet(&self, uid: &str, wake: &Wake) {
        let mut state = self.lock();
        if !state.wakes.contains_key(uid) {
            state.wakes.insert(uid.to_owned(), wake.clone());
        }
    }

    /// A campaign that has ended or is gone is not woken any more.
    pub fn forget(&self, uid: &str) {
        self.withdraw(uid);
        self.lock().wakes.remove(uid);
    }

    /// A pod with GPUs was placed on a machine: the campaign that holds it looks whether the pod is its own.
    pub fn placed(&self, pod: &Pod) {
        let Some(node) = pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref()) else { return };
        let state = self.lock();
        if let Some(holder) = state.queue.held.get(node)
            && pod.labels().get(CAMPAIGN_UID) != Some(&holder.uid)
        {
            state.wake_one(holder);
        }
    }

    /// A campaign waits for machines; it is woken when any of them is given back.
    pub fn wait(&self, claim: Claim) {
        let mut state = self.lock();
        state.withdraw(&claim.campaign.uid);
        state.queue.claims.push(Arc::new(claim));
    }

    /// A campaign no longer waits; those behind it may be next.
    pub fn withdraw(&self, uid: &str) {
        let mut state = self.lock();
        if let Some(claim) = state.withdraw(uid) {
            state.wake(&claim.machines);
        }
    }

    /// Takes all machines of a claim.
    ///
    /// # Errors
    /// One was taken by another or a Lease cannot be written; then none was taken.
    pub async fn take(&self, claim: &Claim) -> Result<(), MachinesError> {
        let _alone = self.taking.lock().await;
        let wanted = match self.queue().await?.turn(claim) {
            Turn::Take(wanted) => wanted,
            Turn::Wait { behind, machines } => {
                return Err(MachinesError::Taken {
                    machine: machines.into_iter().next().unwrap_or_default(),
                    holder: behind.to_string(),
                });
            }
        };
        for (index, machine) in wanted.iter().enumerate() {
            if let Err(error) = self.take_one(machine, &claim.campaign).await {
                for taken in wanted.iter().take(index) {
                    self.give_back_one(taken).await?;
                }
                return Err(error);
            }
            self.lock().queue.held.insert(machine.clone(), claim.campaign.clone());
        }
        self.lock().withdraw(&claim.campaign.uid);
        Ok(())
    }

    /// Gives back all machines of a campaign and wakes those who wait for them.
    ///
    /// # Errors
    /// A Lease cannot be deleted; what was given back before is free.
    pub async fn give_back(&self, uid: &str) -> Result<(), MachinesError> {
        let held: BTreeSet<String> = {
            let state = self.lock();
            let of_campaign = state.queue.held.iter().filter(|(_, holder)| holder.uid == uid);
            of_campaign.map(|(machine, _)| machine.clone()).collect()
        };
        for machine in &held {
            self.give_back_one(machine).await?;
        }
        self.lock().wake(&held);
        Ok(())
    }

    /// Campaigns that hold machines or wait for them.
    pub fn known(&self) -> BTreeSet<Holder> {
        let state = self.lock();
        let waiting = state.queue.claims.iter().map(|claim| claim.campaign.clone());
        waiting.chain(state.queue.held.values().cloned()).collect()
    }

    async fn read_leases(&self) -> Result<(), MachinesError> {
        let ours = ListParams::default().labels(&lease::selector());
        let found = self.leases.list(&ours).await.map_err(|error| MachinesError::Read(Box::new(error)))?;
        let held = found.iter().filter_map(lease::read);
        self.lock().queue.held = held.collect();
        Ok(())
    }

    async fn take_one(&self, machine: &str, holder: &Holder) -> Result<(), MachinesError> {
        let wanted = lease::of(machine, holder);
        self.writer.create_once::<Lease>(&self.namespace, &wanted).await?;
        // One that was there already is kept: it says whose it is.
        let found = self.leases.get(&wanted.name_any()).await.map_err(|error| MachinesError::Read(Box::new(error)))?;
        match lease::read(&found) {
            Some((_, other)) if other != *holder => {
                let taken = MachinesError::Taken { machine: machine.to_owned(), holder: other.to_string() };
                self.lock().queue.held.insert(machine.to_owned(), other);
                Err(taken)
            }
            _ => Ok(()),
        }
    }

    async fn give_back_one(&self, machine: &str) -> Result<(), MachinesError> {
        self.writer.delete::<Lease>(&self.namespace, &lease::name(machine), &DeleteParams::default()).await?;
        self.lock().queue.held.remove(machine);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn withdraw(&mut self, uid: &str) -> Option<Arc<Claim>> {
        let index = self.queue.claims.iter().position(|claim| claim.campaign.uid == uid)?;
        Some(self.queue.claims.swap_remove(index))
    }

    fn wake(&self, machines: &BTreeSet<String>) {
        for claim in self.queue.claims.iter().filter(|claim| !claim.machines.is_disjoint(machines)) {
            self.wake_one(&claim.campaign);
        }
    }

    fn wake_one(&self, Holder { namespace, name, uid }: &Holder) {
        if let Some(wake) = self.wakes.get(uid) {
            // A controller that has ended is not woken any more.
            let _ = wake.unbounded_send(ObjectRef::new(name).within(namespace));
        }
    }
}
