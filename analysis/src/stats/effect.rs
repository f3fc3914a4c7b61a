//! One comparison of two cells, put together: ratio, interval, test, verdict.

use super::{
    ALPHA, Estimate, Interval, bootstrap::Bootstrap, cliffs_delta, mean_interval, sign_flip, two_one_sided, welch,
};

/// Values of the two sides of a comparison.
#[derive(Clone, Debug, PartialEq)]
pub enum Observations {
    /// (numerator, denominator) of the same block, each with the boots it ran on. Pairs of the same boots are averaged
    /// when there are several boots, as the boot is then what is replicated.
    Paired(Vec<Pair>),
    /// The two sides did not run interleaved. Runs of one boot are averaged where a side has several boots.
    Unpaired {
        /// The numerator's runs.
        numerator: Vec<Single>,
        /// The denominator's runs.
        denominator: Vec<Single>,
    },
}

/// A run without a partner.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Single {
    /// Its value.
    pub value: f64,
    /// Names the boot that it ran on: equal for runs of the same boot.
    pub boot: u64,
}

impl Single {
    /// Values each of which is a unit of its own.
    pub fn independent(values: &[f64]) -> Vec<Self> {
        (0..).zip(values).map(|(boot, &value)| Self { value, boot }).collect()
    }
}

/// Two runs of the same block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// The numerator's value.
    pub numerator: f64,
    /// The denominator's value.
    pub denominator: f64,
    /// Names the boots that the two ran on: equal for pairs of the same boots.
    pub boots: u64,
}

/// What a comparison is held against.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// Ratios within it count as equal.
    pub margin: Margin,
    /// Seed of permutations that are drawn.
    pub seed: u64,
    /// The check beside the interval.
    pub bootstrap: &'a Bootstrap,
}

/// A symmetric margin around 1, for instance 0.02 for 0.98 to 1.02.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Margin(pub f64);

impl Default for Margin {
    fn default() -> Self {
        Self(0.02)
    }
}

impl Margin {
    fn on_logarithms(self) -> Interval {
        Interval { low: (1.0 - self.0).ln(), high: (1.0 + self.0).ln() }
    }
}

/// A comparison's result. Ratios are numerator over denominator.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Effect {
    /// Whether runs of the same block were paired.
    pub paired: bool,
    /// Independent units: pairs, or boots when pairs share some; when not paired, the smaller side's runs or boots.
    pub n: usize,
    /// Geometric mean ratio.
    pub ratio: f64,
    /// Its 95 % interval; absent of a single unit.
    pub interval: Option<Interval>,
    /// The bootstrap's interval, as a check.
    pub bootstrap: Option<Interval>,
    /// Two-sided p-value.
    pub p: Option<PValue>,
    /// p-value of "outside the margin".
    pub equivalence_p: Option<f64>,
    /// Cliff's delta of all values.
    pub cliffs_delta: f64,
    /// What can be said.
    pub verdict: Verdict,
}

/// A p-value and where it comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PValue {
    /// Of the sign-flip permutation test.
    SignFlip(f64),
    /// Of Welch's t-test.
    Welch(f64),
}

impl PValue {
    /// The number.
    #[must_use]
    pub const fn value(self) -> f64 {
        match self {
            Self::SignFlip(p) | Self::Welch(p) => p,
        }
    }
}

/// What a comparison says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The ratio lies within the margin, by the two one-sided tests.
    Equivalent,
    /// The interval excludes 1, and p is at most 0.05.
    Different,
    /// Neither holds, or there are too few units for either.
    Inconclusive,
}

/// Why there is no comparison.
#[derive(thiserror::Error, Clone, Copy, Debug, PartialEq, Eq)]
pub enum EffectError {
    /// One side is empty.
    #[error("no valid run on one side")]
    Empty,
    /// Logarithms need positive values.
    #[error("a value is zero, so that a ratio has no logarithm")]
    NotPositive,
}

/// Fewest paired units for a verdict: under six no permutation reaches 0.05.
pub const MINIMUM_PAIRS: usize = 6;

/// Fewest runs of either side for a verdict without pairs: under four no relabelling of eight runs reaches 0.05
/// (2/C(6,3) = 0.1, 2/C(8,4) = 0.029).
pub const MINIMUM_UNPAIRED: usize = 4;

/// Compares two sides.
///
/// # Errors
/// When a side is empty or a value is not positive.
pub fn estimate(observations: &Observations, options: Options<'_>) -> Result<Effect, EffectError> {
    match observations {
        Observations::Paired(pairs) => paired(pairs, options),
        Observations::Unpaired { numerator, denominator } => unpaired(numerator, denominator, options),
    }
}

fn paired(pairs: &[Pair], options: Options<'_>) -> Result<Effect, EffectError> {
    let (numerator, denominator): (Vec<f64>, Vec<f64>) =
        pairs.iter().map(|pair| (pair.numerator, pair.denominator)).unzip();
    let top = logarithms(&numerator)?;
    let bottom = logarithms(&denominator)?;
    let differences: Vec<f64> = top.iter().zip(&bottom).map(|(top, bottom)| top - bottom).collect();
    let boots: Vec<u64> = pairs.iter().map(|pair| pair.boots).collect();
    let units = by_boots(&boots, &differences);
    let estimate = mean_interval(&units);
    let p = sign_flip(&units, options.seed).map(PValue::SignFlip).filter(|_| units.len() > 1);
    let equivalence_p = estimate.map(|estimate| two_one_sided(&estimate, options.margin.on_logarithms()));
    let value = super::mean(&units).ok_or(EffectError::Empty)?;
    Ok(Effect {
        paired: true,
        n: units.len(),
        ratio: value.exp(),
        interval: estimate.map(|estimate| ratio(estimate.interval)),
        bootstrap: options.bootstrap.of_mean(&units).map(ratio),
        p,
        equivalence_p,
        cliffs_delta: cliffs_delta(&numerator, &denominator).ok_or(EffectError::Empty)?,
        verdict: verdict(estimate.as_ref(), p, equivalence_p, units.len() >= MINIMUM_PAIRS),
    })
}

fn unpaired(numerator: &[Single], denominator: &[Single], options: Options<'_>) -> Result<Effect, EffectError> {
    let values = |side: &[Single]| side.iter().map(|run| run.value).collect::<Vec<_>>();
    let units = |side: &[Single]| {
        let boots: Vec<u64> = side.iter().map(|run| run.boot).collect();
        Ok(by_boots(&boots, &logarithms(&values(side))?))
    };
    let (top, bottom) = (units(numerator)?, units(denominator)?);
    let estimate = welch(&top, &bottom);
    let p = estimate.map(|estimate| PValue::Welch(estimate.p));
    let equivalence_p = estimate.map(|estimate| two_one_sided(&estimate, options.margin.on_logarithms()));
    let (top_mean, bottom_mean) = super::mean(&top).zip(super::mean(&bottom)).ok_or(EffectError::Empty)?;
    let n = top.len().min(bottom.len());
    Ok(Effect {
        paired: false,
        n,
        ratio: (top_mean - bottom_mean).exp(),
        interval: estimate.map(|estimate| ratio(estimate.interval)),
        bootstrap: options.bootstrap.of_difference(&top, &bottom).map(ratio),
        p,
        equivalence_p,
        cliffs_delta: cliffs_delta(&values(numerator), &values(denominator)).ok_or(EffectError::Empty)?,
        verdict: verdict(estimate.as_ref(), p, equivalence_p, n >= MINIMUM_UNPAIRED),
    })
}

/// Mean of each boot's values, in the order in which boots first appear. With a single boot the values themselves are the
/// units: boots are then not replicated, which the caller says.
fn by_boots(boots: &[u64], values: &[f64]) -> Vec<f64> {
    let mut known: Vec<u64> = Vec::new();
    for boot in boots {
        if !known.contains(boot) {
            known.push(*boot);
        }
    }
    if known.len() < 2 {
        return values.to_vec();
    }
    known
        .iter()
        .filter_map(|boot| {
            let of_boot: Vec<f64> =
                boots.iter().zip(values).filter(|(of, _)| *of == boot).map(|(_, value)| *value).collect();
            super::mean(&of_boot)
        })
        .collect()
}

fn verdict(estimate: Option<&Estimate>, p: Option<PValue>, equivalence_p: Option<f64>, enough: bool) -> Verdict {
    let (Some(estimate), Some(p), Some(equivalence_p)) = (estimate, p, equivalence_p) else {
        return Verdict::Inconclusive;
    };
    let excludes_zero = estimate.interval.low > 0.0 || estimate.interval.high < 0.0;
    match () {
        () if !enough => Verdict::Inconclusive,
        () if equivalence_p < ALPHA => Verdict::Equivalent,
        () if excludes_zero && p.value() <= ALPHA => Verdict::Different,
        () => Verdict::Inconclusive,
    }
}

fn logarithms(values: &[f64]) -> Result<Vec<f64>, EffectError> {
    match values {
        [] => Err(EffectError::Empty),
        _ if values.iter().all(|value| *value > 0.0) => Ok(values.iter().map(|value| value.ln()).collect()),
        _ => Err(EffectError::NotPositive),
    }
}

fn ratio(interval: Interval) -> Interval {
    Interval { low: interval.low.exp(), high: interval.high.exp() }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    static BOOTSTRAP: Bootstrap = Bootstrap::new(200, 1);

    fn options(bootstrap: &Bootstrap) -> Options<'_> {
        Options { margin: Margin(0.02), seed: 1, bootstrap }
    }

    fn pairs(ratios: &[f64], boots: impl Fn(u64) -> u64) -> Observations {
        let pair =
            |(index, ratio): (u64, &f64)| Pair { numerator: 100.0 * ratio, denominator: 100.0, boots: boots(index) };
        Observations::Paired((0..).zip(ratios).map(pair).collect())
    }

    #[rstest]
    #[case::loss(&[0.93, 0.931, 0.929, 0.93, 0.932, 0.928], Verdict::Different)]
    #[case::the_same(&[1.001, 0.999, 1.002, 0.998, 1.0, 1.001], Verdict::Equivalent)]
    #[case::noise(&[1.1, 0.9, 1.05, 0.93, 1.0, 1.08], Verdict::Inconclusive)]
    #[case::five_pairs_of_a_clear_loss(&[0.93, 0.931, 0.929, 0.93, 0.932], Verdict::Inconclusive)]
    #[case::five_pairs_of_the_same(&[1.001, 0.999, 1.002, 0.998, 1.0], Verdict::Inconclusive)]
    fn a_verdict_needs_evidence_for_what_it_says(#[case] ratios: &[f64], #[case] expected: Verdict) {
        assert_eq!(estimate(&pairs(ratios, |index| index), options(&BOOTSTRAP)).unwrap().verdict, expected);
    }

    #[test]
    fn pairs_of_one_boot_count_once_when_there_are_several_boots() {
        let ratios = [0.9, 0.91, 0.92, 0.95, 0.96, 0.97];
        let effect = estimate(&pairs(&ratios, |index| index / 3), options(&BOOTSTRAP)).unwrap();
        assert_eq!(effect.n, 2);
        let all_of_one_boot = estimate(&pairs(&ratios, |_| 0), options(&BOOTSTRAP)).unwrap();
        assert_eq!(all_of_one_boot.n, 6);
        assert!((effect.ratio - all_of_one_boot.ratio).abs() < 1e-12);
    }

    #[test]
    fn the_unpaired_interval_is_wider_where_blocks_differ() {
        let speeds = [100.0, 120.0, 90.0, 140.0, 80.0, 110.0];
        let slower = speeds.map(|speed| 0.93 * speed);
        let paired = Observations::Paired(
            (0..)
                .zip(slower.iter().zip(speeds))
                .map(|(boots, (&numerator, denominator))| Pair { numerator, denominator, boots })
                .collect(),
        );
        let unpaired = Observations::Unpaired {
            numerator: Single::independent(&slower),
            denominator: Single::independent(&speeds),
        };
        let width = |observations| {
            let interval = estimate(observations, options(&BOOTSTRAP)).unwrap().interval.unwrap();
            interval.high - interval.low
        };
        assert!(width(&unpaired) > 10.0 * width(&paired));
    }

    #[test]
    fn unpaired_runs_of_one_boot_count_once_when_a_side_has_several_boots() {
        let side = |factor: f64| -> Vec<Single> {
            let values = [100.0, 101.0, 104.0, 105.0, 98.0, 99.0];
            (0..).zip(values).map(|(index, value)| Single { value: factor * value, boot: index / 2 }).collect()
        };
        let observations = Observations::Unpaired { numerator: side(0.9), denominator: side(1.0) };
        let effect = estimate(&observations, options(&BOOTSTRAP)).unwrap();
        assert_eq!(effect.n, 3);
        assert!((effect.ratio - 0.9).abs() < 1e-12);
    }

    #[test]
    fn one_pair_has_a_ratio_and_no_interval() {
        let effect = estimate(&pairs(&[0.93], |index| index), options(&BOOTSTRAP)).unwrap();
        assert!((effect.ratio - 0.93).abs() < 1e-12);
        assert_eq!((effect.interval, effect.p, effect.verdict), (None, None, Verdict::Inconclusive));
    }

    #[test]
    fn a_ratio_of_nothing_is_refused() {
        assert_eq!(estimate(&pairs(&[], |index| index), options(&BOOTSTRAP)), Err(EffectError::Empty));
        assert_eq!(estimate(&pairs(&[0.0], |index| index), options(&BOOTSTRAP)), Err(EffectError::NotPositive));
    }
}
