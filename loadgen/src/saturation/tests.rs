//! What the search promises: it brackets the knee, repeats what is in doubt, and always ends.

use proptest::prelude::*;
use rstest::rstest;

use super::*;

const OPTIONS: SearchOptions = SearchOptions {
    start_rps: 1.0,
    maximum_rps: 1e4,
    attainment: 0.9,
    resolution: 0.05,
    half_width: 0.02,
    minimum_repetitions: 2,
    maximum_repetitions: 8,
};

/// Searches a server whose share at a rate `share_at` gives; also how many runs that took.
fn search(options: SearchOptions, mut share_at: impl FnMut(f64) -> f64) -> (Knee, usize, Vec<Point>) {
    let mut search = Search::new(options);
    for runs in 0..1_000 {
        match search.next() {
            Next::Measure(rate_rps) => search.observe(rate_rps, share_at(rate_rps)),
            Next::Found(knee) => return (knee, runs, search.points().to_vec()),
        }
    }
    panic!("not over after 1,000 runs: {:?}", search.points())
}

proptest! {
    #[test]
    fn the_knee_is_bracketed(knee_rps in 0.01..9e3f64, start_rps in 0.5..500.0f64) {
        let options = SearchOptions { start_rps, ..OPTIONS };
        let (found, _, _) = search(options, |rate_rps| if rate_rps <= knee_rps { 1.0 } else { 0.2 });
        match found {
            Knee::Between(holds, fails) => {
                prop_assert!(holds <= knee_rps && knee_rps < fails, "{holds} to {fails}");
                prop_assert!(fails <= holds * 1.05 + 1e-9);
            }
            Knee::Below(fails) => prop_assert!(knee_rps < fails && fails <= start_rps / 512.0),
            Knee::Above(holds) => prop_assert!(false, "{holds} is under the maximum"),
        }
    }

    #[test]
    fn any_luck_ends_the_search(shares in prop::collection::vec(0.0..=1.0f64, 1..100)) {
        let mut shares = shares.into_iter().cycle();
        search(OPTIONS, |_| shares.next().unwrap());
    }
}

#[test]
fn a_server_that_always_holds_ends_at_the_maximum() {
    let (found, _, points) = search(SearchOptions { maximum_rps: 100.0, ..OPTIONS }, |_| 1.0);
    assert_eq!(found, Knee::Above(100.0));
    let rates: Vec<f64> = points.iter().map(|point| point.rate_rps).collect();
    assert_eq!(rates, [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 100.0]);
}

#[rstest]
#[case::clearly_good(&[1.0, 0.99], 2)]
#[case::clearly_bad(&[0.1, 0.12], 2)]
#[case::in_doubt_until_it_is_clear(&[0.85, 0.99, 0.97, 0.98, 0.985, 0.98, 0.98, 0.98], 6)]
#[case::in_doubt_to_the_end(&[0.7, 1.0, 0.8, 1.0, 0.75, 0.99, 0.8, 1.0], 8)]
fn a_rate_in_doubt_is_measured_again(#[case] shares: &[f64], #[case] expected: usize) {
    let mut search = Search::new(OPTIONS);
    let taken = shares
        .iter()
        .take_while(|&&share| {
            let again = search.next() == Next::Measure(1.0);
            search.observe(1.0, share);
            again
        })
        .count();
    assert_eq!(taken, expected, "{:?}", search.points());
}
