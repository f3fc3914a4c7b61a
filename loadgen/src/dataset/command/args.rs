//! The flags of `teebench dataset`.

use std::path::PathBuf;

use clap::ValueEnum;

use crate::dataset::PromptForm;

const EXAMPLES: &str = "\
Examples:
  teebench dataset toolbench --num-prompts 6000 --out prompts.jsonl
  teebench dataset inspect prompts.jsonl
  teebench dataset inspect ShareGPT_V3.json --tokenizer models/llama/tokenizer.json -o json";

/// Write and describe data sets.
#[derive(clap::Args, Clone, Debug)]
#[command(before_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(clap::Subcommand, Clone, Debug)]
pub(super) enum Command {
    /// Generate ToolBench-like prompts: one system prompt for all, a block for each tool, a query.
    #[command(before_help = "\
Examples:
  teebench dataset toolbench --num-prompts 6000 --seed 54940 --out prompts.jsonl
  teebench dataset toolbench --num-prompts 6000 --no-reuse")]
    Toolbench(ToolbenchArgs),
    /// Generate random prompts.
    #[command(before_help = "\
Example:
  teebench dataset random --num-prompts 1000 --input-len 512 --range-ratio 0.5 --out random.jsonl")]
    Random(RandomArgs),
    /// Generate random prompts that open with one of several shared prefixes.
    #[command(before_help = "\
Example:
  teebench dataset prefix-repetition --num-prompts 1000 --num-prefixes 20 --prefix-len 1024 --suffix-len 128 \\
      --form text --out prefixes.jsonl")]
    PrefixRepetition(PrefixRepetitionArgs),
    /// Check a file whole and describe it.
    #[command(before_help = "\
Examples:
  teebench dataset inspect prompts.jsonl
  teebench dataset inspect mooncake_trace.jsonl --trace-block-tokens 512
  teebench dataset inspect ShareGPT_V3.json --num-prompts 1000 --tokenizer tokenizer.json -o json")]
    Inspect(InspectArgs),
}

#[derive(clap::Args, Clone, Debug)]
pub(super) struct ToolbenchArgs {
    #[command(flatten)]
    pub(super) common: GenerateArgs,
    /// Tools, each with a block of its own.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) tools: u32,
    /// Zipf exponent of the tools' popularity.
    #[arg(long, value_name = "EXPONENT", default_value_t = 1.1)]
    pub(super) zipf: f64,
    /// Share of prompts that repeat an earlier one exactly, from 0 to 1.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub(super) duplicates: f64,
    /// Give every prompt a system prompt and a tool block of its own: the control.
    #[arg(long)]
    pub(super) no_reuse: bool,
}

#[derive(clap::Args, Clone, Debug)]
pub(super) struct RandomArgs {
    #[command(flatten)]
    pub(super) common: GenerateArgs,
    /// Prompt length in tokens, less the prefix.
    #[arg(long, value_name = "TOKENS", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) input_len: u32,
    /// Half-width of the range of lengths, as a share of the length, from 0 to less than 1.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub(super) range_ratio: f64,
    /// Tokens that all prompts begin with, before their own.
    #[arg(long, value_name = "TOKENS", default_value_t = 0)]
    pub(super) prefix_len: u32,
    #[command(flatten)]
    pub(super) form: FormArgs,
}

#[derive(clap::Args, Clone, Debug)]
pub(super) struct PrefixRepetitionArgs {
    #[command(flatten)]
    pub(super) common: GenerateArgs,
    /// Shared prefixes.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) num_prefixes: u32,
    /// Length of each prefix in tokens.
    #[arg(long, value_name = "TOKENS", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) prefix_len: u32,
    /// Length in tokens of what follows the prefix.
    #[arg(long, value_name = "TOKENS", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) suffix_len: u32,
    #[command(flatten)]
    pub(super) form: FormArgs,
}

#[derive(clap::Args, Clone, Debug)]
pub(super) struct InspectArgs {
    /// File of a data set.
    pub(super) file: PathBuf,
    /// What the file holds. Default: as its first record looks.
    #[arg(long, value_enum)]
    pub(super) format: Option<InspectFormat>,
    /// Describe the first requests only, in the order of the file.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) num_prompts: Option<u32>,
    /// Tokens of the block that a hash id of a trace stands for.
    #[arg(long, value_name = "TOKENS", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub(super) trace_block_tokens: u32,
    #[command(flatten)]
    pub(super) show: ShowArgs,
}

/// What all generators take.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct GenerateArgs {
    /// Requests.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) num_prompts: u32,
    /// Cap of the output in tokens.
    #[arg(long, value_name = "TOKENS", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) output_len: u32,
    /// Seed: the same seed gives the same bytes.
    #[arg(long, default_value_t = 0)]
    pub(super) seed: u64,
    /// Write the data set there as JSON lines; - is standard output, without the description. Default: describe only.
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
    #[command(flatten)]
    pub(super) show: ShowArgs,
}

/// In which form prompts are made.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct FormArgs {
    /// Form of the prompts: token-ids are exact for every model, text is what vLLM's own client reads.
    #[arg(long, value_enum, default_value = "token-ids")]
    form: Form,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Form {
    TokenIds,
    Text,
}

impl FormArgs {
    pub(super) fn get(&self) -> PromptForm {
        match self.form {
            Form::TokenIds => PromptForm::TokenIds,
            Form::Text => PromptForm::Text,
        }
    }
}

/// How the description is shown.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct ShowArgs {
    /// Count the tokens of texts by this tokenizer.json, or by that of this directory. Default: 4 bytes to a token.
    #[arg(long, value_name = "FILE")]
    pub(super) tokenizer: Option<PathBuf>,
    /// Format of the description.
    #[arg(short, long, value_enum, default_value = "text")]
    pub(super) output: OutputFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum OutputFormat {
    /// For people, with plots.
    Text,
    /// One JSON object.
    Json,
}

/// What a file may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum InspectFormat {
    /// `{"text", "sampling_params"}`.
    Toolbench,
    /// `{"prompt", "output_tokens"}`.
    Custom,
    /// `{"conversations"}`.
    Sharegpt,
    /// `{"timestamp", "input_length", "output_length", "hash_ids"}`.
    Trace,
}
