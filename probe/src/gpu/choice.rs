//! The choice of a source: `auto`, `nvml`, `absent` or `simulated:PATH`.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use teebench_api::with_causes;

use super::{Absent, GpuSource, Nvml, NvmlOpenError, Simulated};

/// Which source of GPU readings to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GpuChoice {
    /// NVML where it works, else none, with the reason.
    Auto,
    /// NVML; an error where it does not work.
    Nvml,
    /// None.
    Absent,
    /// The file of a simulator.
    Simulated(PathBuf),
}

/// A choice that cannot be read.
#[derive(thiserror::Error, Debug, PartialEq, Eq)]
#[error("gpu {given:?}: give auto, nvml, absent or simulated:PATH")]
pub struct ChoiceError {
    given: String,
}

impl FromStr for GpuChoice {
    type Err = ChoiceError;

    fn from_str(text: &str) -> Result<Self, ChoiceError> {
        match text {
            "auto" => Ok(Self::Auto),
            "nvml" => Ok(Self::Nvml),
            "absent" => Ok(Self::Absent),
            _ => match text.strip_prefix("simulated:") {
                Some(path) if !path.is_empty() => Ok(Self::Simulated(PathBuf::from(path))),
                _ => Err(ChoiceError { given: text.to_owned() }),
            },
        }
    }
}

/// The chosen source cannot be opened.
#[derive(thiserror::Error, Debug)]
pub enum OpenError {
    /// NVML was demanded and does not work.
    #[error("gpu nvml: cannot be opened; give --gpu auto to run on without it, or --nvml-library with its path")]
    Nvml(#[source] NvmlOpenError),
}

/// Opens the chosen source.
///
/// `nvml_library` is the path of `libnvidia-ml.so.1` where the loader does not find it. `visible` is the value of
/// `CUDA_VISIBLE_DEVICES`, which narrows NVML's GPUs to those that the engine sees.
///
/// # Errors
/// Only when NVML was demanded and cannot be opened; a simulator's file may come into being later.
pub fn open(
    choice: &GpuChoice,
    nvml_library: Option<&Path>,
    visible: Option<&str>,
) -> Result<Arc<dyn GpuSource>, OpenError> {
    match choice {
        GpuChoice::Auto => Ok(match Nvml::open(nvml_library, visible) {
            Ok(nvml) => Arc::new(nvml),
            Err(error) => Arc::new(Absent::new(with_causes(&error))),
        }),
        GpuChoice::Nvml => Ok(Arc::new(Nvml::open(nvml_library, visible).map_err(OpenError::Nvml)?)),
        GpuChoice::Absent => Ok(Arc::new(Absent::new("not asked for (--gpu absent)"))),
        GpuChoice::Simulated(path) => Ok(Arc::new(Simulated::new(path.clone()))),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::gpu::SourceKind;

    #[rstest]
    #[case("auto", Ok(GpuChoice::Auto))]
    #[case("nvml", Ok(GpuChoice::Nvml))]
    #[case("absent", Ok(GpuChoice::Absent))]
    #[case("simulated:/run/gpu.json", Ok(GpuChoice::Simulated("/run/gpu.json".into())))]
    #[case("simulated:", Err(()))]
    #[case("cuda", Err(()))]
    #[case("", Err(()))]
    fn a_choice_is_read_or_refused(#[case] text: &str, #[case] expected: Result<GpuChoice, ()>) {
        assert_eq!(text.parse::<GpuChoice>().map_err(|_| ()), expected);
    }

    #[test]
    fn auto_runs_on_without_nvml_and_keeps_the_reason() {
        let source = open(&GpuChoice::Auto, Some(Path::new("/nonexistent/libnvidia-ml.so.1")), None).unwrap();
        let SourceKind::Absent { reason } = source.kind() else { panic!("{:?}", source.kind()) };
        assert!(reason.contains("/nonexistent/libnvidia-ml.so.1"), "{reason}");
        assert!(source.inventory().unreadable.contains_key("gpu"));
    }

    #[test]
    fn demanded_nvml_that_is_not_there_is_an_error() {
        let library = Path::new("/nonexistent/libnvidia-ml.so.1");
        let error = open(&GpuChoice::Nvml, Some(library), None).err().unwrap();
        assert!(error.to_string().contains("--gpu auto"), "{error}");
    }
}
