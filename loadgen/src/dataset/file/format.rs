//! What the records of a data set's file look like.

use serde::Deserialize;

use crate::dataset::Prompt;

/// What the records look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum FileFormat {
    /// `{"text", "sampling_params": {"temperature", "max_new_tokens"}}`, as published for ToolBench.
    Toolbench,
    /// `{"prompt", "output_tokens"}`, as vLLM's `custom` data set; the prompt may be token ids.
    Custom,
    /// `{"conversations": [{"value"}, {"value"}, …]}`: the first turn is the prompt, the second its answer.
    Sharegpt,
}

/// One request as a file has it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FileRequest {
    pub(super) prompt: Prompt,
    pub(super) output: Output,
    pub(super) temperature: Option<f64>,
}

/// What a file says of a request's output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// Its cap in tokens.
    Tokens(u32),
    /// A text as long as it should be.
    Answer(String),
    /// Nothing.
    Unsaid,
}

impl FileFormat {
    /// Reads one record; `None` for one that holds no request and is left out by the format's custom.
    pub(super) fn parse(self, bytes: &[u8]) -> Result<Option<FileRequest>, String> {
        let request = match self {
            FileFormat::Toolbench => toolbench(parse(bytes)?)?,
            FileFormat::Custom => custom(parse(bytes)?)?,
            FileFormat::Sharegpt => return sharegpt(parse(bytes)?),
        };
        Ok(Some(request))
    }
}

/// Parses a record, in the words of someone who counts lines of the file.
pub(in crate::dataset) fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|error| {
        // To the parser every record begins at line 1, which would contradict the file's line.
        let (line, column) = (error.line(), error.column());
        let said = error.to_string();
        let reason = said.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&said);
        match line {
            0 => reason.to_owned(),
            1 => format!("{reason} at column {column}"),
            _ => format!("{reason} at column {column} of the record's line {line}"),
        }
    })
}

fn toolbench(ToolbenchLine { text, sampling_params }: ToolbenchLine) -> Result<FileRequest, String> {
    let SamplingParameters { temperature, max_new_tokens } = sampling_params.unwrap_or_default();
    if text.is_empty() {
        return Err("text is empty; give a prompt".to_owned());
    }
    if let Some(temperature) = temperature.filter(|temperature| *temperature < 0.0) {
        return Err(format!("sampling_params.temperature is {temperature}; give 0 or more"));
    }
    let output = cap("sampling_params.max_new_tokens", max_new_tokens)?;
    Ok(FileRequest { prompt: Prompt::Text(text), output, temperature })
}

fn custom(CustomLine { prompt, output_tokens }: CustomLine) -> Result<FileRequest, String> {
    let prompt = match prompt {
        CustomPrompt::Text(text) => Prompt::Text(text),
        CustomPrompt::TokenIds(ids) => Prompt::TokenIds(ids),
    };
    if prompt.is_empty() {
        return Err("prompt is empty; give a text or token ids".to_owned());
    }
    Ok(FileRequest { prompt, output: cap("output_tokens", output_tokens)?, temperature: None })
}

/// Conversations without an answer are left out, as vLLM's client does: the published file has many.
fn sharegpt(ShareGptRecord { conversations }: ShareGptRecord) -> Result<Option<FileRequest>, String> {
    let mut turns = conversations.into_iter();
    Ok(match (turns.next(), turns.next()) {
        (Some(Turn { value: prompt }), Some(Turn { value: answer })) => {
            Some(FileRequest { prompt: Prompt::Text(prompt), output: Output::Answer(answer), temperature: None })
        }
        _ => None,
    })
}

fn cap(key: &str, tokens: Option<u32>) -> Result<Output, String> {
    match tokens {
        Some(0) => Err(format!("{key} is 0; give 1 or more")),
        Some(tokens) => Ok(Output::Tokens(tokens)),
        None => Ok(Output::Unsaid),
    }
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
    prompt: CustomPrompt,
    output_tokens: Option<u32>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "prompt is neither a text nor a list of token ids")]
enum CustomPrompt {
    Text(String),
    TokenIds(Vec<u32>),
}

#[derive(Deserialize)]
struct ShareGptRecord {
    conversations: Vec<Turn>,
}

#[derive(Deserialize)]
struct Turn {
    value: String,
}
