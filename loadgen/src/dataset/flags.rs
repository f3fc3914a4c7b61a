//! The flags that describe a data set: those of `vllm bench serve` where it has them, under its names and defaults.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use clap::ValueEnum;
use teebench_api::campaign::dataset::Reuse;

use super::file::{FileFormat, RequestFile, Selection};
use super::{
    PrefixRepetitionSource, PrefixRepetitionSpec, PromptForm, RandomSource, RandomSpec, RequestSource, TokenCounter,
    ToolbenchSource, ToolbenchSpec, TraceSource, TraceSpec,
};

/// Kinds of data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum DatasetName {
    /// Random prompts: token ids, or words for chat.
    Random,
    /// Random prompts that open with one of several shared prefixes.
    PrefixRepetition,
    /// ToolBench prompts: generated, or from --dataset-path.
    Toolbench,
    /// First turns of conversations: a JSON array, or JSON lines, of `{"conversations": [{"value"}, …]}`.
    Sharegpt,
    /// Prompts from JSON lines of `{"prompt", "output_tokens"}`.
    Custom,
    /// A trace in Mooncake's format, at its own arrival times unless --request-rate gives others.
    Trace,
}

/// What to send.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Data set")]
pub struct DatasetArgs {
    /// Kind of data set.
    #[arg(long, value_enum, default_value = "random")]
    pub dataset_name: DatasetName,
    /// File of a data set that is read from one.
    #[arg(long, value_name = "FILE")]
    pub dataset_path: Option<PathBuf>,
    /// Requests to send.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub num_prompts: u32,
    /// Prompt length in tokens, for data sets that take one.
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..))]
    pub input_len: Option<u32>,
    /// Cap of the output in tokens; wins over the data set's own flag.
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..))]
    pub output_len: Option<u32>,
    /// Length of random prompts in tokens; --input-len wins.
    #[arg(long, value_name = "TOKENS", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..))]
    pub random_input_len: u32,
    /// Output cap of random prompts in tokens.
    #[arg(long, value_name = "TOKENS", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..))]
    pub random_output_len: u32,
    /// Half-width of the range of random lengths, as a share of the length, from 0 to less than 1.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub random_range_ratio: f64,
    /// Tokens that all random prompts begin with, before their own.
    #[arg(long, value_name = "TOKENS", default_value_t = 0)]
    pub random_prefix_len: u32,
    /// Length of each shared prefix in tokens.
    #[arg(long, value_name = "TOKENS", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    pub prefix_repetition_prefix_len: u32,
    /// Length in tokens of what follows the prefix.
    #[arg(long, value_name = "TOKENS", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    pub prefix_repetition_suffix_len: u32,
    /// Shared prefixes.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub prefix_repetition_num_prefixes: u32,
    /// Output cap of prompts with shared prefixes, in tokens.
    #[arg(long, value_name = "TOKENS", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..))]
    pub prefix_repetition_output_len: u32,
    /// Output cap of conversations in tokens. Default: the length of the recorded answer.
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..))]
    pub sharegpt_output_len: Option<u32>,
    /// Output cap of custom prompts in tokens; -1 is each line's own. Default: each line's own, or else 256.
    #[arg(long, value_name = "TOKENS", allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(-1..))]
    pub custom_output_len: Option<i32>,
    /// Tools of generated ToolBench prompts.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    pub toolbench_tools: u32,
    /// Zipf exponent of the tools' popularity.
    #[arg(long, value_name = "EXPONENT", default_value_t = 1.1)]
    pub toolbench_zipf: f64,
    /// Share of generated ToolBench prompts that repeat an earlier one exactly.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub toolbench_duplicates: f64,
    /// Generate ToolBench prompts that share nothing: the control.
    #[arg(long)]
    pub toolbench_no_reuse: bool,
    /// How much faster than recorded the requests of a trace arrive.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    pub trace_speed: f64,
    /// Tokens of the block that a hash id of a trace stands for.
    #[arg(long, value_name = "TOKENS", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub trace_block_tokens: u32,
    /// Leave out requests of a trace with longer prompts.
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..))]
    pub trace_max_input_len: Option<u32>,
    /// Go through a file again that has fewer requests than --num-prompts, in place of refusing it.
    #[arg(long)]
    pub oversample: bool,
    /// Refuse a file that has fewer requests than --num-prompts: what is done anyway.
    #[arg(long, conflicts_with = "oversample")]
    pub no_oversample: bool,
    /// Send the prompts of a file as they stand there, not put into a chat template: what is done anyway.
    #[arg(long)]
    pub skip_chat_template: bool,
    /// Take the requests of a file in its own order.
    #[arg(long)]
    pub disable_shuffle: bool,
    /// Count the tokens of texts by the server's /tokenize. Default: by --tokenizer when it is a file, else about.
    #[arg(long)]
    pub tokenize_by_server: bool,
    /// Sampling temperature. Default: the data set's, else the server's.
    #[arg(long)]
    pub temperature: Option<f64>,
    /// Ask for output up to the cap; always so with random prompts.
    #[arg(long)]
    pub ignore_eos: bool,
    /// JSON object whose members every request's body gets; they win over the client's own.
    #[arg(long, value_name = "JSON")]
    pub extra_body: Option<String>,
}

impl DatasetArgs {
    /// Whether prompts mean nothing, so that a model would end its answer early by chance.
    pub(crate) fn is_meaningless(&self) -> bool {
        match self.dataset_name {
            DatasetName::Random | DatasetName::PrefixRepetition | DatasetName::Trace => true,
            DatasetName::Toolbench | DatasetName::Sharegpt | DatasetName::Custom => false,
        }
    }

    /// The requests that the flags describe.
    ///
    /// # Errors
    /// When flags contradict each other, or a file cannot be used.
    pub(crate) fn requests(
        &self,
        form: PromptForm,
        counter: &TokenCounter,
        seed: u64,
    ) -> anyhow::Result<Arc<dyn RequestSource>> {
        match (self.dataset_name, &self.dataset_path) {
            (DatasetName::Random, None) => Ok(Arc::new(RandomSource::new(self.random()?, form, counter, seed)?)),
            (DatasetName::PrefixRepetition, None) => {
                Ok(Arc::new(PrefixRepetitionSource::new(self.prefix_repetition(), form, counter, seed)?))
            }
            (DatasetName::Random | DatasetName::PrefixRepetition, Some(_)) => {
                bail!("--dataset-path: random prompts take no file; use another --dataset-name")
            }
            (DatasetName::Toolbench, None) => Ok(Arc::new(ToolbenchSource::new(&self.toolbench()?, seed))),
            (DatasetName::Toolbench, Some(_)) => self.of_file(FileFormat::Toolbench, self.output_len, counter, seed),
            (DatasetName::Sharegpt, Some(_)) => {
                self.of_file(FileFormat::Sharegpt, self.output_len.or(self.sharegpt_output_len), counter, seed)
            }
            (DatasetName::Custom, Some(_)) => {
                ensure!(self.custom_output_len != Some(0), "--custom-output-len: give 1 or more, or -1");
                // Minus one is no cap of its own: the line's.
                let of_flag = self.custom_output_len.and_then(|tokens| u32::try_from(tokens).ok());
                self.of_file(FileFormat::Custom, self.output_len.or(of_flag), counter, seed)
            }
            (DatasetName::Trace, Some(path)) => {
                Ok(Arc::new(TraceSource::open(path, self.trace()?, form, counter, seed)?))
            }
            (DatasetName::Sharegpt | DatasetName::Custom | DatasetName::Trace, None) => {
                let name = self.dataset_name.to_possible_value();
                let name = name.as_ref().map_or_else(String::new, |name| name.get_name().to_owned());
                bail!("--dataset-name {name}: give its file with --dataset-path")
            }
        }
    }

    fn of_file(
        &self,
        format: FileFormat,
        output_tokens: Option<u32>,
        counter: &TokenCounter,
        seed: u64,
    ) -> anyhow::Result<Arc<dyn RequestSource>> {
        let path = self.dataset_path.as_ref().context("--dataset-path: give a file")?;
        let file = RequestFile::open(path, format, counter, &|_| ())?;
        let selection = Selection {
            count: self.num_prompts as usize,
            seed: (!self.disable_shuffle).then_some(seed),
            part: 0,
            oversample: self.oversample,
        };
        Ok(Arc::new(file.select(selection, output_tokens)?))
    }

    fn random(&self) -> anyhow::Result<RandomSpec> {
        Ok(RandomSpec::of_flags(
            self.num_prompts as usize,
            self.random_prefix_len,
            self.input_len.unwrap_or(self.random_input_len),
            self.output_len.unwrap_or(self.random_output_len),
            self.random_range_ratio,
        )?)
    }

    fn prefix_repetition(&self) -> PrefixRepetitionSpec {
        PrefixRepetitionSpec {
            prompts: self.num_prompts as usize,
            prefixes: self.prefix_repetition_num_prefixes,
            prefix_tokens: self.prefix_repetition_prefix_len,
            suffix_tokens: self.prefix_repetition_suffix_len,
            output_tokens: self.output_len.unwrap_or(self.prefix_repetition_output_len),
        }
    }

    fn toolbench(&self) -> anyhow::Result<ToolbenchSpec> {
        toolbench_spec(
            self.num_prompts,
            self.toolbench_tools,
            self.toolbench_zipf,
            self.toolbench_duplicates,
            self.toolbench_no_reuse,
            self.output_len,
            "toolbench-",
        )
    }

    fn trace(&self) -> anyhow::Result<TraceSpec> {
        ensure!(
            self.trace_speed > 0.0 && self.trace_speed.is_finite(),
            "--trace-speed: give a positive number; 2 is twice as fast as recorded"
        );
        Ok(TraceSpec {
            prompts: Some(self.num_prompts as usize),
            speed: self.trace_speed,
            block_tokens: self.trace_block_tokens,
            maximum_input_tokens: self.trace_max_input_len,
            output_tokens: self.output_len,
        })
    }
}

/// Output cap of generated ToolBench prompts, as in PlanetServe's evaluation.
const TOOLBENCH_OUTPUT_TOKENS: u32 = 128;

/// Checks and collects what describes generated ToolBench prompts; flags are named with `prefix`.
pub(super) fn toolbench_spec(
    prompts: u32,
    tools: u32,
    zipf: f64,
    duplicates: f64,
    no_reuse: bool,
    output_tokens: Option<u32>,
    prefix: &str,
) -> anyhow::Result<ToolbenchSpec> {
    ensure!(zipf >= 0.0 && zipf.is_finite(), "--{prefix}zipf: give a number from 0");
    ensure!((0.0..=1.0).contains(&duplicates), "--{prefix}duplicates: give a share from 0 to 1");
    ensure!(
        !no_reuse || duplicates == 0.0,
        "--{prefix}no-reuse: prompts that share nothing have no duplicates; remove --{prefix}duplicates"
    );
    Ok(ToolbenchSpec {
        prompts: prompts as usize,
        tools: tools as usize,
        zipf_exponent: zipf,
        reuse: if no_reuse { Reuse::None } else { Reuse::Tools },
        exact_duplicates: duplicates,
        output_tokens: output_tokens.unwrap_or(TOOLBENCH_OUTPUT_TOKENS),
    })
}
