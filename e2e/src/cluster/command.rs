//! Programs that people run beside the cluster: kubectl, teebench.

use std::{ffi::OsStr, path::Path, process::Output};

use anyhow::{Context, ensure};
use tokio::process::Command;

/// What a program said.
#[derive(Clone, Debug)]
pub struct Said {
    /// Its exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl Said {
    /// Its standard output, when it ended well.
    ///
    /// # Errors
    /// It did not.
    pub fn well(self) -> anyhow::Result<String> {
        ensure!(self.code == Some(0), "exit code {:?}\n{}{}", self.code, self.out, self.err);
        Ok(self.out)
    }
}

/// Runs a program to its end.
///
/// # Errors
/// It cannot be run.
pub async fn command(program: impl AsRef<Path>, arguments: &[impl AsRef<OsStr>]) -> anyhow::Result<Said> {
    let program = program.as_ref();
    let output = Command::new(program).args(arguments).kill_on_drop(true).output().await;
    let Output { status, stdout, stderr } = output.with_context(|| format!("{} cannot be run", program.display()))?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Said { code: status.code(), out: text(stdout), err: text(stderr) })
}
