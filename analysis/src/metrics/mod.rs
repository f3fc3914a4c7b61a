//! Metrics of one run, from its result file and what its servers and probes said.

mod distribution;
pub mod growth;
pub mod lock_step;
pub mod measure;
mod quick;
mod run;

pub(crate) use self::run::{bench_metrics, measure_surroundings};
pub use self::{
    measure::{Direction, Measure, Statistic},
    quick::{planner_metrics, quick_metrics},
    run::{RunMetrics, measure_run},
};
