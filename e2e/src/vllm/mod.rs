//! Stands in for vLLM: its command line, its look at the model and at the GPUs, and then the simulator in place of the
//! engine.
//!
//! What vLLM refuses it refuses with vLLM's exit codes: 2 for a command line, 1 for anything found later.

mod flags;
mod model;

use std::{ffi::OsString, path::Path, process::ExitCode};

use clap::Parser;

use self::flags::{Given, Known};

/// Version that is told to whoever asks: vLLM's whose flags are obeyed, and a word that no vLLM has.
const VERSION: &str = "0.25.1+stand-in";
/// Exit code of a command line that will not do.
const BAD_COMMAND_LINE: u8 = 2;
/// Exit code of everything else.
const FAILED: u8 = 1;

/// The simulator's command line.
#[derive(Parser, Debug)]
struct Simulator {
    #[command(flatten)]
    args: teebench_mock_vllm::Args,
}

/// Runs `vllm ARGUMENTS`.
#[must_use]
pub fn main(arguments: Vec<String>) -> ExitCode {
    let mut arguments = arguments.into_iter();
    match arguments.next().as_deref() {
        Some("serve") => {}
        other => return refuse(&format!("argument subparser: invalid choice: '{}'", other.unwrap_or_default())),
    }
    let given = match Known::recorded().parse(arguments) {
        Ok(given) => given,
        Err(message) => return refuse(&message),
    };
    let simulator = match simulator(&given) {
        Ok(simulator) => simulator,
        Err(message) => return refuse(&message),
    };
    match model_and_gpus(&given) {
        Ok(()) => {}
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(FAILED);
        }
    }
    teebench_mock_vllm::run(simulator.args).unwrap_or_else(|error| {
        eprintln!("{error:#}");
        ExitCode::from(FAILED)
    })
}

/// As argparse does it.
fn refuse(message: &str) -> ExitCode {
    eprintln!("usage: vllm serve [model_tag] [options]");
    eprintln!("vllm serve: error: {message}");
    ExitCode::from(BAD_COMMAND_LINE)
}

/// The simulator with those of vLLM's settings that shape what it simulates.
fn simulator(given: &Given) -> Result<Simulator, String> {
    const NUMBERS: [(&str, &str); 5] = [
        ("--port", "--port"),
        ("--max-num-seqs", "--max-num-seqs"),
        ("--max-num-batched-tokens", "--max-num-batched-tokens"),
        ("--max-model-len", "--max-model-len"),
        ("--num-gpu-blocks-override", "--num-gpu-blocks"),
    ];
    let mut words: Vec<OsString> = vec!["simulator".into(), "--version-string".into(), VERSION.into()];
    for (vllms, simulators) in NUMBERS {
        let Some(value) = given.value(vllms) else { continue };
        value.parse::<u32>().map_err(|_| format!("argument {vllms}: invalid int value: '{value}'"))?;
        words.extend([simulators.into(), value.into()]);
    }
    let share = given.value("--gpu-memory-utilization").unwrap_or("0.92");
    share.parse::<f64>().map_err(|_| format!("argument --gpu-memory-utilization: invalid float value: '{share}'"))?;
    // vLLM listens on all addresses where it is told none.
    words.extend(["--host".into(), given.value("--host").unwrap_or("0.0.0.0").into()]);
    words.extend(["--model".into(), given.value("--served-model-name").unwrap_or(&given.model).into()]);
    if given.switch("--enable-prefix-caching") == Some(false) {
        words.push("--no-enable-prefix-caching".into());
    }
    Simulator::try_parse_from(words).map_err(|error| error.to_string())
}

/// What vLLM looks at before it serves: the model's files, and that there is a GPU for it.
fn model_and_gpus(given: &Given) -> Result<(), String> {
    let is_offline = std::env::var("HF_HUB_OFFLINE").is_ok_and(|value| value == "1");
    let needs_weights = given.value("--load-format") != Some("dummy");
    model::check(Path::new(&given.model), is_offline, needs_weights, given.value("--max-model-len"))?;
    match std::env::var("NVIDIA_VISIBLE_DEVICES").as_deref() {
        // What the container runtime sets where a container was given none.
        Err(_) | Ok("" | "void" | "none") => {
            Err("RuntimeError: No CUDA GPUs are available: NVIDIA_VISIBLE_DEVICES names none".to_owned())
        }
        Ok(_) => Ok(()),
    }
}
