//! The pure engine, driven by virtual time: scheduling, properties, what the profiles give, what the mechanisms do.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod ablation;
mod fit;
mod properties;
mod scheduling;
mod virtual_time;
