//! The plan and `next`: tables, properties, and a simulated executor that drives campaigns to their end.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod build;
mod dataset_files;
mod executor;
mod fixtures;
mod interrupted;
mod next;
mod order;
