//! What the store has of active campaigns, kept so that a pass reads no file. The store is the truth: after a doubt it is
//! read anew.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use teebench_api::plan::next::Decision;

use super::world::{Ended, Stored};
use crate::store::ledger::Entry;

/// What the store has of active campaigns, by their uids.
#[derive(Default)]
pub struct Memory(Mutex<HashMap<String, Arc<Stored>>>);

impl Memory {
    /// What is remembered of a campaign.
    pub fn get(&self, uid: &str) -> Option<Arc<Stored>> {
        self.lock().get(uid).cloned()
    }

    /// Remembers what was read.
    pub fn put(&self, uid: &str, stored: Stored) -> Arc<Stored> {
        let stored = Arc::new(stored);
        self.lock().insert(uid.to_owned(), stored.clone());
        stored
    }

    /// Forgets a campaign: it has ended, is gone, or a write to the store left a doubt.
    pub fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    /// A decision was appended.
    pub fn decided(&self, uid: &str, decision: Decision) {
        self.change(uid, |stored| stored.decisions.push(decision));
    }

    /// Servers came or went.
    pub fn recorded(&self, uid: &str, entry: Entry) {
        self.change(uid, |stored| stored.ledger.push(entry));
    }

    /// An attempt was committed; one that is known already is not counted twice.
    pub fn committed(&self, uid: &str, ended: Ended) {
        self.change(uid, |stored| {
            if stored.attempts.iter().all(|known| known.outcome.epoch != ended.outcome.epoch) {
                stored.attempts.push(ended);
            }
        });
    }

    fn change(&self, uid: &str, change: impl FnOnce(&mut Stored)) {
        if let Some(stored) = self.lock().get_mut(uid) {
            change(Arc::make_mut(stored));
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Stored>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
