//! `teebench crds`: writes the custom resource definitions.

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::Context;
use teebench_api::schema::crd_files;

use super::{DONE, print};

/// Write the custom resource definitions.
#[derive(clap::Args, Debug)]
#[command(before_help = "Example: teebench crds | kubectl apply --server-side -f -")]
pub struct Args {
    /// Directory to write one file for each definition to, in place of standard output.
    #[arg(long)]
    out: Option<PathBuf>,
}

/// Writes the definitions.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    for (name, yaml) in crd_files() {
        match &args.out {
            Some(dir) => {
                fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
                let path = dir.join(name);
                fs::write(&path, yaml).with_context(|| format!("cannot write {}", path.display()))?;
            }
            None => print(&format!("---\n{yaml}"))?,
        }
    }
    Ok(ExitCode::from(DONE))
}
