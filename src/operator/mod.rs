//! The executor on Kubernetes: the same plan and the same `next` as a local run, on StatefulSets and Jobs.

pub mod build;
pub mod labels;
pub mod names;
