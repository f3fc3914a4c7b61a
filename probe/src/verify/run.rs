//! One attempt: its files as they were written, its identity, and whether its evidence supports what it claims.

use std::path::Path;

use teebench_api::campaign::{Arm, Tee};
use teebench_api::files::inputs::RunInputs;
use teebench_api::files::run::{RunFile, Verdict};
use teebench_api::plan::Plan;

use super::Trust;
use super::found::{Fault, Outcome, RunFound};
use super::manifests::Manifests;
use super::server::{self, Expected, Supported};
use super::sums::{self, Hashed, SUMS_FILE, Sums};

/// What all attempts of a campaign share.
pub(super) struct Context<'a> {
    pub(super) plan: &'a Plan,
    pub(super) plan_sha256: &'a str,
    pub(super) trust: &'a Trust,
}

/// Verifies the attempt in `directory`, which lies at `path` below `runs/`.
pub(super) fn verify(context: &Context<'_>, path: &str, directory: &Path) -> (RunFound, Hashed) {
    let mut found = RunFound {
        run: path.to_owned(),
        outcome: Outcome::DoesNotHold,
        tee: None,
        validity: None,
        claimed: None,
        supported: None,
        with_tokens: None,
        simulated: false,
        faults: Vec::new(),
        notes: Vec::new(),
    };
    let mut hashed = Hashed::default();
    if let Some(sums) = read_sums(directory, &mut found.faults) {
        sums::check(directory, &sums, &mut hashed, &mut found.faults);
        sums::check_nothing_else(directory, &sums, &mut found.faults);
        if let Some(run) = sums::read_json::<RunFile>(directory, "run.json", &mut found.faults) {
            (found.validity, found.claimed, found.simulated) =
                (Some(run.validity.validity), run.evidence_level, run.simulated);
            judge(context, directory, &sums, &run, &mut found);
        }
    }
    found.outcome = match (found.faults.is_empty(), found.claimed) {
        (false, _) => Outcome::DoesNotHold,
        (true, Some(_)) if found.tee != Some(Tee::Undeclared) => Outcome::Holds,
        (true, _) => Outcome::NotClaimed,
    };
    (found, hashed)
}

fn read_sums(directory: &Path, faults: &mut Vec<Fault>) -> Option<Sums> {
    let text = sums::read(&directory.join(SUMS_FILE)).map_err(|error| format!("cannot be read: {error}"));
    let sums = text.and_then(|bytes| sums::parse(&String::from_utf8_lossy(&bytes)));
    sums.map_err(|reason| faults.push(Fault::new(SUMS_FILE, reason))).ok()
}

fn judge(context: &Context<'_>, directory: &Path, sums: &Sums, run: &RunFile, found: &mut RunFound) {
    let arm = identity(context, run, found);
    let Some(arm) = arm else { return };
    found.tee = Some(arm.tee);
    let salt = salt(directory, sums, run, &mut found.faults);
    let expected = Expected {
        campaign: &context.plan.campaign,
        run: &found.run,
        plan_sha256: context.plan_sha256,
        salt: salt.as_deref(),
        bench_sha256: sums.get("bench.json").map(String::as_str),
        tee: arm.tee,
        minimum: arm.minimum_evidence.unwrap_or_default().into(),
        engine_simulated: context.plan.simulated(),
        manifests: &Manifests::read(directory, sums, arm, &mut found.faults),
        trust: context.trust,
    };
    match supported_level(directory, sums, run, &expected, &mut found.faults) {
        Ok(Supported { level, with_tokens }) => (found.supported, found.with_tokens) = (Some(level), with_tokens),
        Err(reasons) => found.notes = reasons,
    }
    against_the_claim(run, found);
}

/// Whether the attempt is the one that its path and the plan say; gives its arm.
fn identity<'a>(context: &Context<'a>, run: &RunFile, found: &mut RunFound) -> Option<&'a Arm> {
    let mut fault = |message: String| found.faults.push(Fault::new("run.json", message));
    let own = run.run.attempt_path(run.attempt);
    if own != found.run {
        fault(format!("says that it is {own}"));
    }
    if run.campaign != context.plan.campaign {
        fault(format!("says that its campaign is {:?}", run.campaign));
    }
    if run.plan_sha256 != context.plan_sha256 {
        fault("made from another plan than plan.json".to_owned());
    }
    if run.simulated != context.plan.simulated() {
        fault(format!("says simulated: {}, and the plan does not", run.simulated));
    }
    let arm = context.plan.arm(&run.run.arm);
    match arm {
        Some(arm) if arm.tee != run.tee => {
            fault(format!("says tee {}, and the plan says {}", run.tee.name(), arm.tee.name()));
        }
        Some(_) => {}
        None => fault(format!("the plan has no arm {:?}", run.run.arm)),
    }
    arm
}

/// The attempt's salt, from its frozen inputs.
fn salt(directory: &Path, sums: &Sums, run: &RunFile, faults: &mut Vec<Fault>) -> Option<String> {
    const INPUTS: &str = "inputs.json";
    if !sums.contains_key(INPUTS) {
        return None;
    }
    let inputs: RunInputs = sums::read_json(directory, INPUTS, faults)?;
    if (&inputs.run, inputs.attempt, &inputs.plan_sha256) != (&run.run, run.attempt, &run.plan_sha256) {
        faults.push(Fault::new(INPUTS, "the inputs of another attempt than run.json"));
    }
    Some(inputs.salt)
}

/// The weakest level among the servers, or why their evidence supports none.
fn supported_level(
    directory: &Path,
    sums: &Sums,
    run: &RunFile,
    expected: &Expected<'_>,
    faults: &mut Vec<Fault>,
) -> Result<Supported, Vec<String>> {
    let (mut levels, mut reasons) = (Vec::<Supported>::new(), Vec::new());
    for server in &run.servers {
        match server::verify(directory, sums, server, expected, faults) {
            Ok(level) => levels.push(level),
            Err(of_server) => {
                reasons.extend(of_server.into_iter().map(|reason| format!("server {}: {reason}", server.ordinal)));
            }
        }
    }
    match levels.into_iter().reduce(Supported::weaker) {
        Some(weakest) if reasons.is_empty() => Ok(weakest),
        None if reasons.is_empty() => Err(vec!["run.json names no server".to_owned()]),
        _ => Err(reasons),
    }
}

fn against_the_claim(run: &RunFile, found: &mut RunFound) {
    let told = match (run.evidence_level, found.supported) {
        (Some(claimed), Some(supported)) if claimed != supported => {
            Some(format!("claims evidence {claimed:?}, and its files support {supported:?}"))
        }
        (Some(claimed), None) => {
            Some(format!("claims evidence {claimed:?}, and its files support none: {}", found.notes.join("; ")))
        }
        (None, _) if run.validity.validity == Verdict::Valid => {
            Some("says Valid without any evidence for its arm".to_owned())
        }
        _ => None,
    };
    found.faults.extend(told.map(|message| Fault::new("run.json", message)));
}
