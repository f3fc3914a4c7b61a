//! The files of a campaign's data sets on this machine: where they lie, read whole before anything starts.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use teebench_api::{
    campaign::{BenchmarkCampaignSpec, FileSource},
    plan::DatasetFile,
};
use teebench_loadgen::dataset::{DatasetError, file_facts};
use thiserror::Error;

/// Files of data sets, by experiment.
#[derive(Debug, Default)]
pub struct DatasetFiles {
    /// Where they lie, as absolute paths.
    pub paths: BTreeMap<String, PathBuf>,
    /// What was found in them.
    pub facts: BTreeMap<String, DatasetFile>,
}

/// Why the files of data sets cannot be used.
#[derive(Debug, Error)]
pub enum DatasetFilesError {
    /// A file cannot be read, or a line of it is wrong.
    #[error("experiment \"{experiment}\": {}", in_full(source))]
    File {
        /// Name of the experiment.
        experiment: String,
        /// What is wrong; told in the message with its causes.
        source: DatasetError,
    },
    /// A path that cannot be made absolute.
    #[error("experiment \"{experiment}\": dataset path {}: {source}", path.display())]
    Path {
        /// Name of the experiment.
        experiment: String,
        /// The path.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file is given for an experiment that takes none.
    #[error("--dataset {0}: the campaign has no experiment of this name whose data set is read from a file")]
    NotWanted(String),
}

/// Finds and reads the files of all data sets: those `given` by experiment, and those that the campaign names by a path,
/// relative to its own file. One that lies in a cluster and is not given is left out.
pub fn read(
    campaign_file: &Path,
    spec: &BenchmarkCampaignSpec,
    given: &BTreeMap<String, PathBuf>,
) -> Result<DatasetFiles, DatasetFilesError> {
    let mut files = DatasetFiles::default();
    let takes_a_file =
        |name: &str| spec.experiments.iter().any(|known| known.name == name && known.dataset.source().is_some());
    if let Some(name) = given.keys().find(|name| !takes_a_file(name)) {
        return Err(DatasetFilesError::NotWanted(name.clone()));
    }
    for experiment in &spec.experiments {
        let Some(source) = experiment.dataset.source() else { continue };
        let Some(path) = given.get(&experiment.name).cloned().or_else(|| beside(campaign_file, source)) else {
            continue;
        };
        let name = &experiment.name;
        let path = std::path::absolute(&path).map_err(|source| DatasetFilesError::Path {
            experiment: name.clone(),
            path,
            source,
        })?;
        let facts = file_facts(&experiment.dataset, &path)
            .map_err(|source| DatasetFilesError::File { experiment: name.clone(), source })?;
        files.facts.extend(facts.map(|facts| (name.clone(), facts)));
        files.paths.insert(name.clone(), path);
    }
    Ok(files)
}

/// The path that a source names, seen from the campaign's file.
fn beside(campaign_file: &Path, source: &FileSource) -> Option<PathBuf> {
    let path = source.path.as_ref()?;
    Some(campaign_file.parent().unwrap_or(Path::new("")).join(path))
}

/// An error with its causes on one line.
fn in_full(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
