//! The notebook *Confidential AI: what's the catch?*: its tree of result files, and its analyses as they stand and as
//! they should be.

pub mod analyses;
mod export;
mod import;
mod names;
mod plain;
mod run;
mod tree;

pub use self::{
    export::{ArmChoice, ExportError, Exported, export},
    import::{ImportError, campaigns, import},
    names::{Kind, Label, Order, model_size},
    run::{PerRequest, Run},
    tree::{Condition, Experiment, Fault, Layout, Tree},
};
