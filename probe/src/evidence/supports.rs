//! Whether the evidence before and after a run supports what the campaign claims of its arm. Pure.

use teebench_api::files::evidence::{Evidence, EvidenceLevel, NonceDocument, Phase, TeeState};

use super::nonce_sha256;

/// What a campaign claims of an arm's TEE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TeeClaim {
    /// It is on.
    Enabled,
    /// It is off.
    Disabled,
    /// Nothing is claimed, and no TEE figure is computed from the arm.
    Undeclared,
}

/// Evidence with the document that its nonce must be made of.
#[derive(Clone, Copy, Debug)]
pub struct Bound<'a> {
    /// What the probe answered.
    pub evidence: &'a Evidence,
    /// What it was asked with.
    pub nonce: &'a NonceDocument,
}

/// The level at which the two pieces of evidence support the claim.
///
/// `minimum` is what the campaign demands of an enabled arm; a GPU with its mode off signs nothing, so it does not bear
/// on the other claims. `engine_simulated` says that the engine is the simulator: only then may evidence be simulated.
///
/// # Errors
/// Every reason why they do not; the run is inconclusive then.
pub fn supports(
    claim: TeeClaim,
    minimum: EvidenceLevel,
    pre: Bound<'_>,
    post: Bound<'_>,
    engine_simulated: bool,
) -> Result<EvidenceLevel, Vec<String>> {
    let level = pre.evidence.level.min(post.evidence.level);
    let mut reasons = Vec::new();
    for (bound, phase) in [(pre, Phase::Pre), (post, Phase::Post)] {
        reasons.extend(against_one(bound, phase, claim, engine_simulated));
    }
    reasons.extend(against_the_pair(pre, post, claim));
    let demanded = match claim {
        TeeClaim::Enabled => minimum.max(EvidenceLevel::SelfReported),
        TeeClaim::Disabled => EvidenceLevel::SelfReported,
        TeeClaim::Undeclared => EvidenceLevel::Declared,
    };
    if level < demanded {
        reasons.push(format!("evidence is {level:?}, and {demanded:?} is demanded"));
    }
    if reasons.is_empty() { Ok(level) } else { Err(reasons) }
}

fn word(phase: Phase) -> &'static str {
    match phase {
        Phase::Pre => "pre",
        Phase::Post => "post",
    }
}

fn against_one(bound: Bound<'_>, phase: Phase, claim: TeeClaim, engine_simulated: bool) -> Vec<String> {
    let Bound { evidence, nonce } = bound;
    let when = word(phase);
    let mut reasons = Vec::new();
    if evidence.phase != phase || nonce.phase != phase {
        reasons.push(format!("{when} evidence is of another phase"));
    }
    match nonce_sha256(nonce) {
        Ok(expected) if expected == evidence.nonce_sha256 => {}
        Ok(_) => reasons.push(format!("{when} evidence carries another nonce than this run's")),
        Err(error) => reasons.push(format!("{when} evidence: {error}")),
    }
    if evidence.simulated && !engine_simulated {
        reasons.push(format!("{when} evidence is simulated, and the engine is real"));
    }
    if evidence.reports.iter().any(|report| report.test_root_sha256.is_some()) && !engine_simulated {
        reasons.push(format!("{when} evidence was verified under a root for tests, and the engine is real"));
    }
    if evidence.cpu.as_ref().is_some_and(|cpu| cpu.test_root_sha256.is_some()) && !engine_simulated {
        reasons.push(format!("{when} evidence of the cpu was verified under a root for tests, and the engine is real"));
    }
    let claimed = match claim {
        TeeClaim::Enabled => Some(TeeState::Enabled),
        TeeClaim::Disabled => Some(TeeState::Disabled),
        TeeClaim::Undeclared => None,
    };
    if let Some(claimed) = claimed
        && evidence.state != claimed
    {
        let why =
            if evidence.reasons.is_empty() { String::new() } else { format!(": {}", evidence.reasons.join("; ")) };
        reasons.push(format!("{when} evidence says {:?} where the campaign claims {claimed:?}{why}", evidence.state));
    }
    reasons
}

fn against_the_pair(pre: Bound<'_>, post: Bound<'_>, claim: TeeClaim) -> Vec<String> {
    let mut reasons = Vec::new();
    if !same_run(pre.nonce, post.nonce) {
        reasons.push("the nonces before and after are of different runs or servers".to_owned());
    }
    let (before, after) = (&pre.evidence.environment, &post.evidence.environment);
    match (&before.boot_id, &after.boot_id) {
        (Some(before), Some(after)) if before != after => {
            reasons.push("the machine's boot id changed during the run".to_owned());
        }
        (Some(_), Some(_)) => {}
        _ if claim == TeeClaim::Undeclared => {}
        _ => reasons.push("the machine's boot id was not read: it may have restarted during the run".to_owned()),
    }
    if before.confidential_compute != after.confidential_compute {
        reasons.push("the gpu's answers on confidential computing changed during the run".to_owned());
    }
    if before.gpus != after.gpus || before.driver_version != after.driver_version {
        reasons.push("the gpus or their driver changed during the run".to_owned());
    }
    if pre.evidence.simulated != post.evidence.simulated {
        reasons.push("only one of the two pieces of evidence is simulated".to_owned());
    }
    reasons
}

fn same_run(pre: &NonceDocument, post: &NonceDocument) -> bool {
    let as_pre = NonceDocument { phase: Phase::Pre, bench_sha256: None, samples_sha256: None, ..post.clone() };
    *pre == as_pre
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use teebench_api::files::evidence::{Environment, GpuIdentity, GpuReport, NodeHints};

    use super::*;

    struct Case {
        claim: TeeClaim,
        minimum: EvidenceLevel,
        engine_simulated: bool,
        evidence: [Evidence; 2],
        nonces: [NonceDocument; 2],
    }

    impl Case {
        fn new() -> Self {
            let pre = NonceDocument {
                v: NonceDocument::VERSION.to_owned(),
                phase: Phase::Pre,
                campaign: "c".to_owned(),
                run: "e/c/on/direct/r1a1".to_owned(),
                server: 3,
                plan_sha256: "a".repeat(64),
                salt: "b".repeat(64),
                bench_sha256: None,
                samples_sha256: None,
            };
            let post = NonceDocument {
                phase: Phase::Post,
                bench_sha256: Some("c".repeat(64)),
                samples_sha256: Some("d".repeat(64)),
                ..pre.clone()
            };
            let evidence = [&pre, &post].map(|nonce| Evidence {
                schema_version: 1,
                phase: nonce.phase,
                level: EvidenceLevel::SelfReported,
                state: TeeState::Enabled,
                simulated: false,
                reasons: Vec::new(),
                nonce_sha256: nonce_sha256(nonce).unwrap(),
                taken_unix_ns: 1,
                environment: Environment { boot_id: Some("boot-1".to_owned()), ..Environment::default() },
                node: NodeHints::default(),
                reports: Vec::new(),
                cpu: None,
                references_sha256: Vec::new(),
                tool_version: "0".to_owned(),
            });
            Self {
                claim: TeeClaim::Enabled,
                minimum: EvidenceLevel::SelfReported,
                engine_simulated: false,
                evidence,
                nonces: [pre, post],
            }
        }

        fn judge(&self) -> Result<EvidenceLevel, Vec<String>> {
            let bound = |index: usize| Bound { evidence: &self.evidence[index], nonce: &self.nonces[index] };
            supports(self.claim, self.minimum, bound(0), bound(1), self.engine_simulated)
        }

        fn both(&mut self, change: fn(&mut Evidence)) {
            self.evidence.iter_mut().for_each(change);
        }
    }

    type Change = fn(&mut Case);

    #[rstest]
    #[case::enabled(|_: &mut Case| {}, EvidenceLevel::SelfReported)]
    #[case::disabled(
        |case: &mut Case| {
            case.claim = TeeClaim::Disabled;
            case.both(|evidence| evidence.state = TeeState::Disabled);
        },
        EvidenceLevel::SelfReported
    )]
    #[case::a_disabled_arm_cannot_sign(
        |case: &mut Case| {
            (case.claim, case.minimum) = (TeeClaim::Disabled, EvidenceLevel::Endorsed);
            case.both(|evidence| evidence.state = TeeState::Disabled);
        },
        EvidenceLevel::SelfReported
    )]
    #[case::undeclared_claims_nothing(
        |case: &mut Case| {
            case.claim = TeeClaim::Undeclared;
            case.both(|evidence| {
                (evidence.state, evidence.level) = (TeeState::Contradictory, EvidenceLevel::Declared);
                evidence.environment.boot_id = None;
            });
        },
        EvidenceLevel::Declared
    )]
    #[case::the_weaker_of_the_two_counts(
        |case: &mut Case| case.evidence[0].level = EvidenceLevel::Endorsed, EvidenceLevel::SelfReported
    )]
    #[case::simulated_beside_the_simulator(
        |case: &mut Case| { case.engine_simulated = true; case.both(|evidence| evidence.simulated = true); },
        EvidenceLevel::SelfReported
    )]
    fn good_evidence_supports_its_claim(#[case] change: Change, #[case] level: EvidenceLevel) {
        let mut case = Case::new();
        change(&mut case);
        assert_eq!(case.judge(), Ok(level));
    }

    #[rstest]
    #[case::off_where_on_is_claimed(
        |case: &mut Case| case.evidence[1].state = TeeState::Disabled,
        "post evidence says Disabled"
    )]
    #[case::unknown_is_not_off(
        |case: &mut Case| {
            case.claim = TeeClaim::Disabled;
            case.both(|evidence| evidence.state = TeeState::Unknown);
        },
        "says Unknown where the campaign claims Disabled"
    )]
    #[case::dev_tools(
        |case: &mut Case| {
            case.evidence[0].state = TeeState::Contradictory;
            case.evidence[0].reasons.push("development tools are on".to_owned());
        },
        "development tools are on"
    )]
    #[case::too_weak(
        |case: &mut Case| case.minimum = EvidenceLevel::DeviceSigned,
        "SelfReported, and DeviceSigned is demanded"
    )]
    #[case::never_below_self_reported(
        |case: &mut Case| {
            case.minimum = EvidenceLevel::Declared;
            case.both(|evidence| evidence.level = EvidenceLevel::Scheduled);
        },
        "Scheduled, and SelfReported is demanded"
    )]
    #[case::restarted(
        |case: &mut Case| case.evidence[1].environment.boot_id = Some("boot-2".to_owned()),
        "boot id changed"
    )]
    #[case::no_boot_id(|case: &mut Case| case.evidence[0].environment.boot_id = None, "boot id was not read")]
    #[case::replayed(
        |case: &mut Case| case.evidence[1].nonce_sha256 = case.evidence[0].nonce_sha256.clone(),
        "another nonce"
    )]
    #[case::changed_result(|case: &mut Case| case.nonces[1].bench_sha256 = Some("e".repeat(64)), "another nonce")]
    #[case::broken_nonce(|case: &mut Case| case.nonces[0].salt.clear(), "salt")]
    #[case::other_server(|case: &mut Case| case.nonces[1].server = 4, "different runs or servers")]
    #[case::swapped(|case: &mut Case| case.evidence.reverse(), "another phase")]
    #[case::simulated_beside_a_real_engine(
        |case: &mut Case| case.both(|evidence| evidence.simulated = true),
        "engine is real"
    )]
    #[case::a_root_for_tests_beside_a_real_engine(
        |case: &mut Case| case.evidence[1].reports.push(GpuReport {
            uuid: "GPU-x".to_owned(),
            report_base64: String::new(),
            chain_base64: String::new(),
            test_root_sha256: Some("f".repeat(64)),
            fields: None,
        }),
        "under a root for tests"
    )]
    #[case::half_simulated(
        |case: &mut Case| { case.engine_simulated = true; case.evidence[0].simulated = true; }, "only one of the two"
    )]
    #[case::another_gpu(
        |case: &mut Case| case.evidence[1].environment.gpus.push(GpuIdentity {
            uuid: "GPU-x".to_owned(),
            name: "NVIDIA H200".to_owned(),
            ..GpuIdentity::default()
        }),
        "gpus or their driver changed"
    )]
    fn evidence_that_does_not_hold_is_told_why(#[case] change: Change, #[case] reason: &str) {
        let mut case = Case::new();
        change(&mut case);
        let reasons = case.judge().unwrap_err();
        assert!(reasons.iter().any(|told| told.contains(reason)), "{reasons:?}");
    }
}
