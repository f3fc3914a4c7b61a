//! Who has which machines next: a pure function of what campaigns want and of what is held. All machines or none.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A campaign that holds machines or waits for them.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Holder {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid: another one of the same name is another campaign.
    pub uid: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What a campaign wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Who wants it.
    pub campaign: Holder,
    /// Value of its priority class; the higher is served first.
    pub priority: i32,
    /// When it was applied; of equal priorities the older is served first.
    pub since: Timestamp,
    /// All machines that its servers may run on.
    pub machines: BTreeSet<String>,
}

impl Claim {
    /// The order of the queue, which no two campaigns share.
    fn rank(&self) -> (Reverse<i32>, Timestamp, &Holder) {
        (Reverse(self.priority), self.since, &self.campaign)
    }
}

/// Who waits, and who holds what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// What campaigns want that do not have it yet.
    pub claims: Vec<Arc<Claim>>,
    /// Machines that are held.
    pub held: BTreeMap<String, Holder>,
}

/// What a campaign may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It takes these machines, in this order; those that it holds already are left out.
    Take(Vec<String>),
    /// It waits.
    Wait {
        /// For whom.
        behind: Holder,
        /// The machines that both want.
        machines: Vec<String>,
    },
}

impl Queue {
    /// Whose turn it is on all machines of a claim. One that is further back never passes one that waits before it,
    /// even where its own machines are free: otherwise a campaign that wants many machines would wait for ever.
    #[must_use]
    pub fn turn(&self, mine: &Claim) -> Turn {
        let holder = mine.machines.iter().find_map(|machine| self.held.get(machine).filter(|of| **of != mine.campaign));
        if let Some(behind) = holder {
            let shared = mine.machines.iter().filter(|machine| self.held.get(*machine) == Some(behind));
            return Turn::Wait { behind: behind.clone(), machines: shared.cloned().collect() };
        }
        let before = self.claims.iter().filter(|other| {
            other.campaign != mine.campaign && other.rank() < mine.rank() && !other.machines.is_disjoint(&mine.machines)
        });
        match before.min_by(|one, other| one.rank().cmp(&other.rank())) {
            Some(first) => Turn::Wait {
                behind: first.campaign.clone(),
                machines: first.machines.intersection(&mine.machines).cloned().collect(),
            },
            None => {
                Turn::Take(mine.machines.iter().filter(|machine| !self.held.contains_key(*machine)).cloned().collect())
            }
        }
    }

    /// Whether a campaign holds machines.
    #[must_use]
    pub fn holds(&self, uid: &str) -> bool {
        self.held.values().any(|holder| holder.uid == uid)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn claim(name: &str, priority: i32, second: i64, machines: &[&str]) -> Claim {
        Claim {
            campaign: holder(name),
            priority,
            since: Timestamp::from_second(second).unwrap(),
            machines: machines.iter().map(|&machine| machine.to_owned()).collect(),
        }
    }

    fn holder(name: &str) -> Holder {
        Holder { namespace: "bench".into(), name: name.into(), uid: format!("uid-{name}") }
    }

    fn queue(claims: &[Claim], held: &[(&str, &str)]) -> Queue {
        Queue {
            claims: claims.iter().cloned().map(Arc::new).collect(),
            held: held.iter().map(|(machine, name)| ((*machine).to_owned(), holder(name))).collect(),
        }
    }

    #[rstest]
    #[case::nobody_else(&[], &[], None)]
    #[case::held_by_another(&[], &[("m1", "other")], Some("other"))]
    #[case::held_by_itself(&[], &[("m1", "mine")], None)]
    #[case::held_elsewhere(&[], &[("m9", "other")], None)]
    #[case::an_older_one_waits(&[claim("other", 0, 4, &["m2", "m3"])], &[], Some("other"))]
    #[case::a_younger_one_waits(&[claim("other", 0, 6, &["m2"])], &[], None)]
    #[case::a_younger_one_of_higher_priority(&[claim("other", 1, 6, &["m2"])], &[], Some("other"))]
    #[case::an_older_one_of_lower_priority(&[claim("other", -1, 4, &["m2"])], &[], None)]
    #[case::an_older_one_wants_other_machines(&[claim("other", 0, 4, &["m3"])], &[], None)]
    #[case::equally_old_by_name(&[claim("a", 0, 5, &["m2"])], &[], Some("a"))]
    #[case::the_first_of_several(&[claim("b", 0, 4, &["m2"]), claim("a", 0, 3, &["m1"])], &[], Some("a"))]
    #[case::its_own_claim(&[claim("mine", 0, 5, &["m1"])], &[], None)]
    fn machines_go_by_priority_then_age(
        #[case] claims: &[Claim],
        #[case] held: &[(&str, &str)],
        #[case] behind: Option<&str>,
    ) {
        let turn = queue(claims, held).turn(&claim("mine", 0, 5, &["m1", "m2"]));

        match (turn, behind) {
            (Turn::Take(_), None) => {}
            (Turn::Wait { behind, machines }, Some(expected)) => {
                assert_eq!(behind.name, expected);
                assert!(!machines.is_empty());
            }
            (turn, expected) => panic!("{turn:?}, expected to wait for {expected:?}"),
        }
    }

    #[test]
    fn only_what_is_not_held_yet_is_taken_and_in_order() {
        let turn = queue(&[], &[("m2", "mine")]).turn(&claim("mine", 0, 5, &["m3", "m2", "m1"]));

        assert_eq!(turn, Turn::Take(vec!["m1".into(), "m3".into()]));
    }

    proptest! {
        #[test]
        fn no_machine_is_given_twice_and_everyone_gets_its_turn(
            wants in prop::collection::vec((0..3_i32, 0..4_i64, prop::collection::btree_set(0..6_u8, 1..4)), 1..9)
        ) {
            let mut waiting: Vec<Claim> = wants.iter().enumerate().map(|(index, (priority, second, machines))| {
                let machines: Vec<String> = machines.iter().map(|machine| format!("m{machine}")).collect();
                let machines: Vec<&str> = machines.iter().map(String::as_str).collect();
                claim(&format!("c{index}"), *priority, *second, &machines)
            }).collect();
            let mut held: BTreeMap<String, Holder> = BTreeMap::new();
            while !waiting.is_empty() {
                let snapshot = || Queue { claims: waiting.iter().cloned().map(Arc::new).collect(), held: held.clone() };
                let next = waiting.iter().position(|claim| matches!(snapshot().turn(claim), Turn::Take(_)));
                match next {
                    Some(index) => {
                        let claim = waiting.remove(index);
                        for machine in claim.machines {
                            prop_assert!(held.insert(machine, claim.campaign.clone()).is_none(), "held already");
                        }
                    }
                    None => {
                        prop_assert!(!held.is_empty(), "nobody holds anything and nobody may begin");
                        // One that holds machines ends.
                        let first = held.values().next().cloned().expect("it is not empty");
                        held.retain(|_, holder| *holder != first);
                    }
                }
            }
        }
    }
}
