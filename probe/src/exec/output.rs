//! The engine's output, written to the log folder and passed on to where the probe's own goes: in a pod, whoever reads
//! the container's log sees the engine's, and whoever asks the probe gets any part of it.

use std::convert::Infallible;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::fcntl::{FallocateFlags, fallocate};
use nix::libc::off_t;
use tokio::sync::mpsc;

/// What a log keeps at least; what lies further back is given back to the disk.
const KEPT_BYTES: u64 = 16 << 20;
/// How long the last words of a dead engine may take to be passed on.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// The threads that pass the engine's output on; they end when the engine and all that it started have.
pub(super) struct Output {
    /// Closed when the last of the threads has ended.
    ended: mpsc::Receiver<Infallible>,
}

impl Output {
    /// Passes each stream on to its log and to a descriptor.
    pub(super) fn pass_on(streams: [(File, File, File); 2]) -> std::io::Result<Self> {
        let (running, ended) = mpsc::channel(1);
        for (stream, log, echo) in streams {
            let running = running.clone();
            std::thread::Builder::new().name("engine-output".to_owned()).spawn(move || {
                pass_on(stream, Log { file: log, written: 0, given_back: 0 }, echo);
                drop(running);
            })?;
        }
        Ok(Self { ended })
    }

    /// Waits until the last words are passed on.
    pub(super) async fn drained(&mut self) {
        if tokio::time::timeout(LAST_WORDS, self.ended.recv()).await.is_err() {
            tracing::warn!("something still holds the engine's output open");
        }
    }
}

/// A descriptor of its own for one of the probe's streams, which is written to without a buffer or a lock.
pub(super) fn own(stream: &impl AsFd) -> std::io::Result<File> {
    Ok(File::from(stream.as_fd().try_clone_to_owned()?))
}

fn pass_on(mut stream: impl Read, mut log: Log, mut echo: File) {
    let mut buffer = vec![0; 64 << 10];
    let mut told = false;
    loop {
        let bytes = match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => &buffer[..count],
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return tracing::error!(%error, "the engine's output cannot be read"),
        };
        // A full disk or a reader that is gone must not hold up the engine, which waits for whoever reads it.
        if let (Err(error), false) = (log.write(bytes), told) {
            tracing::warn!(%error, "the engine's log is not written");
            told = true;
        }
        let _ = echo.write_all(bytes);
    }
}

/// A log whose bytes keep their places while those that nobody will ask for take no room.
struct Log {
    file: File,
    written: u64,
    given_back: u64,
}

impl Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.file.write_all(bytes)?;
        self.written += bytes.len() as u64;
        if self.written - self.given_back >= 2 * KEPT_BYTES {
            self.give_back()?;
        }
        Ok(())
    }

    fn give_back(&mut self) -> std::io::Result<()> {
        let end = self.file.metadata()?.len().saturating_sub(KEPT_BYTES);
        let length = off_t::try_from(end).map_err(std::io::Error::other)?;
        let hole = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        self.given_back = self.written - KEPT_BYTES;
        fallocate(&self.file, hole, 0, length)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_long_log_keeps_its_end_in_its_place_and_gives_the_rest_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("engine.stdout.log");
        let mut log = Log { file: File::create(&path).unwrap(), written: 0, given_back: 0 };
        let megabyte = vec![b'x'; 1 << 20];
        for _ in 0..80 {
            log.write(&megabyte).unwrap();
        }
        log.write(b"the last line\n").unwrap();
        let file = std::fs::metadata(&path).unwrap();
        assert_eq!(file.len(), (80 << 20) + 14);
        assert!(file.blocks() * 512 <= 2 * KEPT_BYTES + (1 << 20), "{} blocks", file.blocks());
        assert!(std::fs::read(&path).unwrap().ends_with(b"xthe last line\n".as_slice()));
    }

    #[test]
    fn a_log_that_cannot_be_written_holds_nothing_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("echo");
        // Every write to this device fails as on a full disk.
        let full = File::options().write(true).open("/dev/full").unwrap();
        let log = Log { file: full, written: 0, given_back: 0 };
        pass_on(b"out\n".as_slice(), log, File::create(&path).unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), b"out\n");
    }
}
