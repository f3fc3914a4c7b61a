//! Stands in for `hf`, the downloader of Hugging Face's hub, in the tests' image.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    teebench_e2e::hf::main(&teebench_e2e::hf::Cli::parse())
}
