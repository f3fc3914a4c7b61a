//! The tree against a naive model: a list of (prefix, worker) pairs searched from end to end.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::replica::{Delta, News, Replica};
use super::*;

type Held = BTreeSet<(Vec<u64>, u16)>;

/// Paths over a small alphabet, so that prefixes collide often.
fn paths() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(0_u64..3, 1..6)
}

fn prefixes(path: &[u64]) -> impl Iterator<Item = Vec<u64>> {
    (1..=path.len()).map(|length| path[..length].to_vec())
}

fn model_depth(held: &Held, path: &[u64], worker: u16) -> usize {
    prefixes(path).take_while(|prefix| held.contains(&(prefix.clone(), worker))).count()
}

fn held_by(tree: &HashRadixTree) -> Held {
    let mut held = Held::new();
    tree.for_each_held(|path, workers| {
        for worker in workers {
            held.extend(prefixes(path).map(|prefix| (prefix, worker.0)));
        }
    });
    held
}

fn matched(tree: &HashRadixTree, path: &[u64]) -> PrefixMatch {
    let mut found = PrefixMatch::default();
    tree.longest(path, &mut found);
    found
}

#[derive(Clone, Debug)]
enum Step {
    Insert(Vec<u64>, u16),
    Remove(u16),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        9 => (paths(), 0_u16..5).prop_map(|(path, worker)| Step::Insert(path, worker)),
        1 => (0_u16..5).prop_map(Step::Remove),
    ];
    prop::collection::vec(step, 0..60)
}

proptest! {
    #[test]
    fn every_match_is_the_models(steps in steps(), asked in prop::collection::vec(paths(), 1..20)) {
        let mut tree = HashRadixTree::new(64, 1 << 16);
        let mut held = Held::new();
        for step in steps {
            match step {
                Step::Insert(path, worker) => {
                    let held_before = model_depth(&held, &path, worker);
                    prop_assert_eq!(tree.insert(&path, WorkerIndex(worker)), held_before);
                    held.extend(prefixes(&path).map(|prefix| (prefix, worker)));
                }
                Step::Remove(worker) => {
                    tree.remove_worker(WorkerIndex(worker));
                    held.retain(|(_, holder)| *holder != worker);
                }
            }
        }
        let nodes: BTreeSet<_> = held.iter().map(|(prefix, _)| prefix).collect();
        prop_assert_eq!(tree.len(), nodes.len());
        for path in asked {
            let found = matched(&tree, &path);
            for worker in 0..5 {
                prop_assert_eq!(found.chunks_at(WorkerIndex(worker)), model_depth(&held, &path, worker));
            }
            let mut holders: Vec<u16> = found.holders.iter().map(|holder| holder.worker.0).collect();
            prop_assert!(found.holders.is_sorted_by_key(|holder| holder.chunks));
            holders.sort_unstable();
            holders.dedup();
            prop_assert_eq!(holders.len(), found.holders.len());
        }
        prop_assert_eq!(held_by(&tree), held);
    }

    #[test]
    fn the_bound_holds_and_the_path_just_inserted_survives(
        inserts in prop::collection::vec((paths(), 0_u16..5), 1..200),
    ) {
        let capacity = 12;
        let mut tree = HashRadixTree::new(64, capacity);
        for (path, worker) in inserts {
            tree.insert(&path, WorkerIndex(worker));
            prop_assert!(tree.len() <= capacity as usize);
            prop_assert_eq!(matched(&tree, &path).chunks_at(WorkerIndex(worker)), path.len());
            // Every node is reachable: the held paths and their prefixes are all the nodes there are.
            let reachable: BTreeSet<_> = held_by(&tree).into_iter().map(|(prefix, _)| prefix).collect();
            prop_assert_eq!(tree.len(), reachable.len());
        }
    }

    #[test]
    fn what_is_evicted_is_what_a_list_by_last_use_would_lose(
        steps in steps(),
        capacity in 4_u32..24,
        is_traffic in prop::collection::vec(any::<bool>(), 60),
    ) {
        let mut tree = HashRadixTree::new(64, capacity);
        let mut model = LastUse { nodes: BTreeMap::new(), capacity: capacity as usize, now: 0, evictions: 0 };
        for (step, is_traffic) in steps.into_iter().zip(is_traffic) {
            match step {
                Step::Insert(path, worker) => {
                    let path = &path[..path.len().min(tree.depth_limit())];
                    if is_traffic {
                        tree.insert(path, WorkerIndex(worker));
                    } else {
                        tree.learn(path, WorkerIndex(worker));
                    }
                    model.insert(path, worker);
                }
                Step::Remove(worker) => {
                    tree.remove_worker(WorkerIndex(worker));
                    model.remove(worker);
                }
            }
            prop_assert_eq!(held_by(&tree), model.held());
            prop_assert_eq!((tree.len(), tree.evictions()), (model.nodes.len(), model.evictions));
        }
    }

    #[test]
    fn deltas_end_in_the_same_state_in_any_order_and_any_number((deltas, disordered) in deltas_in_two_orders()) {
        let applied = |deltas: &[(Vec<u64>, u16, u32)]| {
            let mut replica = Replica::new(4, 64, 1 << 16);
            for (path, worker, generation) in deltas {
                replica.apply(&Delta { worker: WorkerIndex(*worker), generation: *generation, path }, News::Fresh);
            }
            (replica.generations().to_vec(), held_by(replica.tree()))
        };
        prop_assert_eq!(applied(&deltas), applied(&disordered));
    }
}

type Deltas = Vec<(Vec<u64>, u16, u32)>;

/// Deltas, and the same with some repeated, in an arbitrary order.
fn deltas_in_two_orders() -> impl Strategy<Value = (Deltas, Deltas)> {
    let delta = (paths(), 0_u16..4, 0_u32..3);
    let some = prop::collection::vec((delta, 1_usize..4), 0..30);
    some.prop_flat_map(|counted| {
        let deltas: Deltas = counted.iter().map(|(delta, _)| delta.clone()).collect();
        let repeated = counted.into_iter().flat_map(|(delta, times)| std::iter::repeat_n(delta, times));
        (Just(deltas), Just(repeated.collect::<Deltas>()).prop_shuffle())
    })
}

/// Prefixes with the time of their last use: a full one loses what was not used for longest, and of what was used at the
/// same time the longest prefix.
struct LastUse {
    nodes: BTreeMap<Vec<u64>, (usize, BTreeSet<u16>)>,
    capacity: usize,
    now: usize,
    evictions: u64,
}

impl LastUse {
    fn insert(&mut self, path: &[u64], worker: u16) {
        self.now += 1;
        for prefix in prefixes(path) {
            if !self.nodes.contains_key(&prefix) && self.nodes.len() == self.capacity {
                let last = |(prefix, (used, _)): &(&Vec<u64>, &(usize, _))| (*used, std::cmp::Reverse(prefix.len()));
                let lost = self.nodes.iter().min_by_key(last).unwrap().0.clone();
                self.nodes.remove(&lost);
                self.evictions += 1;
            }
            let (used, holders) = self.nodes.entry(prefix).or_default();
            *used = self.now;
            holders.insert(worker);
        }
    }

    fn remove(&mut self, worker: u16) {
        self.nodes.retain(|_, (_, holders)| {
            holders.remove(&worker);
            !holders.is_empty()
        });
    }

    fn held(&self) -> Held {
        let pairs = |(prefix, (_, holders)): (&Vec<u64>, &(usize, BTreeSet<u16>))| -> Vec<_> {
            holders.iter().map(|worker| (prefix.clone(), *worker)).collect()
        };
        self.nodes.iter().flat_map(pairs).collect()
    }
}

#[test]
fn a_parent_is_never_evicted_before_its_children() {
    let mut tree = HashRadixTree::new(64, 8);
    tree.insert(&[1, 2, 3], WorkerIndex(0));
    tree.insert(&[1, 7], WorkerIndex(1));
    tree.insert(&[9, 8, 7, 6], WorkerIndex(2));
    assert_eq!((tree.len(), tree.evictions()), (8, 0));
    tree.insert(&[5, 4], WorkerIndex(2));
    assert_eq!(tree.evictions(), 2);
    assert_eq!(matched(&tree, &[1, 2, 3]).chunks_at(WorkerIndex(0)), 1, "the oldest path lost its end, not its start");
    assert_eq!(matched(&tree, &[1, 7]).chunks_at(WorkerIndex(1)), 2);
}

#[test]
fn the_busiest_prefixes_are_shown_where_their_traffic_parts() {
    let mut tree = HashRadixTree::new(64, 1024);
    for own in 0..10 {
        tree.insert(&[1, 2, 100 + own], WorkerIndex((own % 2) as u16));
        tree.insert(&[7, 8], WorkerIndex(2));
    }
    let busiest = tree.busiest(2);
    let shown: Vec<_> = busiest.iter().map(|prefix| (prefix.edge, prefix.chunks, prefix.recent_requests)).collect();
    assert!(shown == [(2, 2, 10), (8, 2, 10)] || shown == [(8, 2, 10), (2, 2, 10)], "{shown:?}");
    let shared = busiest.iter().find(|prefix| prefix.edge == 2).unwrap();
    assert_eq!(shared.holders, [WorkerIndex(0), WorkerIndex(1)]);
}

#[test]
fn holders_stand_on_every_node_of_the_path() {
    let mut tree = HashRadixTree::new(64, 1024);
    tree.insert(&[1, 2, 3, 4], WorkerIndex(0));
    for length in 1..=4 {
        assert_eq!(matched(&tree, &[1, 2, 3, 4][..length]).chunks_at(WorkerIndex(0)), length);
    }
}

#[test]
fn a_prompt_longer_than_the_tree_keeps_its_beginning() {
    let mut tree = HashRadixTree::new(64, 64);
    let path: Vec<u64> = (0..1000).collect();
    tree.insert(&path, WorkerIndex(0));
    assert_eq!(matched(&tree, &path).chunks_at(WorkerIndex(0)), 32);
    assert_eq!(tree.evictions(), 0);
}

#[test]
fn eight_bits_of_a_hash_reproduce_the_papers_false_matches() {
    let mut tree = HashRadixTree::new(8, 1024);
    tree.insert(&[0x1_07, 0x2_09], WorkerIndex(0));
    assert_eq!(matched(&tree, &[0x9_07, 0x5_09]).chunks_at(WorkerIndex(0)), 2);
    assert_eq!(matched(&tree, &[0x9_07, 0x5_0a]).chunks_at(WorkerIndex(0)), 1);
}

#[test]
fn a_node_costs_at_most_48_bytes_at_the_default_bound() {
    let capacity = 262_144;
    let mut tree = HashRadixTree::new(64, capacity);
    for prompt in 0..u64::from(capacity) / 64 {
        let path: Vec<u64> = (0..64).map(|chunk| prompt << 32 | chunk).collect();
        tree.insert(&path, WorkerIndex((prompt % 8) as u16));
    }
    assert_eq!(tree.len(), capacity as usize);
    assert!(tree.bytes() <= 48 * tree.len(), "{} bytes a node", tree.bytes() as f64 / tree.len() as f64);
}

#[test]
fn a_full_tree_stays_as_large_whatever_comes() {
    let capacity = 16_384;
    let mut tree = HashRadixTree::new(64, capacity);
    let mut random = SmallRng::seed_from_u64(1);
    for _ in 0..40_000 {
        let shared = random.random_range(0..50_u64);
        let length = random.random_range(1..64_u64);
        let own = random.random::<u64>();
        let path: Vec<u64> = (0..length).map(|chunk| if chunk < 8 { shared } else { own ^ chunk }).collect();
        tree.insert(&path, WorkerIndex(random.random_range(0..64)));
        assert!(tree.len() <= capacity as usize);
        assert!(tree.bytes() <= 48 * capacity as usize, "{} bytes", tree.bytes());
    }
    assert!(tree.evictions() > 20 * u64::from(capacity));
}

#[test]
fn an_older_generation_says_nothing() {
    let mut replica = Replica::new(2, 64, 1024);
    replica.record(&[1, 2], WorkerIndex(0));
    replica.forget(WorkerIndex(0));
    assert!(replica.tree().is_empty());
    replica.apply(&Delta { worker: WorkerIndex(0), generation: 0, path: &[1, 2] }, News::Fresh);
    replica.apply(&Delta { worker: WorkerIndex(9), generation: 0, path: &[1, 2] }, News::Fresh);
    assert!(replica.tree().is_empty(), "one delta is of a lost cache, the other of no worker of this epoch");
    replica.apply(&Delta { worker: WorkerIndex(0), generation: 1, path: &[1, 2] }, News::Fresh);
    assert_eq!(replica.tree().len(), 2);
}
