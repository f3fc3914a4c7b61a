//! The engine's process: started in a group of its own, signalled as a group, reaped with everything it left behind.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpid, getppid};

use super::output::{self, Output};

/// How long killed processes may take to be gone; one that hangs in the kernel is left to it.
const REAPING: Duration = Duration::from_secs(10);

/// What the engine is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineState {
    /// It runs.
    Running {
        /// Its process id, which is its group's as well.
        pid: i32,
    },
    /// It ended, and is not started again.
    Ended(Ending),
}

/// How the engine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With this code.
    Exited(i32),
    /// By this signal.
    Killed(i32),
}

impl Ending {
    /// The exit code that tells it on, as shells do: the code, or 128 and the signal's number.
    pub fn code(self) -> u8 {
        let code = match self {
            Self::Exited(code) => code,
            Self::Killed(signal) => 128 + signal,
        };
        u8::try_from(code).unwrap_or(u8::MAX)
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exited with code {code}"),
            Self::Killed(signal) => write!(f, "killed by signal {signal}"),
        }
    }
}

/// The engine was not started.
#[derive(thiserror::Error, Debug)]
pub enum StartError {
    /// The program cannot be run.
    #[error("command {program:?}: cannot be started; give a program that exists after --")]
    Command {
        /// As given.
        program: OsString,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A log file cannot be opened.
    #[error("log-dir: {path} cannot be written")]
    Log {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}

/// The running engine.
pub(super) struct Engine {
    group: Pid,
    /// The only child that is not the engine's.
    guardian: Pid,
    /// Its output, when it is passed on.
    output: Option<Output>,
}

impl Engine {
    /// Starts the engine. Must run on a thread that lives as long as the probe: the kernel kills the engine when the
    /// thread that started it ends.
    pub(super) fn start(
        (program, arguments): (&OsStr, &[OsString]),
        log_dir: Option<&Path>,
        echo: bool,
        guardian: Pid,
    ) -> Result<Self, StartError> {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).process_group(0);
        let mut logs = None;
        if let Some(folder) = log_dir {
            let (stdout, stderr) = (log(folder, "engine.stdout.log")?, log(folder, "engine.stderr.log")?);
            if echo {
                command.stdout(Stdio::piped()).stderr(Stdio::piped());
                logs = Some((stdout, stderr));
            } else {
                command.stdout(stdout).stderr(stderr);
            }
        }
        let probe = getpid();
        let tie_to_the_probe = move || {
            set_pdeathsig(Signal::SIGKILL)?;
            // The probe may have died before the line above; then nobody would ever send the signal.
            if getppid() == probe { Ok(()) } else { Err(Errno::ECHILD.into()) }
        };
        // SAFETY: between fork and exec only prctl and getppid are called, which are safe there, and nothing is
        // allocated.
        unsafe { command.pre_exec(tie_to_the_probe) };
        let fail = |source| StartError::Command { program: program.to_owned(), source };
        let mut child = command.spawn().map_err(fail)?;
        let pid = i32::try_from(child.id()).expect("the kernel's process ids are below 2^22");
        tracing::info!(pid, program = %program.display(), "engine started");
        let mut engine = Self { group: Pid::from_raw(pid), guardian, output: None };
        if let Some(logs) = logs {
            engine.output =
                Some(pass_on(&mut child, logs).inspect_err(|_| engine.signal(Signal::SIGKILL)).map_err(fail)?);
        }
        Ok(engine)
    }

    /// The engine's process id and its group's.
    pub(super) fn group(&self) -> Pid {
        self.group
    }

    /// Sends a signal to the whole group.
    pub(super) fn signal(&self, signal: Signal) {
        match killpg(self.group, signal) {
            Ok(()) => tracing::info!(%signal, "signal passed on to the engine"),
            // It ended in the meantime, which the next reaping finds.
            Err(Errno::ESRCH) => {}
            Err(error) => tracing::error!(%signal, %error, "the engine cannot be signalled"),
        }
    }

    /// Reaps every child that has ended; tells how the engine did, if it was among them.
    pub(super) fn reap(&mut self) -> nix::Result<Option<Ending>> {
        let mut ending = None;
        loop {
            let (pid, end) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, Ending::Exited(code)),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, Ending::Killed(signal as i32)),
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(ending),
                Ok(_) | Err(Errno::EINTR) => continue,
                Err(error) => return Err(error),
            };
            if pid == self.group {
                ending = Some(end);
            } else if pid == self.guardian {
                tracing::warn!(%end, "the guardian ended: a killed probe would now leave the engine's children");
            }
        }
    }

    /// Kills and reaps what the engine left behind: the rest of its group, and processes that left the group and were
    /// adopted by the probe.
    pub(super) async fn end_all(&mut self, child_ended: &mut tokio::signal::unix::Signal) {
        self.signal(Signal::SIGKILL);
        let reaped = tokio::time::timeout(REAPING, async {
            loop {
                if let Err(error) = self.reap() {
                    tracing::error!(%error, "the engine's children cannot be reaped");
                    return;
                }
                let mut left = children(getpid());
                left.retain(|pid| *pid != self.guardian);
                if left.is_empty() {
                    return;
                }
                for pid in left {
                    // One that ended in the meantime is reaped in the next turn.
                    let _ = kill(pid, Signal::SIGKILL);
                }
                child_ended.recv().await;
            }
        });
        if reaped.await.is_err() {
            tracing::warn!("a process that the engine left behind does not end");
        }
        if let Some(output) = &mut self.output {
            output.drained().await;
        }
    }
}

fn pass_on(child: &mut Child, (stdout_log, stderr_log): (File, File)) -> std::io::Result<Output> {
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let (out, err) = (out.expect("it was asked for"), err.expect("it was asked for"));
    Output::pass_on([
        (OwnedFd::from(out).into(), stdout_log, output::own(&std::io::stdout())?),
        (OwnedFd::from(err).into(), stderr_log, output::own(&std::io::stderr())?),
    ])
}

fn log(folder: &Path, name: &str) -> Result<File, StartError> {
    let path = folder.join(name);
    std::fs::create_dir_all(folder)
        .and_then(|()| OpenOptions::new().create(true).append(true).open(&path))
        .map_err(|source| StartError::Log { path, source })
}

/// The children of a process, by the parent's id in every process's `stat`.
fn children(parent: Pid) -> Vec<Pid> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| parent_of(*pid) == Some(parent.as_raw()))
        .map(Pid::from_raw)
        .collect()
}

fn parent_of(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, blanks and parentheses too; state and parent follow the last one.
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(Ending::Exited(0), 0)]
    #[case(Ending::Exited(3), 3)]
    #[case(Ending::Killed(9), 137)]
    #[case(Ending::Killed(15), 143)]
    fn an_ending_is_told_on_as_shells_do(#[case] ending: Ending, #[case] code: u8) {
        assert_eq!(ending.code(), code);
    }

    #[test]
    fn a_process_is_found_among_its_parents_children() {
        assert_eq!(parent_of(getpid().as_raw()), Some(getppid().as_raw()));
        assert!(children(getppid()).contains(&getpid()));
    }
}
