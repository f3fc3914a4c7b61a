//! `teebench dataset`: writes data sets, and describes them.

mod args;
mod write;

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use self::args::{
    Command, GenerateArgs, InspectArgs, InspectFormat, OutputFormat, PrefixRepetitionArgs, RandomArgs, ShowArgs,
    ToolbenchArgs,
};
use super::describe::{Description, describe, text};
use super::file::{parse, scan};
use super::flags::toolbench_spec;
use super::{
    DatasetError, FileFormat, PrefixRepetitionSource, PrefixRepetitionSpec, PromptForm, RandomSource, RandomSpec,
    RequestFile, RequestSource, Selection, TokenCounter, ToolbenchSource, TraceSource, TraceSpec,
};

pub use self::args::Args;

/// Exit code of bad input.
const BAD_INPUT: u8 = 2;

/// Writes or describes a data set.
///
/// # Errors
/// When something cannot be written. Bad input is reported here, with exit code 2.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let made = match &args.command {
        Command::Toolbench(args) => toolbench(args),
        Command::Random(args) => random(args),
        Command::PrefixRepetition(args) => prefix_repetition(args),
        Command::Inspect(args) => return inspect(args),
    };
    match made {
        Ok(Made { source, shape, common }) => write_and_describe(&*source, shape, &common),
        Err(error) => Ok(bad_input(&error)),
    }
}

/// A generated data set.
struct Made {
    source: Arc<dyn RequestSource>,
    /// What its lines look like.
    shape: FileFormat,
    common: GenerateArgs,
}

fn toolbench(ToolbenchArgs { common, tools, zipf, duplicates, no_reuse }: &ToolbenchArgs) -> anyhow::Result<Made> {
    let output_len = Some(common.output_len);
    let spec = toolbench_spec(common.num_prompts, *tools, *zipf, *duplicates, *no_reuse, output_len, "")?;
    let source = Arc::new(ToolbenchSource::new(&spec, common.seed));
    Ok(Made { source, shape: FileFormat::Toolbench, common: common.clone() })
}

fn random(RandomArgs { common, input_len, range_ratio, prefix_len, form }: &RandomArgs) -> anyhow::Result<Made> {
    let prompts = common.num_prompts as usize;
    let spec = RandomSpec::of_flags(prompts, *prefix_len, *input_len, common.output_len, *range_ratio)?;
    let source = Arc::new(RandomSource::new(spec, form.get(), &counter(&common.show)?, common.seed)?);
    Ok(Made { source, shape: FileFormat::Custom, common: common.clone() })
}

fn prefix_repetition(args: &PrefixRepetitionArgs) -> anyhow::Result<Made> {
    let PrefixRepetitionArgs { common, num_prefixes, prefix_len, suffix_len, form } = args;
    let spec = PrefixRepetitionSpec {
        prompts: common.num_prompts as usize,
        prefixes: *num_prefixes,
        prefix_tokens: *prefix_len,
        suffix_tokens: *suffix_len,
        output_tokens: common.output_len,
    };
    let source = Arc::new(PrefixRepetitionSource::new(spec, form.get(), &counter(&common.show)?, common.seed)?);
    Ok(Made { source, shape: FileFormat::Custom, common: common.clone() })
}

fn write_and_describe(
    source: &dyn RequestSource,
    shape: FileFormat,
    common: &GenerateArgs,
) -> anyhow::Result<ExitCode> {
    let GenerateArgs { out, show, .. } = common;
    if out.as_deref() == Some(Path::new("-")) {
        write::to(io::stdout().lock(), source, shape, &bar(source.len() as u64, "writing"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let sha256 = match out {
        Some(path) => Some(write::to_file(path, source, shape, &bar(source.len() as u64, "writing"))?),
        None => None,
    };
    let description = counter(show).and_then(|counter| described(source, &counter));
    match description {
        Ok(description) => print(&Description { sha256, ..description }, show.output),
        Err(error) => Ok(bad_input(&error)),
    }
}

fn inspect(args: &InspectArgs) -> anyhow::Result<ExitCode> {
    let description = counter(&args.show)
        .and_then(|counter| Ok((opened(args, &counter)?, counter)))
        .and_then(|(source, counter)| described(&*source, &counter));
    match description {
        Ok(description) => print(&description, args.show.output),
        Err(error) => Ok(bad_input(&error)),
    }
}

/// The requests of a file, in its order.
fn opened(args: &InspectArgs, counter: &TokenCounter) -> anyhow::Result<Arc<dyn RequestSource>> {
    let InspectArgs { file: path, format, num_prompts, trace_block_tokens, show: _ } = args;
    let prompts = num_prompts.map(|count| count as usize);
    let format = match format {
        Some(format) => *format,
        None => detected(path)?,
    };
    let format = match format {
        InspectFormat::Toolbench => FileFormat::Toolbench,
        InspectFormat::Custom => FileFormat::Custom,
        InspectFormat::Sharegpt => FileFormat::Sharegpt,
        InspectFormat::Trace => {
            let block_tokens = *trace_block_tokens;
            let spec = TraceSpec { prompts, speed: 1.0, block_tokens, maximum_input_tokens: None, output_tokens: None };
            return Ok(Arc::new(TraceSource::open(path, spec, PromptForm::TokenIds, counter, 0)?));
        }
    };
    let bytes = path.metadata().map_or(0, |metadata| metadata.len());
    let bar = bar(bytes, "reading");
    let file = RequestFile::open(path, format, counter, &|done| bar.set_position(done))?;
    bar.finish_and_clear();
    if file.left_out() > 0 {
        tracing::warn!(
            left_out = file.left_out(),
            "conversations without an answer, too short or too long are left out"
        );
    }
    let selection = Selection { count: prompts.unwrap_or(file.len()), seed: None, part: 0, oversample: false };
    Ok(Arc::new(file.select(selection, None)?))
}

/// What the first record of a file looks like.
fn detected(path: &Path) -> anyhow::Result<InspectFormat> {
    let mut first: Option<Value> = None;
    // The first record says it all; an error is the way to stop at it.
    let scanned = scan(path, |record| {
        first = Some(parse(record.bytes)?);
        Err("the first record is enough".to_owned())
    });
    let Some(first) = first else {
        scanned?;
        return Err(DatasetError::Empty { path: path.to_owned(), left_out: String::new() }.into());
    };
    let known = [
        ("conversations", InspectFormat::Sharegpt),
        ("text", InspectFormat::Toolbench),
        ("prompt", InspectFormat::Custom),
        ("input_length", InspectFormat::Trace),
    ];
    let found = known.into_iter().find(|(key, _)| first.get(key).is_some());
    let (_, format) = found.with_context(|| {
        format!(
            "{}: its first record has none of conversations, text, prompt and input_length; give --format",
            path.display()
        )
    })?;
    Ok(format)
}

fn counter(show: &ShowArgs) -> anyhow::Result<TokenCounter> {
    Ok(match &show.tokenizer {
        Some(path) => TokenCounter::from_path(path)?,
        None => TokenCounter::Estimate,
    })
}

fn described(source: &dyn RequestSource, counter: &TokenCounter) -> anyhow::Result<Description> {
    let bar = bar(2 * source.len() as u64, "describing");
    let description = describe(source, counter, &|done| bar.set_position(done))?;
    bar.finish_and_clear();
    Ok(description)
}

fn print(description: &Description, format: OutputFormat) -> anyhow::Result<ExitCode> {
    let shown = match format {
        OutputFormat::Text => text(description),
        OutputFormat::Json => serde_json::to_string_pretty(description).context("the description is no JSON")? + "\n",
    };
    match io::stdout().lock().write_all(shown.as_bytes()) {
        // Whoever read has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        written => written.context("the description cannot be printed")?,
    }
    Ok(ExitCode::SUCCESS)
}

fn bad_input(error: &anyhow::Error) -> ExitCode {
    tracing::error!("{error:#}");
    ExitCode::from(BAD_INPUT)
}

/// Progress on a terminal's standard error; nothing elsewhere.
fn bar(total: u64, what: &'static str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{msg} {wide_bar} {percent} % eta {eta}")
        .expect("the template has only keys that indicatif knows");
    ProgressBar::new(total).with_style(style).with_message(what)
}

#[cfg(test)]
mod tests;
