//! The faults of one server that are on at this moment: shared by all that obey them, and replaced at any time.

use std::sync::Arc;

use tokio::sync::watch;

use super::{Fault, FaultPlan};

/// The faults that are on.
#[derive(Clone, Debug)]
pub struct ActiveFaults(Arc<watch::Sender<Vec<Fault>>>);

impl ActiveFaults {
    /// With these faults on.
    #[must_use]
    pub fn new(faults: Vec<Fault>) -> Self {
        Self(Arc::new(watch::Sender::new(faults)))
    }

    /// What is on, sorted by who has it.
    #[must_use]
    pub fn plan(&self) -> FaultPlan {
        self.0.borrow().iter().copied().collect()
    }

    /// What is on, as it was asked for.
    #[must_use]
    pub fn list(&self) -> Vec<Fault> {
        self.0.borrow().clone()
    }

    /// Switches off what was on, and switches these on.
    pub fn replace(&self, faults: Vec<Fault>) {
        self.0.send_replace(faults);
    }

    /// Tells of each replacement from now on.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Vec<Fault>> {
        self.0.subscribe()
    }
}
