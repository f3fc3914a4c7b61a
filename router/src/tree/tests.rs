//! The tree against a naive model: a list of (prefix, worker) pairs searched from end to end.

use std::collections::BTreeSet;

use proptest::prelude::*;

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
    fn deltas_end_in_the_same_state_in_any_order_and_any_number(
        deltas in prop::collection::vec((paths(), 0_u16..4, 0_u32..3), 0..30),
        order in any::<prop::sample::Index>(),
        repeats in prop::collection::vec(any::<prop::sample::Index>(), 0..30),
    ) {
        let apply = |replica: &mut Replica, (path, worker, generation): &(Vec<u64>, u16, u32)| {
            replica.apply(&Delta { worker: WorkerIndex(*worker), generation: *generation, path }, News::Fresh);
        };
        let mut straight = Replica::new(4, 64, 1 << 16);
        deltas.iter().for_each(|delta| apply(&mut straight, delta));

        let mut shuffled = Replica::new(4, 64, 1 << 16);
        let start = if deltas.is_empty() { 0 } else { order.index(deltas.len()) };
        for repeat in &repeats {
            if !deltas.is_empty() {
                apply(&mut shuffled, &deltas[repeat.index(deltas.len())]);
            }
        }
        deltas.iter().rev().cycle().skip(start).take(deltas.len()).for_each(|delta| apply(&mut shuffled, delta));

        prop_assert_eq!(straight.generations(), shuffled.generations());
        prop_assert_eq!(held_by(straight.tree()), held_by(shuffled.tree()));
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
