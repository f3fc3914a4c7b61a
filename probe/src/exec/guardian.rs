//! The guardian: a process that kills the engine's group when the probe dies without being able to.
//!
//! The kernel kills the engine itself when the probe dies, but not the processes that the engine started. The guardian
//! waits at a pipe of which the probe holds the other end; when that closes without a word, the probe is dead.

use std::io::{PipeWriter, Write};
use std::os::fd::{AsRawFd, RawFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, killpg, sigprocmask};
use nix::unistd::{ForkResult, Pid, fork, setpgid};

/// Sent after the group's id when there is nothing more to guard.
const RELEASE: u8 = 1;

/// The probe's end of the pipe.
pub(super) struct Guardian {
    pid: Pid,
    pipe: PipeWriter,
}

impl Guardian {
    /// Starts the guardian, which has no group to guard yet.
    pub(super) fn start() -> std::io::Result<Self> {
        let (read, write) = std::io::pipe()?;
        // SAFETY: the child calls only functions that are safe after a fork of a process with threads, allocates
        // nothing, and leaves by _exit.
        match unsafe { fork() }? {
            ForkResult::Parent { child } => Ok(Self { pid: child, pipe: write }),
            ForkResult::Child => guard(read.as_raw_fd()),
        }
    }

    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// Names the group to kill.
    pub(super) fn guard(&mut self, group: Pid) -> std::io::Result<()> {
        self.pipe.write_all(&group.as_raw().to_ne_bytes())
    }

    /// Lets the guardian go without killing: the group is gone, and its id may soon be another's.
    pub(super) fn release(mut self) {
        if let Err(error) = self.pipe.write_all(&[RELEASE]) {
            tracing::warn!(%error, "the guardian process ended before the probe");
        }
    }
}

/// The guardian's life.
fn guard(pipe: RawFd) -> ! {
    // Signals to the probe's group, from a terminal for instance, are not for the guardian: it ends with the probe.
    let _ = setpgid(Pid::from_raw(0), Pid::from_raw(0));
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None);
    let _ = prctl::set_name(c"probe-guardian");
    keep_only(pipe);
    let mut group = [0; size_of::<i32>()];
    if read(&mut group) == group.len() {
        let mut word = [0];
        if read(&mut word) == 0 {
            let _ = killpg(Pid::from_raw(i32::from_ne_bytes(group)), Signal::SIGKILL);
        }
    }
    // SAFETY: _exit only ends the process.
    unsafe { libc::_exit(0) }
}

/// Moves the pipe to descriptor 0 and closes all others: the probe's end of the pipe, which would never read as closed
/// otherwise, and standard output, whose reader waits for its end.
fn keep_only(pipe: RawFd) {
    // SAFETY: dup2, close_range and close take plain numbers, and nothing here uses the descriptors that are closed.
    // close_range is called by number since the C library has it only from 2.34 on.
    unsafe {
        libc::dup2(pipe, 0);
        let all_above: libc::c_uint = 1;
        if libc::syscall(libc::SYS_close_range, all_above, libc::c_uint::MAX, 0) != 0 {
            for descriptor in 1..1024 {
                libc::close(descriptor);
            }
        }
    }
}

/// Reads until the buffer is full or the pipe closed; gives the number of bytes.
fn read(buffer: &mut [u8]) -> usize {
    let mut filled = 0;
    while filled < buffer.len() {
        let rest = &mut buffer[filled..];
        // SAFETY: the pointer and the length are those of one slice.
        let count = unsafe { libc::read(0, rest.as_mut_ptr().cast(), rest.len()) };
        match usize::try_from(count) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(_) if Errno::last() == Errno::EINTR => {}
            Err(_) => break,
        }
    }
    filled
}
