//! How long a report of many detailed result files takes, and how much memory: `cargo bench -p teebench-analysis`.
//!
//! Result files are written by the load generator's own writer: a thousand requests of 200 tokens each, 4.1 MB a file.
//! They lie in `TMPDIR` (4.2 GB) and go when all is measured. Each report is a process of its own, so that the memory is
//! its alone; `REPORT_RUNS=100` makes fewer runs. Exit code 1 when a bar is missed.

#![allow(missing_docs, reason = "a benchmark has no public items")]
#![allow(clippy::unwrap_used, reason = "a benchmark may panic as tests do")]

#[path = "../../tests/support/mod.rs"]
mod support;
mod written;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use nix::sys::resource::{UsageWho, getrusage};
use teebench_analysis::{
    Args, Format,
    stats::bootstrap::{Bootstrap, RESAMPLES},
};

/// Runs of a condition: both arms, ten repetitions.
const RUNS_OF_A_CONDITION: u32 = 20;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().collect();
    if let [_, mode, tree, page] = arguments.as_slice()
        && mode == "--measured"
    {
        return measured(Path::new(tree), Path::new(page));
    }
    let most: u32 = env::var("REPORT_RUNS").map_or(1000, |runs| runs.parse().unwrap());
    println!("{}", machine());
    println!("{:>6} {:>9} {:>9} {:>11} {:>9}  bars", "runs", "MB read", "seconds", "peak in MiB", "page MB");
    let mut kept = true;
    for (runs, bars) in [(100, Bars::new(3.0)), (500, Bars::new(20.0)), (1000, Bars::new(20.0))] {
        if runs <= most {
            kept &= one(runs, &bars);
        }
    }
    kept &= bootstrap();
    if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What a report must keep to.
struct Bars {
    seconds: f64,
    peak_mib: u64,
    page_mb: f64,
}

impl Bars {
    const fn new(seconds: f64) -> Self {
        Self { seconds, peak_mib: 1024, page_mb: 5.0 }
    }
}

fn one(runs: u32, bars: &Bars) -> bool {
    let directory = tempfile::tempdir().unwrap();
    let tree = directory.path().join("results");
    let bytes = written::campaign(&tree, runs / RUNS_OF_A_CONDITION);
    let page = directory.path().join("report.html");
    let begun = Instant::now();
    let told = Command::new(env::current_exe().unwrap()).arg("--measured").args([&tree, &page]).output().unwrap();
    let seconds = begun.elapsed().as_secs_f64();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let peak_mib = String::from_utf8(told.stdout).unwrap().trim().parse::<u64>().unwrap() / 1024;
    let page_mb = fs::metadata(&page).unwrap().len() as f64 / 1e6;
    let Bars { seconds: most_seconds, peak_mib: most_mib, page_mb: most_mb } = *bars;
    // The page's bar is of 500 runs.
    let kept = seconds < most_seconds && peak_mib < most_mib && (page_mb < most_mb || runs > 500);
    println!(
        "{runs:>6} {:>9} {seconds:>9.2} {peak_mib:>11} {page_mb:>9.2}  under {most_seconds} s, {most_mib} MiB, {most_mb} MB: {}",
        bytes / 1_000_000,
        if kept { "kept" } else { "MISSED" }
    );
    kept
}

/// Makes the page as `teebench report TREE --out PAGE` does and prints the most memory that it took, in KiB.
fn measured(tree: &Path, page: &Path) -> ExitCode {
    let args = Args {
        paths: vec![tree.to_owned()],
        out: Some(PathBuf::from(page)),
        output: Some(Format::Html),
        plots: None,
        mode: None,
        margin: 2.0,
        price_per_kwh: None,
        skip_bad: false,
    };
    let code = teebench_analysis::run(args).unwrap();
    println!("{}", getrusage(UsageWho::RUSAGE_SELF).unwrap().max_rss());
    code
}

/// 200 effects of twelve pairs each, resampled as a report does.
fn bootstrap() -> bool {
    const EFFECTS: u32 = 200;
    const MOST: Duration = Duration::from_secs(1);
    let values: Vec<f64> = (0..12).map(|pair| -0.07 + 0.001 * f64::from(pair)).collect();
    let begun = Instant::now();
    let bootstrap = Bootstrap::new(RESAMPLES, 1);
    let held =
        (0..EFFECTS).filter(|_| bootstrap.of_mean(std::hint::black_box(&values)).is_some_and(|found| found.high < 0.0));
    assert_eq!(held.count(), EFFECTS as usize);
    let took = begun.elapsed();
    println!(
        "bootstrap of {EFFECTS} effects by {RESAMPLES} resamples: {:.3} s, under 1 s: {}",
        took.as_secs_f64(),
        if took < MOST { "kept" } else { "MISSED" }
    );
    took < MOST
}

fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{cores} cores of {}, Linux {}", model.unwrap_or("an unknown CPU"), kernel.trim())
}
