//! Our client beside others against one paced server: `cargo bench -p teebench-loadgen --bench versus`.
//!
//! Server and clients each have a core of their own (`taskset`), clients take turns within every repetition, so that what
//! else the machine does strikes all of them, and the table gives medians over the repetitions with their ratios. Clients
//! from PyPI are measured when a variable names their command: `VERSUS_VLLM`, `VERSUS_AIPERF`, `VERSUS_GUIDELLM`; the
//! README beside this crate says how they are installed. `VERSUS_REPETITIONS` (3) and `VERSUS_SCALE` (1.0, of the number
//! of requests) shorten a look, and `VERSUS_ONLY`, a part of titles, leaves the other comparisons out.

#![allow(missing_docs, reason = "a program")]

mod clients;
mod ours;
mod scenario;
mod server;

use std::env;
use std::io::{self, Write};
use std::time::Duration;

use anyhow::{Context, bail};

use self::clients::Client;
use self::scenario::Scenario;
use self::server::Pace;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("serve") => serve(&arguments[1..]),
        Some("ours") => ours::run(arguments[1..].to_vec()),
        // `cargo test --benches` only asks whether it starts.
        Some("--test") => Ok(()),
        _ => compare(),
    }
}

/// `serve TTFT_MS ITL_MS CHUNKS`: says its base URL on standard output.
fn serve(arguments: &[String]) -> anyhow::Result<()> {
    let [ttft_ms, itl_ms, chunks] = arguments else { bail!("serve: give TTFT_MS ITL_MS CHUNKS") };
    let pace = Pace {
        ttft: Duration::from_millis(ttft_ms.parse()?),
        itl: Duration::from_millis(itl_ms.parse()?),
        chunks: chunks.parse()?,
    };
    server::serve(pace, |base_url| {
        println!("{base_url}");
        // The parent reads it before it starts a client.
        let _ = io::stdout().flush();
    })
    .context("the server ended")
}

fn compare() -> anyhow::Result<()> {
    let repetitions: usize = variable("VERSUS_REPETITIONS", 3)?;
    let scale: f64 = variable("VERSUS_SCALE", 1.0)?;
    let directory = env::temp_dir().join(format!("versus-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let clients = Client::available(&directory)?;
    let only = env::var("VERSUS_ONLY").unwrap_or_default();
    for scenario in Scenario::all(scale).into_iter().filter(|scenario| scenario.title().contains(&only)) {
        scenario.run(&clients, repetitions, &directory)?;
    }
    std::fs::remove_dir_all(&directory)?;
    Ok(())
}

fn variable<T: std::str::FromStr>(name: &str, default: T) -> anyhow::Result<T> {
    match env::var(name) {
        Ok(text) => text.parse().ok().with_context(|| format!("{name}={text}: no number")),
        Err(_) => Ok(default),
    }
}
