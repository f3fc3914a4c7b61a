//! A quantity over time, known at points and linear between them.

/// Points in ascending time: seconds from the window's start, and the value.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Curve {
    points: Vec<(f64, f64)>,
}

impl Curve {
    /// A curve through these points, in ascending time; of points at one time the first is kept.
    pub(super) fn new(points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let mut kept: Vec<(f64, f64)> = Vec::new();
        for point in points {
            if kept.last().is_none_or(|last| point.0 > last.0) {
                kept.push(point);
            }
        }
        Self { points: kept }
    }

    /// First and last time of the points.
    pub(super) fn span(&self) -> Option<(f64, f64)> {
        Some((self.points.first()?.0, self.points.last()?.0))
    }

    /// The value at a time; `None` outside the points.
    pub(super) fn at(&self, time: f64) -> Option<f64> {
        let next = self.points.partition_point(|point| point.0 < time);
        let after = self.points.get(next)?;
        if after.0 == time {
            return Some(after.1);
        }
        let before = self.points[next.checked_sub(1)?];
        Some(before.1 + (after.1 - before.1) * (time - before.0) / (after.0 - before.0))
    }

    /// The value at a time, with the rise between two points spread as the integral of `rate` is: exact for a counter
    /// of that rate, however far its points lie apart. Linear where the rate is not known; `None` outside the points.
    pub(super) fn at_along(&self, time: f64, rate: &Self) -> Option<f64> {
        let linear = self.at(time)?;
        let next = self.points.partition_point(|point| point.0 < time);
        let Some(((from, low), (to, high))) = next.checked_sub(1).map(|last| (self.points[last], self.points[next]))
        else {
            return Some(linear);
        };
        let share = match (rate.integral(from, time), rate.integral(from, to)) {
            (Some(part), Some(whole)) if whole > 0.0 => part / whole,
            _ => return Some(linear),
        };
        Some(low + (high - low) * share)
    }

    /// The integral from one time to a later one by the trapezoidal rule, both edges interpolated; `None` when the
    /// points do not reach them.
    pub(super) fn integral(&self, from: f64, to: f64) -> Option<f64> {
        let mut last = (from, self.at(from)?);
        let end = (to, self.at(to)?);
        let mut sum = 0.0;
        for point in self.points.iter().copied().filter(|point| from < point.0 && point.0 < to).chain([end]) {
            sum += (point.0 - last.0) * (point.1 + last.1) / 2.0;
            last = point;
        }
        Some(sum)
    }

    /// The longest time between two neighbouring points of which some part lies between the two times.
    pub(super) fn longest_gap(&self, from: f64, to: f64) -> Option<f64> {
        let touching = self.points.windows(2).filter(|pair| pair[1].0 > from && pair[0].0 < to);
        touching.map(|pair| pair[1].0 - pair[0].0).reduce(f64::max)
    }

    /// The largest value among the points between the two times.
    pub(super) fn peak(&self, from: f64, to: f64) -> Option<f64> {
        self.points.iter().filter(|point| from <= point.0 && point.0 <= to).map(|point| point.1).reduce(f64::max)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::constant(&[(0.0, 5.0), (10.0, 5.0)], 2.0, 4.0, Some(10.0))]
    #[case::ramp(&[(0.0, 0.0), (10.0, 10.0)], 0.0, 10.0, Some(50.0))]
    #[case::ramp_clipped_and_interpolated(&[(0.0, 0.0), (4.0, 4.0), (10.0, 10.0)], 1.0, 3.0, Some(4.0))]
    #[case::step(&[(0.0, 0.0), (1.0, 0.0), (1.5, 8.0), (3.0, 8.0)], 0.5, 2.5, Some(10.0))]
    #[case::edge_on_a_point(&[(0.0, 2.0), (1.0, 4.0), (2.0, 2.0)], 1.0, 2.0, Some(3.0))]
    #[case::empty_span(&[(0.0, 2.0), (1.0, 4.0)], 0.5, 0.5, Some(0.0))]
    #[case::begins_late(&[(1.0, 2.0), (2.0, 4.0)], 0.5, 2.0, None)]
    #[case::ends_early(&[(1.0, 2.0), (2.0, 4.0)], 1.0, 2.5, None)]
    #[case::no_points(&[], 0.0, 1.0, None)]
    fn the_integral_is_the_analytic_one(
        #[case] points: &[(f64, f64)],
        #[case] from: f64,
        #[case] to: f64,
        #[case] expected: Option<f64>,
    ) {
        assert_eq!(Curve::new(points.iter().copied()).integral(from, to), expected);
    }

    #[test]
    fn of_two_points_at_one_time_the_first_is_kept() {
        assert_eq!(Curve::new([(0.0, 1.0), (0.0, 9.0), (1.0, 1.0)]).integral(0.0, 1.0), Some(1.0));
    }

    #[rstest]
    #[case::inside(0.5, 2.5, Some(1.5))]
    #[case::reaching_over_the_edge(2.4, 2.45, Some(1.5))]
    #[case::elsewhere(0.1, 0.9, Some(1.0))]
    fn a_gap_counts_whole_when_the_span_touches_it(#[case] from: f64, #[case] to: f64, #[case] expected: Option<f64>) {
        let curve = Curve::new([(0.0, 0.0), (1.0, 0.0), (2.5, 0.0), (3.0, 0.0)]);
        assert_eq!(curve.longest_gap(from, to), expected);
    }

    #[rstest]
    #[case::before_the_step(3.0, 300.0)]
    #[case::at_the_step(5.0, 500.0)]
    #[case::after_the_step(7.0, 2_500.0)]
    #[case::on_a_point(0.0, 0.0)]
    fn a_counter_is_followed_along_its_rate(#[case] time: f64, #[case] expected: f64) {
        let rate = Curve::new([(0.0, 100.0), (5.0, 100.0), (5.000_001, 1_000.0), (10.0, 1_000.0)]);
        let counter = Curve::new([(0.0, 0.0), (10.0, 5_500.0)]);
        let value = counter.at_along(time, &rate).unwrap();
        assert!((value - expected).abs() < 0.01, "{value}");
    }

    #[test]
    fn without_its_rate_a_counter_is_followed_in_a_straight_line() {
        let counter = Curve::new([(0.0, 0.0), (10.0, 5_500.0)]);
        let beginning_late = Curve::new([(1.0, 100.0), (10.0, 100.0)]);
        for rate in [Curve::default(), beginning_late, Curve::new([(0.0, 0.0), (10.0, 0.0)])] {
            assert_eq!(counter.at_along(5.0, &rate), Some(2_750.0));
        }
        assert_eq!(counter.at_along(11.0, &Curve::default()), None);
    }

    fn curves() -> impl Strategy<Value = Curve> {
        prop::collection::vec((0.001..1.0f64, 0.0..1000.0f64), 2..200).prop_map(|steps| {
            let mut time = 0.0;
            Curve::new(steps.into_iter().map(|(step, value)| {
                time += step;
                (time, value)
            }))
        })
    }

    proptest! {
        #[test]
        fn integrals_of_two_parts_add_up_to_the_whole(curve in curves(), cut in 0.0..1.0f64) {
            let (first, last) = curve.span().unwrap();
            let middle = (first + cut * (last - first)).clamp(first, last);
            let whole = curve.integral(first, last).unwrap();
            let parts = curve.integral(first, middle).unwrap() + curve.integral(middle, last).unwrap();
            prop_assert!((whole - parts).abs() <= 1e-9 * whole.max(1.0), "{whole} is not {parts}");
        }

        #[test]
        fn an_integral_lies_between_the_least_and_the_largest_value(curve in curves()) {
            let (first, last) = curve.span().unwrap();
            let mean = curve.integral(first, last).unwrap() / (last - first);
            let peak = curve.peak(first, last).unwrap();
            prop_assert!((-1e-9..=peak * (1.0 + 1e-9) + 1e-9).contains(&mean));
        }
    }
}
