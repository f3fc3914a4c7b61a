//! `teebench weights`: one revision of a model in a directory, fetched once.

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use super::{DONE, FAILED, INTERRUPTED, print};
use crate::weights::{self, End, Wanted};

/// Fetch a model's weights once.
///
/// Where the directory already holds that revision whole, nothing is done. Else the downloader runs; a marker that it
/// came to its end is written last, so that half a download is never served.
#[derive(clap::Args, Debug)]
#[command(before_help = "Example:
  teebench weights --repository OWNER/NAME --revision COMMIT --to DIR -- \\
    hf download OWNER/NAME --revision COMMIT --local-dir DIR")]
pub struct Args {
    /// Repository of the model, as `owner/name`.
    #[arg(long)]
    repository: String,
    /// Commit of the repository.
    #[arg(long)]
    revision: String,
    /// Directory that shall hold its files.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// The downloader's command line.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Fetches.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let Args { repository, revision, to, command } = args;
    let (program, arguments) = command.split_first().expect("the parser demands a command");
    let wanted = Wanted { repository, revision, directory: to };
    let code = match weights::run(&wanted, program, arguments)? {
        End::AlreadyThere => {
            print(&format!("{repository} at {revision} is there already: {}\n", to.display()))?;
            DONE
        }
        End::Fetched { files, bytes } => {
            print(&format!("{repository} at {revision}: {files} files, {bytes} bytes in {}\n", to.display()))?;
            DONE
        }
        End::Failed { how } => {
            tracing::error!(%repository, "the downloader ended{how}; its own words are above");
            FAILED
        }
        End::Interrupted => INTERRUPTED,
    };
    Ok(ExitCode::from(code))
}
