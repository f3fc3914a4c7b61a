//! The notebook *Confidential AI: what's the catch?*: its tree of result files, and its analyses as they stand and as
//! they should be.

pub mod analyses;
mod names;
mod plain;
mod run;
mod tree;

pub use self::{
    names::{Kind, Label, Order, model_size},
    run::{PerRequest, Run},
    tree::{Condition, Experiment, Fault, Tree},
};
