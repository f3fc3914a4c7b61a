//! Child processes that cannot outlive this program, whatever ends it.

use std::{
    ffi::OsString,
    io,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use nix::{
    sys::{prctl, signal::Signal},
    unistd::Pid,
};
use thiserror::Error;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

/// How long a child may take to end after SIGTERM before it is killed.
pub const TERMINATION_GRACE: Duration = Duration::from_secs(10);

/// A child could not be started, or did not say where it listens.
#[derive(Debug, Error)]
pub enum ChildError {
    /// It could not be started.
    #[error("cannot start {program}: install it or mend its permissions")]
    Start {
        /// The program.
        program: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// It ended, or said nothing in time.
    #[error("{program} did not say where it listens: {detail}")]
    Silent {
        /// The program.
        program: String,
        /// What happened instead.
        detail: String,
    },
}

/// What a child is and where its output goes.
#[derive(Debug, Clone)]
pub struct ChildSpec {
    /// What people call it, for instance `router of cc-on/0`.
    pub title: String,
    /// Program and arguments.
    pub argv: Vec<OsString>,
    /// Additional environment.
    pub environment: Vec<(String, String)>,
    /// File for its standard error.
    pub log: PathBuf,
    /// Signal that the kernel sends it when this program dies.
    pub on_parent_death: Signal,
}

/// A running child.
#[derive(Debug)]
pub struct Running {
    title: String,
    child: Child,
    pid: Pid,
    stdout: Option<tokio::io::Lines<BufReader<tokio::process::ChildStdout>>>,
}

impl ChildSpec {
    /// Starts the child in a process group of its own, so that a terminal's Ctrl-C reaches this program alone and the
    /// order of ending stays with it.
    ///
    /// Must be called on a thread that lives as long as the program: the kernel ties a parent-death signal to the
    /// thread that forked.
    pub fn start(self) -> Result<Running, ChildError> {
        let Self { title, argv, environment, log, on_parent_death } = self;
        let fail = |source| ChildError::Start { program: title.clone(), source };
        if let Some(parent) = log.parent() {
            std::fs::create_dir_all(parent).map_err(fail)?;
        }
        let log_file = std::fs::OpenOptions::new().create(true).append(true).open(&log).map_err(fail)?;
        let (program, arguments) = argv.split_first().ok_or_else(|| fail(io::ErrorKind::InvalidInput.into()))?;
        let parent = nix::unistd::getpid();
        let mut command = std::process::Command::new(program);
        command
            .args(arguments)
            .envs(environment)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log_file)
            .process_group(0);
        // SAFETY: between fork and exec only async-signal-safe calls are made: prctl, getppid and raise.
        unsafe {
            command.pre_exec(move || {
                prctl::set_pdeathsig(on_parent_death)?;
                if nix::unistd::getppid() != parent {
                    // The parent died before the signal was armed.
                    nix::sys::signal::raise(Signal::SIGKILL)?;
                }
                Ok(())
            });
        }
        let mut child = Command::from(command).kill_on_drop(true).spawn().map_err(fail)?;
        let pid = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .map(Pid::from_raw)
            .ok_or_else(|| fail(io::Error::other("the child has no process id")))?;
        let stdout = child.stdout.take().map(|stdout| BufReader::new(stdout).lines());
        Ok(Running { title, child, pid, stdout })
    }
}

impl Running {
    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// The next line of its standard output; `None` when it closed it.
    pub async fn next_line(&mut self) -> Option<String> {
        self.stdout.as_mut()?.next_line().await.ok().flatten()
    }

    /// The first line of its standard output, in which a child says where it listens.
    pub async fn listening_line(&mut self, patience: Duration) -> Result<String, ChildError> {
        let title = self.title.clone();
        let silent = |detail: String| ChildError::Silent { program: title.clone(), detail };
        match timeout(patience, self.next_line()).await {
            Ok(Some(line)) => Ok(line),
            Ok(None) => {
                let status = self.child.wait().await.ok();
                Err(silent(format!("it ended{}", status.map(describe_exit).unwrap_or_default())))
            }
            Err(_) => Err(silent(format!("nothing in {} s", patience.as_secs()))),
        }
    }

    /// How it ended, when it has.
    pub fn ended(&mut self) -> Option<String> {
        self.child.try_wait().ok().flatten().map(describe_exit)
    }

    /// How it ended, when it has and not with success.
    pub fn failure(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok().flatten()?;
        (!status.success()).then(|| describe_exit(status))
    }

    /// Waits for its end.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Ends it and its group: first by SIGTERM, after a grace by SIGKILL.
    pub async fn stop(mut self) {
        self.terminate();
        if timeout(TERMINATION_GRACE, self.child.wait()).await.is_err() {
            tracing::warn!(child = %self.title, "did not end after SIGTERM; killing it");
            signal_group(self.pid, Signal::SIGKILL);
            if let Err(error) = self.child.wait().await {
                tracing::warn!(child = %self.title, %error, "could not be waited for");
            }
        }
        // Whatever the child left in its group goes with it.
        signal_group(self.pid, Signal::SIGKILL);
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        signal_group(self.pid, Signal::SIGTERM);
    }
}

fn signal_group(group: Pid, signal: Signal) {
    // A group that is gone already is what we want.
    if let Err(error) = nix::sys::signal::killpg(group, signal)
        && error != nix::errno::Errno::ESRCH
    {
        tracing::debug!(%group, %signal, %error, "group not signalled");
    }
}

fn describe_exit(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!(" with exit code {code}"),
        (None, Some(signal)) => format!(" by signal {signal}"),
        (None, None) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn sh(script: &str, dir: &Path) -> ChildSpec {
        ChildSpec {
            title: "script".into(),
            argv: vec!["/bin/sh".into(), "-c".into(), script.into()],
            environment: Vec::new(),
            log: dir.join("log"),
            on_parent_death: Signal::SIGKILL,
        }
    }

    #[tokio::test]
    async fn a_child_that_ends_before_it_listens_is_an_error_with_its_exit_code() {
        let dir = tempfile::tempdir().unwrap();
        let mut child = sh("echo why >&2; exit 3", dir.path()).start().unwrap();

        let error = child.listening_line(Duration::from_secs(10)).await.unwrap_err();

        assert!(error.to_string().contains("exit code 3"), "{error}");
        assert_eq!(std::fs::read_to_string(dir.path().join("log")).unwrap(), "why\n");
    }

    #[tokio::test]
    async fn stopping_a_child_takes_its_whole_group_along() {
        let dir = tempfile::tempdir().unwrap();
        let mut child = sh("sleep 1000 & echo $!; wait", dir.path()).start().unwrap();
        let grandchild: i32 = child.listening_line(Duration::from_secs(10)).await.unwrap().parse().unwrap();

        child.stop().await;

        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while is_alive(grandchild) {
            assert!(std::time::Instant::now() < deadline, "process {grandchild} is still there");
            tokio::task::yield_now().await;
        }
    }

    fn is_alive(pid: i32) -> bool {
        std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z"))
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let spec = ChildSpec { argv: vec!["/does/not/exist".into()], ..sh("", dir.path()) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _guard = runtime.enter();

        let error = spec.start().unwrap_err();

        assert!(error.to_string().contains("script"), "{error}");
    }
}
