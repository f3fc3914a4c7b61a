//! Lock-step inside a run: requests that start and end together, wave after wave.
//!
//! A closed loop whose requests all take equally long sends them in waves. The time to first token is then that of a
//! whole wave's prompts at once, and requests of a wave are one observation rather than many.

/// Fewest requests in flight that make a wave.
const MINIMUM_WAVE: usize = 4;

/// Fewest waves that a run must have room for.
const MINIMUM_WAVES: usize = 3;

/// Share of the time between the first and the last start that lies between waves. Starts that follow one another by
/// chance leave about (1 + ln w)/w of it to the widest gaps, one for w starts: under 0.6 from four on.
const SHARE_BETWEEN_WAVES: f64 = 0.9;

/// Whether a closed loop with at most `in_flight` requests ran in lock-step, from the starts of its requests in seconds,
/// in any order; `None` of a run with too few requests, or without waves to speak of.
#[must_use]
pub fn lock_step(starts_s: &[f64], in_flight: usize) -> Option<bool> {
    if in_flight < MINIMUM_WAVE {
        return None;
    }
    let waves = starts_s.len().div_ceil(in_flight);
    if waves < MINIMUM_WAVES {
        return None;
    }
    let mut starts = starts_s.to_vec();
    starts.sort_by(f64::total_cmp);
    let whole = starts.last()? - starts.first()?;
    let mut gaps: Vec<f64> = starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    gaps.sort_by(|left, right| right.total_cmp(left));
    let between_waves: f64 = gaps.iter().take(waves.saturating_sub(1)).sum();
    Some(whole > 0.0 && between_waves > SHARE_BETWEEN_WAVES * whole)
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;
    use rstest::rstest;

    use super::*;

    /// A closed loop of eight whose requests take a second each, more or less.
    fn starts(spread: f64) -> Vec<f64> {
        let mut random = ChaCha8Rng::seed_from_u64(8);
        let mut free = [0.0_f64; 8];
        (0..160)
            .map(|request: usize| {
                let slot = request % 8;
                let start = free[slot];
                free[slot] = start + 1.0 + spread * random.random::<f64>();
                start
            })
            .collect()
    }

    #[rstest]
    #[case::equally_long(0.002, Some(true))]
    #[case::of_many_lengths(1.5, Some(false))]
    fn requests_that_take_equally_long_run_in_lock_step(#[case] spread: f64, #[case] expected: Option<bool>) {
        assert_eq!(lock_step(&starts(spread), 8), expected);
    }

    #[rstest]
    #[case::one_after_another(1)]
    #[case::fewer_than_three_waves(80)]
    #[case::none(0)]
    fn nothing_is_said_where_there_are_no_waves(#[case] in_flight: usize) {
        assert_eq!(lock_step(&starts(0.002), in_flight), None);
    }
}
