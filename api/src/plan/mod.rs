//! The plan of a campaign: everything that will be done, in order, decided from the file alone.

mod model;

pub use model::{Block, Boot, Condition, Estimate, LoadPoint, Plan, PlannedRun, Range, RouterTarget, RunId};
