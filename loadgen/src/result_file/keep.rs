//! What a run measured is never lost: a file that cannot be written where it belongs is written where there is room.

use std::env;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::ResultFileError;

/// Where files go whose own place is full or gone, in order: the directory for temporary files, memory, the home.
pub fn refuges() -> Vec<PathBuf> {
    let home = env::var_os("HOME").map(PathBuf::from);
    [env::temp_dir(), PathBuf::from("/dev/shm")].into_iter().chain(home).collect()
}

/// Writes a file to `path`; when that fails, under the same name (and a number, when there is one) into the first of
/// the `refuges` that has room.
///
/// # Errors
/// Whenever the file is not at `path`: [`ResultFileError::KeptElsewhere`] says where it is instead, any other error that
/// it is nowhere.
pub fn keep(
    path: &Path,
    refuges: &[PathBuf],
    render: impl Fn(&mut dyn Write) -> io::Result<()>,
) -> Result<(), ResultFileError> {
    let Err(error) = write(path, false, &render) else { return Ok(()) };
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    for refuge in refuges {
        for number in 0..100 {
            let kept_at = refuge.join(if number == 0 { name.clone() } else { format!("{name}.{number}") });
            match write(&kept_at, true, &render) {
                Ok(()) => return Err(ResultFileError::KeptElsewhere { path: path.to_owned(), kept_at, source: error }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(_) => break,
            }
        }
    }
    Err(ResultFileError::Write { path: path.to_owned(), source: error })
}

fn write(path: &Path, must_be_new: bool, render: impl Fn(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let file = if must_be_new { File::create_new(path)? } else { File::create(path)? };
    let mut out = BufWriter::new(file);
    let written = render(&mut out).and_then(|()| out.flush()).and_then(|()| match out.get_ref().sync_all() {
        // Pipes and devices have nothing to be made durable.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        synced => synced,
    });
    // Half a file would be taken for a whole one, and its room may be what the next one needs.
    if written.is_err() && path.symlink_metadata().is_ok_and(|metadata| metadata.is_file()) {
        let _ = fs::remove_file(path);
    }
    written
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn render(out: &mut dyn Write) -> io::Result<()> {
        out.write_all(b"measured")
    }

    #[test]
    fn a_full_disk_loses_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let (path, refuge) = (directory.path().join("bench.json"), directory.path().join("refuge"));
        fs::create_dir(&refuge).unwrap();
        // What is written to it is refused for want of space.
        symlink("/dev/full", &path).unwrap();
        for expected in ["bench.json", "bench.json.1"] {
            let gone = directory.path().join("gone");
            let error = keep(&path, &[gone, refuge.clone()], render).unwrap_err();
            let ResultFileError::KeptElsewhere { kept_at, source, .. } = &error else { panic!("{error:?}") };
            assert_eq!(source.kind(), io::ErrorKind::StorageFull);
            assert_eq!(kept_at, &refuge.join(expected));
            assert_eq!(fs::read(kept_at).unwrap(), b"measured");
            assert!(error.to_string().contains("refuge/bench.json"), "{error}");
        }
    }

    #[test]
    fn without_any_room_the_error_is_of_the_first_place() {
        let directory = tempfile::tempdir().unwrap();
        let error = keep(&directory.path().join("gone/bench.json"), &[], render).unwrap_err();
        assert!(matches!(&error, ResultFileError::Write { source, .. } if source.kind() == io::ErrorKind::NotFound));
    }

    #[test]
    fn a_file_that_fails_half_way_is_not_left_behind() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bench.json");
        let broken = |out: &mut dyn Write| {
            out.write_all(b"meas")?;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        };
        assert!(keep(&path, &[], broken).is_err());
        assert!(!path.exists());
    }
}
