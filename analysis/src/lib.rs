//! Readers, statistics, summary and report of a campaign's results.
//!
//! [`read`] takes a results tree and gives campaigns with each run's [`metrics`]; [`summary`] puts them together by the
//! rules of [`stats`]; [`report`] shows a summary as text, as one HTML page, or as tables. [`notebook`] reads another
//! layout of results and has its analyses.

mod cli;
pub mod metrics;
pub mod notebook;
pub mod read;
pub mod report;
pub mod stats;
pub mod summary;

pub use self::{
    cli::{Args, ExportArgs, Format, ImportArgs, export, import, run},
    metrics::quick_metrics,
};
