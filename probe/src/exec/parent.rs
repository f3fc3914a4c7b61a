//! The parent process, watched for its end.
//!
//! The kernel's own parent-death signal fires when the *thread* that started the probe ends, which in a program with a
//! thread pool may be long before the program does. A descriptor of the process is tied to the process.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::libc;
use nix::unistd::getppid;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The parent cannot be watched.
#[derive(thiserror::Error, Debug)]
pub(super) enum ParentError {
    /// It is gone already.
    #[error("exit-with-parent: the parent process {0} is gone")]
    Gone(i32),
    /// The kernel gives no descriptor for it.
    #[error("exit-with-parent: process {0} cannot be watched")]
    Watch(i32, #[source] Errno),
}

/// The parent process.
pub(super) struct Parent {
    pid: i32,
    descriptor: OwnedFd,
}

impl Parent {
    /// Watches the parent; `expected` is its id, or 0 for whoever it is now.
    pub(super) fn watch(expected: i32) -> Result<Self, ParentError> {
        let pid = if expected == 0 { getppid().as_raw() } else { expected };
        // SAFETY: the call takes two plain numbers; a result that is not negative is a descriptor that nobody owns.
        let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        if descriptor < 0 {
            return Err(match Errno::last() {
                Errno::ESRCH => ParentError::Gone(pid),
                error => ParentError::Watch(pid, error),
            });
        }
        let descriptor = RawFd::try_from(descriptor).expect("descriptors are small numbers");
        // SAFETY: the descriptor was just opened and is owned by nobody else.
        let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
        // The parent may have died before it was opened, and its id may be another's by now.
        if getppid().as_raw() != pid {
            return Err(ParentError::Gone(pid));
        }
        Ok(Self { pid, descriptor })
    }
}

/// The parent process, awaited on a runtime.
pub(super) struct Awaited {
    pid: i32,
    descriptor: AsyncFd<OwnedFd>,
}

impl Parent {
    /// Registers the parent with the runtime that this is called on.
    pub(super) fn awaited(self) -> std::io::Result<Awaited> {
        let Self { pid, descriptor } = self;
        // SAFETY: an owned descriptor is the same one, and open, until it is dropped, which is after its registration.
        let descriptor = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }?;
        Ok(Awaited { pid, descriptor })
    }
}

/// Completes when the parent has ended; never without a parent to await. It may be dropped and called again.
pub(super) async fn gone(parent: Option<&Awaited>) {
    let Some(Awaited { pid, descriptor }) = parent else { return std::future::pending().await };
    if let Err(error) = descriptor.readable().await {
        tracing::error!(pid, %error, "the parent process can no longer be watched");
    }
}
