//! Prompts from a file of JSON lines, all of it checked before any of it is used.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use rand::seq::SliceRandom;
use serde::Deserialize;

use super::{BYTES_PER_TOKEN, DatasetError, PlannedRequest, Prompt, RequestSource};
use crate::seed::stream;

/// What the lines look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineFormat {
    /// `{"text", "sampling_params": {"temperature", "max_new_tokens"}}`, as published for ToolBench.
    Toolbench,
    /// `{"prompt", "output_tokens"}`, as vLLM's `custom` data set.
    Custom,
}

/// Output cap of a line that names none, when the run names none either: that of vLLM's `--custom-output-len`.
const DEFAULT_OUTPUT_TOKENS: u32 = 256;

/// The requests of a file, in an order drawn from the seed; a run longer than the file goes through it again.
#[derive(Clone, Debug)]
pub struct JsonlSource {
    entries: Vec<Entry>,
    order: Vec<u32>,
    output_tokens: Option<u32>,
}

#[derive(Clone, Debug, PartialEq)]
struct Entry {
    text: String,
    max_tokens: Option<u32>,
    temperature: Option<f64>,
}

impl JsonlSource {
    /// Reads the whole file; `output_tokens` overrides the lines' own caps.
    ///
    /// # Errors
    /// When the file cannot be read or a line is wrong: then none of it is used.
    pub fn open(
        path: &Path,
        format: LineFormat,
        count: usize,
        output_tokens: Option<u32>,
        seed: u64,
    ) -> Result<JsonlSource, DatasetError> {
        let read_error = |source| DatasetError::Read { path: path.to_owned(), source };
        let entries = read_entries(BufReader::new(File::open(path).map_err(read_error)?), path, format)?;
        if entries.is_empty() {
            return Err(DatasetError::Empty { path: path.to_owned() });
        }
        let mut order = Vec::with_capacity(count);
        let mut pass: Vec<u32> = (0..entries.len()).map(|index| index as u32).collect();
        let mut rng = stream("file order", seed, 0);
        while order.len() < count {
            pass.shuffle(&mut rng);
            order.extend(pass.iter().take(count - order.len()));
        }
        Ok(JsonlSource { entries, order, output_tokens })
    }
}

impl RequestSource for JsonlSource {
    fn len(&self) -> usize {
        self.order.len()
    }

    fn request(&self, index: usize) -> PlannedRequest {
        let Entry { text, max_tokens, temperature } = &self.entries[self.order[index] as usize];
        PlannedRequest {
            prompt: Prompt::Text(text.clone()),
            expected_prompt_tokens: text.len().div_ceil(BYTES_PER_TOKEN) as u32,
            max_tokens: self.output_tokens.or(*max_tokens).unwrap_or(DEFAULT_OUTPUT_TOKENS),
            temperature: *temperature,
        }
    }
}

fn read_entries(reader: impl BufRead, path: &Path, format: LineFormat) -> Result<Vec<Entry>, DatasetError> {
    let mut entries = Vec::new();
    for (index, line) in reader.lines().enumerate() {
        let at_line = |reason| DatasetError::Line { path: path.to_owned(), line: index + 1, reason };
        let line = line.map_err(|error| at_line(format!("cannot be read: {error}")))?;
        if line.trim().is_empty() {
            continue;
        }
        entries.push(read_entry(&line, format).map_err(at_line)?);
    }
    Ok(entries)
}

fn read_entry(line: &str, format: LineFormat) -> Result<Entry, String> {
    let (text_key, cap_key, entry) = match format {
        LineFormat::Toolbench => {
            let ToolbenchLine { text, sampling_params } = parse(line)?;
            let SamplingParameters { temperature, max_new_tokens } = sampling_params.unwrap_or_default();
            ("text", "sampling_params.max_new_tokens", Entry { text, max_tokens: max_new_tokens, temperature })
        }
        LineFormat::Custom => {
            let CustomLine { prompt, output_tokens } = parse(line)?;
            ("prompt", "output_tokens", Entry { text: prompt, max_tokens: output_tokens, temperature: None })
        }
    };
    if entry.text.is_empty() {
        return Err(format!("{text_key} is empty; give a prompt"));
    }
    if entry.max_tokens == Some(0) {
        return Err(format!("{cap_key} is 0; give 1 or more"));
    }
    if let Some(temperature) = entry.temperature.filter(|temperature| *temperature < 0.0) {
        return Err(format!("sampling_params.temperature is {temperature}; give 0 or more"));
    }
    Ok(entry)
}

fn parse<'a, T: Deserialize<'a>>(line: &'a str) -> Result<T, String> {
    serde_json::from_str(line).map_err(|error| {
        // Every line is line 1 to the parser, which would contradict the file's line.
        error.to_string().replace(" at line 1 column ", " at column ")
    })
}

#[derive(Deserialize)]
struct ToolbenchLine {
    text: String,
    sampling_params: Option<SamplingParameters>,
}

#[derive(Deserialize, Default)]
struct SamplingParameters {
    temperature: Option<f64>,
    max_new_tokens: Option<u32>,
}

#[derive(Deserialize)]
struct CustomLine {
    prompt: String,
    output_tokens: Option<u32>,
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::io::Write;

    use rstest::rstest;

    use super::*;

    fn open(content: &str, format: LineFormat, count: usize, seed: u64) -> Result<JsonlSource, DatasetError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content.as_bytes()).unwrap();
        JsonlSource::open(file.path(), format, count, None, seed)
    }

    fn texts(source: &JsonlSource) -> Vec<String> {
        (0..source.len())
            .map(|index| match source.request(index).prompt {
                Prompt::Text(text) => text,
                Prompt::TokenIds(ids) => panic!("token ids: {ids:?}"),
            })
            .collect()
    }

    #[test]
    fn a_toolbench_line_gives_its_text_and_sampling() {
        let line = r#"{"text":"abcde","sampling_params":{"temperature":0.5,"max_new_tokens":32}}"#;
        let request = open(line, LineFormat::Toolbench, 1, 0).unwrap().request(0);
        let expected = PlannedRequest {
            prompt: Prompt::Text("abcde".to_owned()),
            expected_prompt_tokens: 2,
            max_tokens: 32,
            temperature: Some(0.5),
        };
        assert_eq!(request, expected);
    }

    #[test]
    fn a_custom_line_may_leave_its_cap_out() {
        let source = open("{\"prompt\":\"a\"}\n", LineFormat::Custom, 1, 0).unwrap();
        assert_eq!(source.request(0).max_tokens, DEFAULT_OUTPUT_TOKENS);
    }

    #[rstest]
    #[case::no_json("{\"text\":\"a\"}\n\nnot json\n", 3, "expected ident at column 2")]
    #[case::no_text("{\"text\":\"a\"}\n{\"prompt\":\"b\"}\n", 2, "missing field `text`")]
    #[case::empty_text("{\"text\":\"\"}\n", 1, "text is empty")]
    #[case::no_output("{\"text\":\"a\",\"sampling_params\":{\"max_new_tokens\":0}}", 1, "max_new_tokens is 0")]
    #[case::cold("{\"text\":\"a\",\"sampling_params\":{\"temperature\":-1}}", 1, "temperature is -1")]
    #[case::cut_off("{\"text\":\"a\"}\n{\"text\":\"b", 2, "EOF")]
    fn a_bad_line_is_named_and_nothing_is_used(#[case] content: &str, #[case] line: usize, #[case] reason: &str) {
        let error = open(content, LineFormat::Toolbench, 1, 0).unwrap_err();
        assert!(
            matches!(&error, DatasetError::Line { line: found, reason: why, .. } if *found == line && why.contains(reason)),
            "{error}"
        );
    }

    #[test]
    fn an_empty_file_is_refused() {
        assert!(matches!(open("\n\n", LineFormat::Custom, 1, 0), Err(DatasetError::Empty { .. })));
    }

    #[test]
    fn the_order_is_drawn_from_the_seed_and_repeats_evenly() {
        let content: String = (0..10).map(|index| format!("{{\"text\":\"p{index}\"}}\n")).collect();
        let order = |seed| texts(&open(&content, LineFormat::Toolbench, 25, seed).unwrap());
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
        let mut counts: HashMap<String, usize> = HashMap::new();
        for text in order(1) {
            *counts.entry(text).or_default() += 1;
        }
        assert!(counts.len() == 10 && counts.values().all(|count| (2..=3).contains(count)), "{counts:?}");
    }
}
