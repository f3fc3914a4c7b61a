//! Prompts from a file: all of it is checked before any of it is used, and none of it is held in memory.
//!
//! A first pass checks every record, counts its tokens and notes where it lies; a request is read again when its time
//! comes. 100,000 prompts take 2.4 MB, whatever their length.

mod format;
mod order;
mod scan;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use self::format::{FileRequest, Output};
use super::tokens::TokenCounter;
use super::{DatasetError, PlannedRequest, Prompt, RequestSource};

pub use self::format::FileFormat;
pub(super) use self::{
    format::parse,
    scan::{Record, scan},
};

/// Output cap of a record that names none, when the run names none either: that of vLLM's `--custom-output-len`.
const DEFAULT_OUTPUT_TOKENS: u32 = 256;

/// Bounds in tokens within which a conversation is used; those of vLLM's client.
const CONVERSATION: ConversationBounds = ConversationBounds { shortest: 4, longest_prompt: 1024, longest: 2048 };

struct ConversationBounds {
    shortest: u32,
    longest_prompt: u32,
    longest: u32,
}

impl ConversationBounds {
    fn hold(&self, prompt: u32, answer: u32) -> bool {
        prompt.min(answer) >= self.shortest && prompt <= self.longest_prompt && prompt + answer <= self.longest
    }
}

/// A checked file.
#[derive(Debug)]
pub struct RequestFile {
    path: PathBuf,
    file: File,
    format: FileFormat,
    sha256: String,
    entries: Vec<Entry>,
    left_out: usize,
}

/// Where a request lies in the file, and what was counted of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    offset: u64,
    length: u32,
    /// Tells a record that changed since it was checked.
    fingerprint: u32,
    prompt_tokens: u32,
    /// 0 where the file does not say.
    output_tokens: u32,
}

/// Which requests of a file a run takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Requests of the run.
    pub count: usize,
    /// Seed of the orders in which the file is gone through; `None` for the file's own.
    pub seed: Option<u64>,
    /// Number of the run, from 0, among those that go through the file one after the other.
    pub part: u64,
    /// Whether a file with too few requests is gone through again.
    pub oversample: bool,
}

impl RequestFile {
    /// Checks the whole file and counts its tokens; `progress` is told the bytes done so far.
    ///
    /// # Errors
    /// When the file cannot be read, a record is wrong, or there is no request in it: then none of it is used.
    pub fn open(
        path: &Path,
        format: FileFormat,
        counter: &TokenCounter,
        progress: &dyn Fn(u64),
    ) -> Result<RequestFile, DatasetError> {
        let file = File::open(path).map_err(|source| DatasetError::Read { path: path.to_owned(), source })?;
        let (mut entries, mut left_out) = (Vec::new(), 0);
        let sha256 = scan(path, |record| {
            match format.parse(record.bytes)? {
                Some(request) => match entry(record, &request, counter)? {
                    Some(entry) => entries.push(entry),
                    None => left_out += 1,
                },
                None => left_out += 1,
            }
            progress(record.offset);
            Ok(())
        })?;
        let opened = RequestFile { path: path.to_owned(), file, format, sha256, entries, left_out };
        if opened.entries.is_empty() {
            return Err(DatasetError::Empty { path: opened.path.clone(), left_out: opened.left_out_in_words() });
        }
        Ok(opened)
    }

    /// SHA-256 of the file, in hex.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Requests in it that can be used.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Records that hold no request: conversations without an answer, too short or too long.
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// Prompt tokens and, where the file says it, output tokens of every request, in the order of the file.
    pub fn lengths(&self) -> impl Iterator<Item = (u32, Option<u32>)> {
        self.entries.iter().map(|entry| (entry.prompt_tokens, (entry.output_tokens > 0).then_some(entry.output_tokens)))
    }

    /// The requests of a run; `output_tokens` overrides the records' own caps.
    ///
    /// # Errors
    /// When there are too few.
    pub fn select(self, selection: Selection, output_tokens: Option<u32>) -> Result<FileSource, DatasetError> {
        let Selection { count, seed, part, oversample } = selection;
        if self.len() < count && !oversample {
            let (path, left_out) = (self.path.clone(), self.left_out_in_words());
            return Err(DatasetError::TooFew { path, there: self.len(), wanted: count, left_out });
        }
        let order = order::order(self.len(), count, seed, part);
        Ok(FileSource { file: self, order, output_tokens })
    }

    fn left_out_in_words(&self) -> String {
        match self.left_out {
            0 => String::new(),
            count => format!(" ({count} conversations without an answer, too short or too long are left out)"),
        }
    }

    /// Reads a request again.
    fn read(&self, entry: Entry) -> Result<FileRequest, DatasetError> {
        let changed = || DatasetError::Changed { path: self.path.clone(), offset: entry.offset };
        let mut bytes = vec![0; entry.length as usize];
        self.file.read_exact_at(&mut bytes, entry.offset).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => changed(),
            _ => DatasetError::Read { path: self.path.clone(), source },
        })?;
        if fingerprint(&bytes) != entry.fingerprint {
            return Err(changed());
        }
        self.format.parse(&bytes).ok().flatten().ok_or_else(changed)
    }
}

/// What is noted of a request; `None` when it is left out.
fn entry(record: Record<'_>, request: &FileRequest, counter: &TokenCounter) -> Result<Option<Entry>, String> {
    let FileRequest { prompt, output, temperature: _ } = request;
    let count = |text: &str| counter.count(text).map_err(|error| error.to_string());
    let prompt_tokens = match prompt {
        Prompt::Text(text) => count(text)?,
        Prompt::TokenIds(ids) => ids.len() as u32,
    };
    let output_tokens = match output {
        Output::Tokens(tokens) => *tokens,
        Output::Unsaid => 0,
        Output::Answer(answer) => {
            let tokens = count(answer)?;
            if !CONVERSATION.hold(prompt_tokens, tokens) {
                return Ok(None);
            }
            tokens
        }
    };
    // A record is far shorter than 4 GiB: the scan refuses longer ones.
    let length = record.bytes.len() as u32;
    let fingerprint = fingerprint(record.bytes);
    Ok(Some(Entry { offset: record.offset, length, fingerprint, prompt_tokens, output_tokens }))
}

/// Half of a hash is enough to tell a record from a changed one.
fn fingerprint(bytes: &[u8]) -> u32 {
    xxh3_64(bytes) as u32
}

/// The requests of a run from a file.
#[derive(Debug)]
pub struct FileSource {
    file: RequestFile,
    order: Vec<u32>,
    output_tokens: Option<u32>,
}

impl RequestSource for FileSource {
    fn len(&self) -> usize {
        self.order.len()
    }

    fn request(&self, index: usize) -> Result<PlannedRequest, DatasetError> {
        let entry = self.file.entries[self.order[index] as usize];
        let FileRequest { prompt, output: _, temperature } = self.file.read(entry)?;
        let own = (entry.output_tokens > 0).then_some(entry.output_tokens);
        Ok(PlannedRequest {
            prompt,
            expected_prompt_tokens: entry.prompt_tokens,
            max_tokens: self.output_tokens.or(own).unwrap_or(DEFAULT_OUTPUT_TOKENS),
            temperature,
        })
    }

    fn file_sha256(&self) -> Option<&str> {
        Some(&self.file.sha256)
    }
}

#[cfg(test)]
mod tests;
