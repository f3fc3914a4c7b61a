//! Which requests of a file a run takes, and in which order.

use rand::seq::SliceRandom;

use crate::seed::stream;

/// Indices of the requests of a run.
///
/// All runs with one `seed` go through the file by the same drawn orders, run `part` taking up where `part - 1` ended, so
/// that repetitions have other requests as long as the file has any. An order is left for the next when what remains of
/// it is less than a run, so that no run has a request twice; only a file with fewer than `count` is gone through again.
///
/// Without a seed the order is the file's own.
pub(super) fn order(there: usize, count: usize, seed: Option<u64>, part: u64) -> Vec<u32> {
    let drawn = |pass: u64| {
        let mut order: Vec<u32> = (0..there as u32).collect();
        if let Some(seed) = seed {
            order.shuffle(&mut stream("file order", seed, pass));
        }
        order
    };
    if there >= count {
        let runs = (there / count.max(1)) as u64;
        let first = (part % runs) as usize * count;
        return drawn(part / runs)[first..first + count].to_vec();
    }
    let passes = count.div_ceil(there.max(1)) as u64;
    (0..passes).flat_map(|pass| drawn(part * passes + pass)).take(count).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn repetitions_share_no_request_until_the_file_is_used_up(there in 1..200_usize, count in 1..50_usize, seed: u64) {
            let count = count.min(there);
            let mut seen: BTreeMap<u32, u64> = BTreeMap::new();
            for part in 0..(there / count) as u64 {
                for index in order(there, count, Some(seed), part) {
                    prop_assert!((index as usize) < there);
                    prop_assert_eq!(seen.insert(index, part), None);
                }
            }
        }

        #[test]
        fn a_short_file_is_gone_through_evenly(there in 1..50_usize, count in 1..200_usize, seed: u64, part in 0..5_u64) {
            let mut times = vec![0; there];
            order(there, count, Some(seed), part).into_iter().for_each(|index| times[index as usize] += 1);
            let (least, most) = (count / there, count.div_ceil(there));
            prop_assert!(times.iter().all(|times| (least..=most).contains(times)), "{:?}", times);
        }
    }

    #[test]
    fn the_order_depends_on_the_seed_and_the_part_alone() {
        let drawn = |seed, part| order(100, 30, Some(seed), part);
        assert_eq!(drawn(1, 2), drawn(1, 2));
        assert_ne!(drawn(1, 2), drawn(2, 2));
        assert_ne!(drawn(1, 0), drawn(1, 3));
    }

    #[test]
    fn without_a_seed_requests_come_as_in_the_file() {
        assert_eq!(order(5, 2, None, 1), [2, 3]);
        assert_eq!(order(2, 5, None, 0), [0, 1, 0, 1, 0]);
    }
}
