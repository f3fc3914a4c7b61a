//! `teebench export` and `teebench import`.

use std::{path::PathBuf, process::ExitCode};

use clap::ValueEnum;

use super::refused;
use crate::{
    notebook::{self, ArmChoice, Tree},
    read::campaigns,
};

/// Writes a campaign's runs in another program's layout.
#[derive(clap::Args, Clone, Debug)]
#[command(before_help = "Example: teebench export results/ --layout notebook --out tree/")]
pub struct ExportArgs {
    /// Directories of campaigns, or directories one above them
    #[arg(required = true, value_name = "RESULTS")]
    pub paths: Vec<PathBuf>,

    /// Layout to write
    #[arg(long, value_enum, default_value_t = Layout::Notebook)]
    pub layout: Layout,

    /// Directory to write to
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,

    /// Arm that stands for the TEE on [default: the one with tee Enabled]
    #[arg(long, value_name = "ARM")]
    pub on: Option<String>,

    /// Arm that stands for the TEE off [default: the one with tee Disabled]
    #[arg(long, value_name = "ARM")]
    pub off: Option<String>,
}

/// A layout of result files.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `<experiment>/<condition>/<tee_on or tee_off>/*repetition_<n>.json`, with a power file beside each.
    Notebook,
}

/// Runs `teebench export`. Exit code 1 when a run was left out, 2 when there is nothing to export.
///
/// # Errors
/// None at present; the result is that of every subcommand.
pub fn export(args: ExportArgs) -> anyhow::Result<ExitCode> {
    let ExportArgs { paths, layout: Layout::Notebook, out, on, off } = args;
    let campaigns = match campaigns(&paths) {
        Ok(campaigns) => campaigns,
        Err(error) => return Ok(refused(&error.in_one_line())),
    };
    let exported = match notebook::export(&campaigns, &ArmChoice { on, off }, &out) {
        Ok(exported) => exported,
        Err(error) => return Ok(refused(&format!("{:#}", anyhow::Error::new(error)))),
    };
    exported.left_out.iter().for_each(|reason| tracing::warn!("left out: {reason}"));
    println!("{}: {} runs, {} left out", out.display(), exported.runs, exported.left_out.len());
    Ok(ExitCode::from(u8::from(!exported.left_out.is_empty())))
}

/// Makes results of a notebook's tree.
#[derive(clap::Args, Clone, Debug)]
#[command(before_help = "Example: teebench import tree/ --out results/")]
pub struct ImportArgs {
    /// Root of the tree
    #[arg(value_name = "TREE")]
    pub tree: PathBuf,

    /// Directory to write to: a campaign for each mode
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,

    /// Leave out files that cannot be used
    #[arg(long)]
    pub skip_bad: bool,
}

/// Runs `teebench import`. Exit code 2 when there is no tree, or one of its files cannot be used.
///
/// # Errors
/// None at present; the result is that of every subcommand.
pub fn import(args: ImportArgs) -> anyhow::Result<ExitCode> {
    let ImportArgs { tree: root, out, skip_bad } = args;
    let tree = match Tree::read(&root) {
        Ok(Some(tree)) => tree,
        Ok(None) => return Ok(refused(&format!("{}: no tree of result files here", root.display()))),
        Err(error) => return Ok(refused(&error.in_one_line())),
    };
    tree.bad.iter().chain(&tree.notes).for_each(|fault| tracing::warn!("{fault}"));
    if !tree.bad.is_empty() && !skip_bad {
        return Ok(refused("some files cannot be used; mend them, or leave them out by --skip-bad"));
    }
    match notebook::import(&tree, &out) {
        Ok(runs) => println!("{}: {runs} runs", out.display()),
        Err(error) => return Ok(refused(&format!("{:#}", anyhow::Error::new(error)))),
    }
    Ok(ExitCode::SUCCESS)
}
