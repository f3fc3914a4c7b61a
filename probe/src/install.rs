//! `teebench probe install`: this program, copied to where a container with another image runs it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;

/// Name of the copy, whatever this program is called.
const NAME: &str = "teebench";

/// Copies this program to a folder, from where a container with another image runs it.
#[derive(clap::Args, Clone, Debug)]
#[command(before_help = "Example: teebench probe install --to /opt/teebench")]
pub struct InstallArgs {
    /// Folder that the copy is put in, under the name teebench.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
}

/// Copies the program; an earlier copy is replaced whole.
///
/// # Errors
/// When the folder cannot be written.
pub fn run(args: &InstallArgs) -> anyhow::Result<ExitCode> {
    let this = std::env::current_exe().context("this program's own file is not known")?;
    install(&this, &args.to)?;
    Ok(ExitCode::SUCCESS)
}

fn install(program: &Path, folder: &Path) -> anyhow::Result<()> {
    let (copy, partial) = (folder.join(NAME), folder.join(format!(".{NAME}.partial")));
    let cannot = || format!("--to {}: the program cannot be copied there", folder.display());
    fs::create_dir_all(folder).with_context(cannot)?;
    fs::copy(program, &partial).with_context(cannot)?;
    fs::set_permissions(&partial, Permissions::from_mode(0o755)).with_context(cannot)?;
    // An init container may run twice; whoever runs the copy must never see half of it.
    fs::rename(&partial, &copy).with_context(cannot)?;
    tracing::info!(to = %copy.display(), "installed");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_whole_executable_and_replaces_an_earlier_one() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("program");
        let folder = dir.path().join("a/b");
        for content in ["first", "second"] {
            fs::write(&program, content).unwrap();
            install(&program, &folder).unwrap();

            let copy = folder.join(NAME);
            assert_eq!(fs::read_to_string(&copy).unwrap(), content);
            assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o755);
            assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        }
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();

        let error = install(&file, &file.join("below")).unwrap_err();

        assert!(error.to_string().starts_with(&format!("--to {}", file.join("below").display())), "{error}");
    }
}
