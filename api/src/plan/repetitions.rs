//! How far a condition's repetitions and a search's points may go: the stopping rule's looks, and doublings.

use crate::campaign::{Repetitions, Saturation};

/// Looks at an interval are allowed after so many blocks only: each further one raises the chance of a false stop.
pub(super) const LOOKS: [u32; 4] = [6, 8, 10, 12];

/// Repetitions that are run in any case: the minimum, or with `until` those before the first look.
pub(super) fn planned(repetitions: Repetitions) -> u32 {
    match repetitions.until {
        Some(_) => look_at_or_after(repetitions.minimum).min(maximum(repetitions)),
        None => repetitions.minimum,
    }
}

/// Repetitions to go to after a look at so many blocks found the interval too wide: those of the next look, or the
/// maximum when there is no other.
pub(super) fn after_look(repetitions: Repetitions, blocks: u32) -> u32 {
    look_at_or_after(blocks.saturating_add(1)).min(maximum(repetitions))
}

/// Most repetitions.
pub(super) fn maximum(repetitions: Repetitions) -> u32 {
    repetitions.maximum.unwrap_or(repetitions.minimum).max(repetitions.minimum)
}

fn look_at_or_after(blocks: u32) -> u32 {
    LOOKS.into_iter().find(|look| *look >= blocks).unwrap_or(u32::MAX)
}

/// The concurrencies that a saturation search may try, in order: the first one, doubled as long as the bound allows.
pub(super) fn concurrencies(search: Saturation) -> impl Iterator<Item = u32> {
    std::iter::successors(Some(search.minimum_concurrency.max(1)), |concurrency| concurrency.checked_mul(2))
        .take_while(move |concurrency| *concurrency <= search.maximum_concurrency)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::campaign::{Metric, Until};

    const UNTIL: Until = Until { metric: Metric::OutputThroughput, ratio_half_width_permille: 10 };

    #[rstest]
    #[case::fixed(3, None, 3, &[])]
    #[case::from_the_first_look(6, Some(12), 6, &[8, 10, 12])]
    #[case::no_look_before_six(3, Some(12), 6, &[8, 10, 12])]
    #[case::no_look_at_an_odd_number(7, Some(9), 8, &[9])]
    #[case::the_maximum_before_any_look(3, Some(5), 5, &[])]
    #[case::all_at_once_after_the_last_look(6, Some(20), 6, &[8, 10, 12, 20])]
    #[case::no_look_beyond_twelve(14, Some(40), 40, &[])]
    fn repetitions_go_from_look_to_look(
        #[case] minimum: u32,
        #[case] maximum: Option<u32>,
        #[case] first: u32,
        #[case] later: &[u32],
    ) {
        let repetitions = Repetitions { minimum, maximum, until: maximum.map(|_| UNTIL) };
        assert_eq!(planned(repetitions), first);
        let mut at = first;
        for expected in later {
            at = after_look(repetitions, at);
            assert_eq!(at, *expected);
        }
        assert_eq!(at, super::maximum(repetitions));
    }

    #[rstest]
    #[case(1, 8, &[1, 2, 4, 8])]
    #[case(3, 20, &[3, 6, 12])]
    #[case(16, 16, &[16])]
    fn concurrency_doubles_up_to_the_bound(#[case] minimum: u32, #[case] maximum: u32, #[case] expected: &[u32]) {
        let search = Saturation { minimum_concurrency: minimum, maximum_concurrency: maximum, gain_permille: 50 };
        assert_eq!(concurrencies(search).collect::<Vec<_>>(), expected);
    }
}
