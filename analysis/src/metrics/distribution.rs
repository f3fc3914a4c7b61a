//! Mean and percentiles over the requests of one run.

use super::measure::{Measure, Statistic};
use crate::stats::percentile::{minimum_requests, percentile_of_unsorted};

/// Either a metric's value, or why there is none.
pub type Measured = (Measure, Result<f64, String>);

/// The statistics of one latency. `values` are reordered; `requests` is how many completed requests they stand for.
///
/// A median is stated of any request; the percentiles beyond it need as many requests as
/// [`minimum_requests`] says, as a p99 of 100 requests is merely their largest value.
pub fn describe(values: &mut [f64], requests: usize, measures: [(Statistic, Measure); 4]) -> [Measured; 4] {
    measures.map(|(statistic, measure)| (measure, statistic_of(values, requests, statistic)))
}

/// The same four metrics, all absent for one reason.
pub fn absent(measures: [(Statistic, Measure); 4], reason: &str) -> [Measured; 4] {
    measures.map(|(_, measure)| (measure, Err(reason.to_owned())))
}

fn statistic_of(values: &mut [f64], requests: usize, statistic: Statistic) -> Result<f64, String> {
    if values.is_empty() {
        return Err("no completed request has it".to_owned());
    }
    match statistic {
        Statistic::Mean => Ok(values.iter().sum::<f64>() / values.len() as f64),
        Statistic::Percentile(percent) => {
            let percent = f64::from(percent);
            let needed = minimum_requests(percent);
            if percent > 50.0 && requests < needed {
                return Err(format!("p{percent} needs {needed} completed requests; this run has {requests}"));
            }
            percentile_of_unsorted(values, percent).ok_or_else(|| "no completed request has it".to_owned())
        }
    }
}
