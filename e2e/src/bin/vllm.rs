//! Stands in for `vllm` in the tests' image.

use std::process::ExitCode;

fn main() -> ExitCode {
    teebench_e2e::vllm::main(std::env::args().skip(1).collect())
}
