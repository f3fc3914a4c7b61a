//! Any sequence of prompts and forgotten workers: the tree keeps its bound, and agrees with a list of what each worker
//! took where nothing was evicted.
#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use teebench_router::tree::{HashRadixTree, PrefixMatch, WorkerIndex};

const CAPACITY: u32 = 256;

fuzz_target!(|bytes: &[u8]| {
    let mut tree = HashRadixTree::new(64, CAPACITY);
    let mut held: BTreeSet<(Vec<u64>, u16)> = BTreeSet::new();
    let mut found = PrefixMatch::default();
    for step in bytes.chunks(6) {
        let worker = u16::from(step[0] % 4);
        if step[0] >= 240 {
            tree.remove_worker(WorkerIndex(worker));
            held.retain(|(_, holder)| *holder != worker);
            continue;
        }
        let path: Vec<u64> = step[1..].iter().map(|byte| u64::from(byte % 4)).collect();
        let held_before = (1..=path.len()).take_while(|end| held.contains(&(path[..*end].to_vec(), worker))).count();
        let told = tree.insert(&path, WorkerIndex(worker));
        held.extend((1..=path.len()).map(|end| (path[..end].to_vec(), worker)));
        assert!(tree.len() <= CAPACITY as usize);
        if tree.evictions() == 0 {
            assert_eq!(told, held_before);
        }
        tree.longest(&path, &mut found);
        assert_eq!(found.chunks_at(WorkerIndex(worker)), path.len());
    }
});
