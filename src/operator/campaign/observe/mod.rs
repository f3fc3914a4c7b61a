//! The cluster as `next` sees it: pure functions from objects to observations.

pub mod attempts;
pub mod pods;
pub mod servers;
