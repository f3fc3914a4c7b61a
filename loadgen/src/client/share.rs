//! A part of a plan: one of several load generators that take the planned requests in turn.

use std::num::NonZeroU32;

/// Which of a plan's requests a load generator sends: those whose number is `number` modulo `of`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    number: u32,
    of: NonZeroU32,
}

impl Share {
    /// All of them.
    pub const WHOLE: Share = Share { number: 0, of: NonZeroU32::MIN };

    /// The share of generator `number`, counted from 0; `None` when there are not so many.
    pub fn new(number: u32, of: u32) -> Option<Share> {
        NonZeroU32::new(of).filter(|of| number < of.get()).map(|of| Share { number, of })
    }

    /// Its requests among `total`, in order.
    pub fn indices(self, total: usize) -> impl ExactSizeIterator<Item = usize> + Clone {
        (self.number as usize..total.max(self.number as usize)).step_by(self.of.get() as usize)
    }

    /// Its part of a limit that holds for all generators together; 0 when the limit is lower than their number.
    pub fn of_limit(self, limit: u32) -> u32 {
        limit / self.of + u32::from(self.number < limit % self.of)
    }

    /// Its own part `number` of `of`: what one of its workers sends.
    pub(super) fn part(self, number: u32, of: NonZeroU32) -> Share {
        // The product fits: there are neither so many generators nor so many cores.
        Share { number: self.number + number * self.of.get(), of: self.of.saturating_mul(of) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_share_is_one_of_those_that_there_are() {
        assert_eq!(Share::new(2, 2), None);
        assert_eq!(Share::new(0, 0), None);
        assert_eq!(Share::new(0, 1), Some(Share::WHOLE));
    }

    proptest! {
        #[test]
        fn shares_and_their_parts_make_up_the_whole(
            total in 0..200_usize, limit in 0..100_u32, of in 1..7_u32, workers in 1..5_u32
        ) {
            let shares: Vec<Share> = (0..of).map(|number| Share::new(number, of).unwrap()).collect();
            let workers = NonZeroU32::new(workers).unwrap();
            let parts = shares.iter().flat_map(|share| (0..workers.get()).map(|worker| share.part(worker, workers)));
            let mut indices: Vec<usize> = parts.flat_map(|part| part.indices(total)).collect();
            indices.sort_unstable();
            prop_assert!(indices.into_iter().eq(0..total));
            prop_assert_eq!(shares.iter().map(|share| share.of_limit(limit)).sum::<u32>(), limit);
        }
    }
}
