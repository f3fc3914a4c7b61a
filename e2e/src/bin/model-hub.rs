//! A model hub with one gated repository.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    teebench_e2e::hub::main(teebench_e2e::hub::Args::parse())
}
