//! One campaign's directory: the files beside the runs, which runs there are, and all of them checked at once.

use std::collections::BTreeSet;
use std::io;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use teebench_api::plan::Plan;

use super::PLAN;
use super::Trust;
use super::found::{CampaignFound, Fault, RunFound};
use super::run::{self, Context};
use super::statement::{STATEMENT_FILE, statement};
use super::sums::{self, Hashed, SUMS_FILE, Sums};

/// Files without which the sums of a campaign say nothing of its runs.
const ALWAYS_SEALED: [&str; 3] = ["campaign.yaml", "decisions.jsonl", PLAN];

/// Directories between `runs/` and an attempt, itself included.
const ATTEMPT_DEPTH: usize = 5;

/// Said with every verification: no file can show it.
const BEYOND_FILES: [&str; 3] = [
    "sums show that nothing changed since they were written, not who wrote them: sign statement.intoto.json for that",
    "the guest's own numbers rest on the guest's honesty",
    "between the evidence before and after a run, only the same boot and unchanged answers are shown",
];

/// Verifies the campaign in `directory`.
pub(super) fn verify(directory: &Path, trust: &Trust) -> CampaignFound {
    let mut found = CampaignFound {
        directory: directory.display().to_string(),
        campaign: None,
        sealed: false,
        files: 0,
        bytes: 0,
        faults: Vec::new(),
        notes: BEYOND_FILES.map(str::to_owned).to_vec(),
        runs: Vec::new(),
    };
    let Some((plan, plan_sha256)) = read_plan(directory, &mut found.faults) else { return found };
    found.campaign = Some(plan.campaign.clone());

    let mut hashed = Hashed::default();
    let seal = read_seal(directory, &plan.campaign, &mut found);
    let mut attempts = BTreeSet::new();
    if let Err(error) = find_attempts(&directory.join("runs"), ATTEMPT_DEPTH, "", &mut attempts) {
        found.faults.push(Fault::new("runs", format!("cannot be listed: {error}")));
    }
    if let Some(sums) = &seal {
        sums::check(directory, sums, &mut hashed, &mut found.faults);
        against_the_seal(directory, sums, &attempts, &mut found);
    }
    let context = Context { plan: &plan, plan_sha256: &plan_sha256, trust };
    for (run, of_run) in run_all(&context, &directory.join("runs"), &attempts.into_iter().collect::<Vec<_>>()) {
        hashed.files += of_run.files;
        hashed.bytes += of_run.bytes;
        found.runs.push(run);
    }
    (found.files, found.bytes) = (hashed.files, hashed.bytes);
    found
}

fn read_plan(directory: &Path, faults: &mut Vec<Fault>) -> Option<(Plan, String)> {
    let told = match sums::read(&directory.join(PLAN)) {
        Ok(bytes) => match Plan::from_json(&bytes) {
            Ok(plan) => return Some((plan, sums::sha256_hex(&bytes))),
            Err(error) => format!("no run can be judged without it: {error}"),
        },
        Err(error) => format!("cannot be read: {error}"),
    };
    faults.push(Fault::new(PLAN, told));
    None
}

/// The campaign's own sums, with the Statement over them; none when the campaign is not finished.
fn read_seal(directory: &Path, campaign: &str, found: &mut CampaignFound) -> Option<Sums> {
    let text = match sums::read(&directory.join(SUMS_FILE)) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let note = "never claimed: the campaign has no SHA256SUMS, so it is not finished, or runs may be missing";
            found.notes.push(note.to_owned());
            return None;
        }
        Err(error) => {
            found.faults.push(Fault::new(SUMS_FILE, format!("cannot be read: {error}")));
            return None;
        }
    };
    found.sealed = true;
    let sums = match sums::parse(&text) {
        Ok(sums) => sums,
        Err(reason) => {
            found.faults.push(Fault::new(SUMS_FILE, reason));
            return None;
        }
    };
    match (sums::read(&directory.join(STATEMENT_FILE)), statement(campaign, &text)) {
        (Ok(there), Ok(made)) if there == made => {}
        (Ok(_), _) => {
            let told = "SHA256SUMS and the Statement over it do not fit: one of the two changed";
            found.faults.extend([SUMS_FILE, STATEMENT_FILE].map(|file| Fault::new(file, told)));
        }
        (Err(error), _) if error.kind() == io::ErrorKind::NotFound => {
            found.notes.push(format!("never claimed: no {STATEMENT_FILE} lies beside SHA256SUMS"));
        }
        (Err(error), _) => found.faults.push(Fault::new(STATEMENT_FILE, format!("cannot be read: {error}"))),
    }
    Some(sums)
}

fn against_the_seal(directory: &Path, sums: &Sums, attempts: &BTreeSet<String>, found: &mut CampaignFound) {
    for name in ALWAYS_SEALED {
        if !sums.contains_key(name) {
            found.faults.push(Fault::new(name, "not named in the campaign's SHA256SUMS"));
        }
    }
    for attempt in attempts {
        let path = format!("runs/{attempt}/{SUMS_FILE}");
        let committed = directory.join(&path).exists();
        if committed && !sums.contains_key(&path) {
            found.faults.push(Fault::new(&path, "not named in the campaign's SHA256SUMS: the run was added later"));
        }
        if !committed && !sums.contains_key(&path) {
            found.notes.push(format!("never claimed: runs/{attempt} was not committed: it has no SHA256SUMS"));
        }
    }
}

fn find_attempts(directory: &Path, depth: usize, prefix: &str, found: &mut BTreeSet<String>) -> io::Result<()> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            continue;
        }
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if depth == 1 {
            found.insert(path);
        } else {
            find_attempts(&entry.path(), depth - 1, &format!("{path}/"), found)?;
        }
    }
    Ok(())
}

/// Verifies all committed attempts, a thread for each CPU; hashing is what takes the time.
fn run_all(context: &Context<'_>, runs: &Path, attempts: &[String]) -> Vec<(RunFound, Hashed)> {
    let committed: Vec<(&String, PathBuf)> = attempts
        .iter()
        .map(|attempt| (attempt, runs.join(attempt)))
        .filter(|(_, directory)| directory.join(SUMS_FILE).exists())
        .collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some((attempt, directory)) = committed.get(next.fetch_add(1, Ordering::Relaxed)) {
            done.push(run::verify(context, attempt, directory));
        }
        done
    };
    let workers = thread::available_parallelism().map_or(1, NonZero::get);
    let mut all: Vec<(RunFound, Hashed)> = thread::scope(|scope| {
        let workers: Vec<_> = (1..workers).map(|_| scope.spawn(work)).collect();
        let mut all = work();
        for worker in workers {
            // A panic is a fault of this program, and must end it as one.
            all.extend(worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        all
    });
    all.sort_by(|(one, _), (other, _)| one.run.cmp(&other.run));
    all
}
