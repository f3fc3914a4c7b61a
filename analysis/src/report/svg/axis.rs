//! Scales and their ticks.

/// A scale from values to coordinates.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    from: f64,
    to: f64,
    left: f64,
    right: f64,
}

impl Scale {
    /// Maps `from..to` to `left..right`.
    pub const fn new(from: f64, to: f64, left: f64, right: f64) -> Self {
        Self { from, to, left, right }
    }

    /// The coordinate where the scale begins.
    pub const fn start(&self) -> f64 {
        self.left
    }

    /// The coordinate of a value, kept inside the scale. A scale of one value has it in its middle.
    pub fn position(&self, value: f64) -> f64 {
        let share =
            if self.from == self.to { 0.5 } else { ((value - self.from) / (self.to - self.from)).clamp(0.0, 1.0) };
        self.left + share * (self.right - self.left)
    }
}

/// Round ticks that cover `low..=high`, about `wanted` of them: multiples of 1, 2 or 5 times a power of ten.
pub fn linear_ticks(low: f64, high: f64, wanted: usize) -> Vec<f64> {
    let span = high - low;
    if !span.is_finite() || span <= 0.0 {
        return vec![low];
    }
    let rough = span / wanted as f64;
    let power = 10.0_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= rough);
    let step = step.unwrap_or(10.0 * power);
    let (first, last) = ((low / step).floor(), (high / step).ceil());
    #[expect(clippy::cast_possible_truncation, reason = "a handful of ticks")]
    let count = (last - first).round() as i32;
    (0..=count).map(|index| (first + f64::from(index)) * step).collect()
}

/// Changes in percent that make good ticks on a logarithmic axis of ratios, from none outwards.
const CHANGES: [f64; 17] =
    [0.0, 1.0, -1.0, 2.0, -2.0, 5.0, -5.0, 10.0, -10.0, 20.0, -20.0, 50.0, -50.0, 100.0, 200.0, 400.0, -80.0];

/// Ticks of an axis of ratios as (ratio, label), none nearer to another than `least` coordinates. Coarse ones are kept
/// before fine ones.
pub fn ratio_ticks(scale: &Scale, low: f64, high: f64, least: f64) -> Vec<(f64, String)> {
    let mut kept: Vec<(f64, f64)> = vec![(1.0, 0.0)];
    for change in CHANGES[1..].iter().rev() {
        let ratio = 1.0 + change / 100.0;
        let inside = low <= ratio && ratio <= high;
        let position = scale.position(ratio.ln());
        if inside && kept.iter().all(|(other, _)| (scale.position(other.ln()) - position).abs() >= least) {
            kept.push((ratio, *change));
        }
    }
    kept.sort_by(|left, right| left.0.total_cmp(&right.0));
    kept.into_iter()
        .map(|(ratio, change)| match change {
            0.0 => (ratio, "no change".to_owned()),
            change if change < 0.0 => (ratio, format!("−{:.0} %", -change)),
            change => (ratio, format!("+{change:.0} %")),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn a_scale_of_one_value_has_it_in_the_middle() {
        assert!((Scale::new(3.0, 3.0, 10.0, 20.0).position(3.0) - 15.0).abs() < 1e-9);
    }

    #[rstest]
    #[case(0.0, 100.0, &[0.0, 20.0, 40.0, 60.0, 80.0, 100.0])]
    #[case(0.0, 0.9, &[0.0, 0.2, 0.4, 0.6, 0.8, 1.0])]
    #[case(3.0, 3.0, &[3.0])]
    fn ticks_are_round_and_cover_the_range(#[case] low: f64, #[case] high: f64, #[case] expected: &[f64]) {
        let found = linear_ticks(low, high, 5);
        assert_eq!(found.len(), expected.len(), "{found:?}");
        assert!(found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-9), "{found:?}");
    }
}
