//! The data sets of a campaign: from the custom resource's words to requests, and to what a plan must know of a file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use teebench_api::campaign::dataset::{Dataset, DatasetKind, TraceDataset};
use teebench_api::plan::DatasetFile;

use super::file::{FileFormat, RequestFile, Selection};
use super::{
    DatasetError, PrefixRepetitionSource, PrefixRepetitionSpec, PromptForm, RandomSource, RandomSpec, RequestSource,
    TokenCounter, ToolbenchSource, ToolbenchSpec, TraceSource, TraceSpec,
};

/// What a condition and a block add to a data set's description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceParameters {
    /// Prompt length in tokens, for data sets that take one.
    pub input_tokens: Option<u32>,
    /// Cap of the output in tokens; `None` where the data set's file says it.
    pub output_tokens: Option<u32>,
    /// Seed of the block.
    pub seed: u64,
    /// The file of a data set that is read from one.
    pub file: Option<FileInput>,
}

/// The file of a data set, and which part of it a block takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileInput {
    /// The file.
    pub path: PathBuf,
    /// What its SHA-256 must be, in hex; `None` when nobody has read it before.
    pub sha256: Option<String>,
    /// Seed of the orders in which all blocks of a condition go through the file.
    pub seed: u64,
    /// Number of the block among them, from 0.
    pub part: u64,
}

/// The requests that a campaign's data set makes under the given parameters.
///
/// # Errors
/// When the description is contradictory, or a file cannot be read whole or is not the one that was planned with.
pub fn requests(dataset: &Dataset, parameters: &SourceParameters) -> Result<Arc<dyn RequestSource>, DatasetError> {
    let SourceParameters { input_tokens, output_tokens, seed, file } = parameters;
    // Text lengths are estimated: two arms with different servers must be sent the same.
    let counter = &TokenCounter::Estimate;
    let generated_output = output_tokens.ok_or(DatasetError::NoOutputTokens);
    let file = file.as_ref().ok_or(DatasetError::NoFile);
    match dataset.kind().ok_or(DatasetError::Choice)? {
        DatasetKind::Random(random) => {
            let input_tokens = input_tokens.ok_or(DatasetError::NoInputTokens)?;
            let spec = RandomSpec::of_campaign(random, input_tokens, generated_output?)?;
            Ok(Arc::new(RandomSource::new(spec, random.prompt_form, counter, *seed)?))
        }
        DatasetKind::PrefixRepetition(set) => {
            let spec = PrefixRepetitionSpec::of_campaign(set, generated_output?);
            Ok(Arc::new(PrefixRepetitionSource::new(spec, set.prompt_form, counter, *seed)?))
        }
        DatasetKind::Toolbench(set) => {
            Ok(Arc::new(ToolbenchSource::new(&ToolbenchSpec::of_campaign(set, generated_output?), *seed)))
        }
        DatasetKind::ToolbenchFile(set) => {
            from_file(file?, FileFormat::Toolbench, set.prompts, set.oversample, *output_tokens)
        }
        DatasetKind::Sharegpt(set) => {
            from_file(file?, FileFormat::Sharegpt, set.prompts, set.oversample, *output_tokens)
        }
        DatasetKind::Custom(set) => from_file(file?, FileFormat::Custom, set.prompts, set.oversample, *output_tokens),
        DatasetKind::Trace(set) => {
            let file = file?;
            let spec = trace_spec(set, *output_tokens);
            let trace = TraceSource::open(&file.path, spec, PromptForm::TokenIds, counter, *seed)?;
            checked(file, Arc::new(trace))
        }
    }
}

fn from_file(
    file: &FileInput,
    format: FileFormat,
    prompts: u32,
    oversample: bool,
    output_tokens: Option<u32>,
) -> Result<Arc<dyn RequestSource>, DatasetError> {
    let FileInput { path, sha256: _, seed, part } = file;
    let opened = RequestFile::open(path, format, &TokenCounter::Estimate, &|_| ())?;
    let selection = Selection { count: prompts as usize, seed: Some(*seed), part: *part, oversample };
    checked(file, Arc::new(opened.select(selection, output_tokens)?))
}

/// The source, if its file is the one that was planned with.
fn checked(file: &FileInput, source: Arc<dyn RequestSource>) -> Result<Arc<dyn RequestSource>, DatasetError> {
    let found = source.file_sha256().unwrap_or_default();
    match &file.sha256 {
        Some(expected) if expected != found => {
            let (expected, found) = (expected.clone(), found.to_owned());
            Err(DatasetError::Digest { path: file.path.clone(), expected, found })
        }
        _ => Ok(source),
    }
}

fn trace_spec(set: &TraceDataset, output_tokens: Option<u32>) -> TraceSpec {
    let TraceDataset { source: _, prompts, speed_milli, block_tokens, maximum_input_tokens } = set;
    TraceSpec {
        prompts: Some(*prompts as usize),
        speed: f64::from(*speed_milli) / 1000.0,
        block_tokens: *block_tokens,
        maximum_input_tokens: *maximum_input_tokens,
        output_tokens,
    }
}

/// Reads the file of a data set whole and says what a plan must know of it; `None` for a data set without a file.
///
/// # Errors
/// When the file cannot be read, a line of it is wrong, or a trace has too few requests.
pub fn file_facts(dataset: &Dataset, path: &Path) -> Result<Option<DatasetFile>, DatasetError> {
    let format = match dataset.kind().ok_or(DatasetError::Choice)? {
        DatasetKind::Random(_) | DatasetKind::PrefixRepetition(_) | DatasetKind::Toolbench(_) => return Ok(None),
        DatasetKind::ToolbenchFile(_) => FileFormat::Toolbench,
        DatasetKind::Sharegpt(_) => FileFormat::Sharegpt,
        DatasetKind::Custom(_) => FileFormat::Custom,
        DatasetKind::Trace(set) => return trace_facts(set, path).map(Some),
    };
    let file = RequestFile::open(path, format, &TokenCounter::Estimate, &|_| ())?;
    let outputs = file.lengths().map(|(_, output)| output).collect::<Option<Vec<u32>>>();
    Ok(Some(DatasetFile {
        sha256: file.sha256().to_owned(),
        requests: file.len() as u64,
        mean_prompt_tokens: mean(file.lengths().map(|(prompt, _)| prompt)),
        mean_output_tokens: outputs.map(|outputs| mean(outputs.into_iter())),
        longest_prompt_tokens: None,
        longest_tokens: None,
        arrivals_milliseconds: None,
    }))
}

fn trace_facts(set: &TraceDataset, path: &Path) -> Result<DatasetFile, DatasetError> {
    let trace = TraceSource::open(path, trace_spec(set, None), PromptForm::TokenIds, &TokenCounter::Estimate, 0)?;
    let last_s = trace.arrivals_s().and_then(|arrivals| arrivals.last().copied());
    Ok(DatasetFile {
        sha256: trace.file_sha256().unwrap_or_default().to_owned(),
        requests: trace.there() as u64,
        mean_prompt_tokens: mean(trace.lengths().map(|(prompt, _)| prompt)),
        mean_output_tokens: Some(mean(trace.lengths().map(|(_, output)| output))),
        longest_prompt_tokens: trace.lengths().map(|(prompt, _)| prompt).max(),
        longest_tokens: trace.lengths().map(|(prompt, output)| prompt.saturating_add(output)).max(),
        arrivals_milliseconds: last_s.map(|last_s| (last_s * 1000.0) as u64),
    })
}

/// The mean, rounded; 0 of nothing.
fn mean(values: impl Iterator<Item = u32>) -> u32 {
    let (sum, count) = values.fold((0_u64, 0_u64), |(sum, count), value| (sum + u64::from(value), count + 1));
    (sum + count / 2).checked_div(count).unwrap_or(0) as u32
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io::Write;

    use serde_json::json;

    use super::*;
    use crate::dataset::Prompt;

    fn dataset(value: serde_json::Value) -> Dataset {
        serde_json::from_value(value).unwrap()
    }

    fn file(lines: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(lines.as_bytes()).unwrap();
        file
    }

    fn parameters(path: &Path, sha256: Option<String>, part: u64) -> SourceParameters {
        let file = Some(FileInput { path: path.to_owned(), sha256, seed: 3, part });
        SourceParameters { input_tokens: Some(8), output_tokens: Some(4), seed: part + 100, file }
    }

    #[test]
    fn blocks_take_different_prompts_of_a_file_and_runs_of_a_block_the_same() {
        let lines: String = (0..9).map(|index| format!("{{\"prompt\": \"p{index}\"}}\n")).collect();
        let file = file(&lines);
        let dataset = dataset(json!({"custom": {"path": "x", "prompts": 3}}));
        let taken = |part| -> BTreeSet<String> {
            let source = requests(&dataset, &parameters(file.path(), None, part)).unwrap();
            let prompts = (0..source.len()).map(|index| source.request(index).unwrap().prompt);
            prompts
                .map(|prompt| match prompt {
                    Prompt::Text(text) => text,
                    Prompt::TokenIds(_) => panic!("ids"),
                })
                .collect()
        };
        assert_eq!(taken(0), taken(0));
        assert_eq!((0..3).flat_map(taken).collect::<BTreeSet<_>>().len(), 9);
    }

    #[test]
    fn a_file_other_than_the_planned_one_is_refused() {
        let file = file("{\"prompt\": \"a\"}\n");
        let dataset = dataset(json!({"custom": {"path": "x", "prompts": 1}}));
        let planned = file_facts(&dataset, file.path()).unwrap().unwrap();
        assert!(requests(&dataset, &parameters(file.path(), Some(planned.sha256.clone()), 0)).is_ok());
        std::fs::write(file.path(), "{\"prompt\": \"b\"}\n").unwrap();
        let refused = requests(&dataset, &parameters(file.path(), Some(planned.sha256), 0));
        assert!(matches!(refused.map(|_| ()), Err(DatasetError::Digest { .. })));
    }

    #[test]
    fn a_plan_knows_how_long_a_trace_and_its_requests_are() {
        let line = |ms, input, output| {
            format!("{{\"timestamp\": {ms}, \"input_length\": {input}, \"output_length\": {output}}}\n")
        };
        let file = file(&(line(0, 10, 5) + &line(4000, 20, 1) + &line(9000, 30, 9)));
        let trace = dataset(json!({"trace": {"path": "x", "prompts": 2, "speedMilli": 2000}}));
        let facts = file_facts(&trace, file.path()).unwrap().unwrap();
        assert_eq!((facts.requests, facts.mean_prompt_tokens, facts.mean_output_tokens), (3, 15, Some(3)));
        assert_eq!((facts.longest_prompt_tokens, facts.longest_tokens), (Some(20), Some(21)));
        assert_eq!(facts.arrivals_milliseconds, Some(2000));
        assert_eq!(file_facts(&dataset(json!({"toolbench": {"prompts": 5}})), file.path()).unwrap(), None);
    }

    #[test]
    fn what_a_data_set_needs_is_asked_for() {
        let nothing = SourceParameters { input_tokens: None, output_tokens: None, seed: 0, file: None };
        let error = |value| match requests(&dataset(value), &nothing) {
            Ok(_) => panic!("made of nothing"),
            Err(error) => error.to_string(),
        };
        assert!(error(json!({"custom": {"path": "x", "prompts": 1}})).contains("its file is not there"));
        assert!(error(json!({"random": {"prompts": 1}})).contains("no prompt length"));
        assert!(error(json!({"prefixRepetition": {"prompts": 10}})).contains("no output length"));
        assert!(error(json!({})).contains("exactly one kind"));
    }
}
