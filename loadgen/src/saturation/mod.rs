//! The search for the highest request rate that still meets the objectives: doubling, then bisection.
//!
//! Pure: it says which rate to measure next from what was measured so far. (In a campaign the plan searches instead,
//! with all arms and routers as one block.)

mod interval;

pub use interval::Interval;

/// How a search goes and when it has found enough.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SearchOptions {
    /// First rate to try, in requests per second.
    pub start_rps: f64,
    /// Highest rate to try, in requests per second.
    pub maximum_rps: f64,
    /// Share of the requests that must meet the objectives for a rate to hold.
    pub attainment: f64,
    /// The search ends when the lowest rate that fails is at most this share above the highest that holds.
    pub resolution: f64,
    /// A rate is measured again until the half-width of its interval is at most this, or the interval is on one side
    /// of the attainment.
    pub half_width: f64,
    /// Fewest times that a rate is measured; two give an interval.
    pub minimum_repetitions: usize,
    /// Most times that a rate is measured.
    pub maximum_repetitions: usize,
}

/// Halvings below the first rate after which no rate is taken to hold.
const HALVINGS_MAX: usize = 10;

/// One rate and what came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Requests per second.
    pub rate_rps: f64,
    /// Share of requests that met the objectives, one for each time it was measured.
    pub shares: Vec<f64>,
}

impl Point {
    /// The mean share with its interval.
    pub fn interval(&self) -> Interval {
        Interval::of(&self.shares)
    }
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Next {
    /// Measure this rate (again), in requests per second.
    Measure(f64),
    /// The search is over.
    Found(Knee),
}

/// Where the objectives cease to be met.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Knee {
    /// The highest rate that holds and the lowest that fails, in requests per second.
    Between(f64, f64),
    /// The highest rate that was tried holds.
    Above(f64),
    /// The lowest rate that was tried fails.
    Below(f64),
}

/// A search under way.
#[derive(Clone, Debug)]
pub struct Search {
    options: SearchOptions,
    points: Vec<Point>,
}

impl Search {
    /// Begins a search.
    pub fn new(options: SearchOptions) -> Search {
        Search { options, points: Vec::new() }
    }

    /// All that was measured, by rate.
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// Notes the share of requests that met the objectives in one run at a rate.
    pub fn observe(&mut self, rate_rps: f64, share: f64) {
        match self.points.binary_search_by(|point| point.rate_rps.total_cmp(&rate_rps)) {
            Ok(place) => self.points[place].shares.push(share),
            Err(place) => self.points.insert(place, Point { rate_rps, shares: vec![share] }),
        }
    }

    /// What to do next.
    pub fn next(&self) -> Next {
        if let Some(open) = self.points.iter().find(|point| !self.is_decided(point)) {
            return Next::Measure(open.rate_rps);
        }
        let SearchOptions { start_rps, maximum_rps, resolution, .. } = self.options;
        // The lowest failure bounds from above; what seemed to hold beyond it was luck.
        let fails = self.points.iter().find(|point| !self.holds(point)).map(|point| point.rate_rps);
        let below = |rate_rps: f64| fails.is_none_or(|fails| rate_rps < fails);
        let holds = self.points.iter().rev().map(|point| point.rate_rps).find(|&rate_rps| below(rate_rps));
        match (holds, fails) {
            (None, None) => Next::Measure(start_rps.min(maximum_rps)),
            (Some(holds), None) if holds >= maximum_rps => Next::Found(Knee::Above(holds)),
            (Some(holds), None) => Next::Measure((holds * 2.0).min(maximum_rps)),
            (None, Some(fails)) if self.points.len() > HALVINGS_MAX => Next::Found(Knee::Below(fails)),
            (None, Some(fails)) => Next::Measure(fails / 2.0),
            (Some(holds), Some(fails)) if fails <= holds * (1.0 + resolution) => {
                Next::Found(Knee::Between(holds, fails))
            }
            // Halfway by factor: rates double, so their logarithms are halved.
            (Some(holds), Some(fails)) => Next::Measure((holds * fails).sqrt()),
        }
    }

    fn holds(&self, point: &Point) -> bool {
        point.interval().mean >= self.options.attainment
    }

    /// Whether measuring it again could no longer change much.
    fn is_decided(&self, point: &Point) -> bool {
        let SearchOptions { attainment, half_width, minimum_repetitions, maximum_repetitions, .. } = self.options;
        let interval = point.interval();
        let clear = (interval.mean - attainment).abs() > interval.half_width;
        point.shares.len() >= maximum_repetitions
            || (point.shares.len() >= minimum_repetitions && (clear || interval.half_width <= half_width))
    }
}

#[cfg(test)]
mod tests;
