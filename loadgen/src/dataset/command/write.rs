//! Writing a data set as JSON lines.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use indicatif::ProgressBar;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::dataset::{FileFormat, PlannedRequest, Prompt, RequestSource};

/// Writes a file and returns its SHA-256, in hex; the file appears when it is whole.
pub(super) fn to_file(
    path: &Path,
    source: &dyn RequestSource,
    shape: FileFormat,
    bar: &ProgressBar,
) -> anyhow::Result<String> {
    let partial = PathBuf::from(format!("{}.part", path.display()));
    let written = File::create(&partial)
        .with_context(|| format!("{} cannot be written", partial.display()))
        .and_then(|file| {
            let mut hashing = Hashing { writer: file, hash: Sha256::new() };
            to(&mut hashing, source, shape, bar)?;
            hashing.writer.sync_all().with_context(|| format!("{} cannot be written", partial.display()))?;
            Ok(hex::encode(hashing.hash.finalize()))
        })
        .and_then(|sha256| {
            fs::rename(&partial, path).with_context(|| format!("{} cannot be written", path.display()))?;
            Ok(sha256)
        });
    if written.is_err() {
        // What went wrong is told already; a part of a data set is of no use.
        let _ = fs::remove_file(&partial);
    }
    written
}

/// Writes every request as a line.
pub(super) fn to(
    writer: impl Write,
    source: &dyn RequestSource,
    shape: FileFormat,
    bar: &ProgressBar,
) -> anyhow::Result<()> {
    let mut writer = BufWriter::with_capacity(1 << 16, writer);
    for index in 0..source.len() {
        let line = line(source.request(index)?, shape);
        serde_json::to_writer(&mut writer, &line).context("the data set cannot be written")?;
        writer.write_all(b"\n").context("the data set cannot be written")?;
        bar.inc(1);
    }
    writer.flush().context("the data set cannot be written")?;
    bar.finish_and_clear();
    Ok(())
}

fn line(request: PlannedRequest, shape: FileFormat) -> Value {
    let PlannedRequest { prompt, expected_prompt_tokens: _, max_tokens, temperature } = request;
    let prompt: Value = match prompt {
        Prompt::Text(text) => text.into(),
        Prompt::TokenIds(ids) => ids.into(),
    };
    match shape {
        FileFormat::Toolbench => json!({
            "text": prompt,
            "sampling_params": {"temperature": temperature.unwrap_or(0.0), "max_new_tokens": max_tokens},
        }),
        FileFormat::Custom | FileFormat::Sharegpt => json!({"prompt": prompt, "output_tokens": max_tokens}),
    }
}

/// A writer that digests all that is written through it.
struct Hashing<W> {
    writer: W,
    hash: Sha256,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.writer.write(bytes)?;
        self.hash.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}
