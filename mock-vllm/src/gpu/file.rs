//! The file of the simulated machine, replaced as a whole so that no reader sees half of it.

use std::path::{Path, PathBuf};

use teebench_api::files::gpu::{ConfidentialCompute, GpuFile, SimulatedGpu};
use thiserror::Error;

use super::identity::{CUDA_VERSION, DRIVER_VERSION};

/// The file could not be replaced.
#[derive(Debug, Error)]
#[error("cannot replace the GPU file {path}: check that its directory exists and is writable")]
pub struct GpuFileError {
    path: PathBuf,
    #[source]
    source: std::io::Error,
}

/// Writes the machine's state beside `path` and renames it into place.
///
/// # Errors
/// When the directory does not exist or cannot be written.
pub fn write_gpu_file(
    path: &Path,
    confidential_compute: ConfidentialCompute,
    gpus: Vec<SimulatedGpu>,
) -> Result<(), GpuFileError> {
    let file = GpuFile {
        version: GpuFile::VERSION,
        driver_version: DRIVER_VERSION.to_owned(),
        cuda_version: CUDA_VERSION.to_owned(),
        confidential_compute,
        gpus,
    };
    replace(path, &file).map_err(|source| GpuFileError { path: path.to_owned(), source })
}

fn replace(path: &Path, file: &GpuFile) -> std::io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let beside = path.with_file_name(name);
    std::fs::write(&beside, serde_json::to_vec(file)?)?;
    std::fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::GpuFaults;
    use crate::gpu::{BoardState, confidential_compute};
    use crate::profile::Profile;
    use std::time::Duration;

    #[test]
    fn the_file_holds_what_was_written_and_nothing_stays_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("gpu.json");
        let faults = GpuFaults::default();
        let state = confidential_compute(true, &faults, Duration::ZERO, 16_384);
        let gpu = BoardState::new(Profile::Tiny.figures().board, faults).readings("GPU-x", 7);
        for _ in 0..2 {
            write_gpu_file(&path, state, vec![gpu.clone()]).unwrap();
        }
        let read: GpuFile = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!((read.version, read.confidential_compute, read.gpus), (GpuFile::VERSION, state, vec![gpu]));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_missing_directory_is_named() {
        let error = write_gpu_file(
            Path::new("/nonexistent/gpu.json"),
            confidential_compute(false, &GpuFaults::default(), Duration::ZERO, 0),
            Vec::new(),
        )
        .unwrap_err();
        assert!(error.to_string().contains("/nonexistent/gpu.json"));
    }
}
