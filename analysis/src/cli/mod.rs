//! The subcommands `report`, `export` and `import`.

mod inputs;
mod report;
mod tree;

use std::process::ExitCode;

pub use self::{
    report::{Args, Format, run},
    tree::{ExportArgs, ImportArgs, export, import},
};

/// Says on standard error what is wrong with the input.
fn refused(what: &str) -> ExitCode {
    eprintln!("{what}");
    ExitCode::from(2)
}
