//! The simulator over real HTTP on ephemeral ports.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod admin;
mod chat;
mod completions;
mod errors;
mod faults;
mod gpu;
mod harness;
mod metrics;
mod process;
