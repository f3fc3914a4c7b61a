//! The `BenchmarkCampaign` custom resource.

pub mod dataset;
