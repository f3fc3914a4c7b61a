//! From answers to a level and a state. Pure; every combination is in a truth table among the tests.
//!
//! A TEE is on when the GPU's driver and the CPU's identification leaf both say so, in every question that bears on
//! it. A question without an answer leaves the state unknown; it never reads as "off". Answers that contradict each
//! other, or a mode that proves nothing (development tools, no production environment), are a contradiction.

use teebench_api::files::evidence::{EvidenceLevel, NodeHints, TeeState};

use crate::gpu::{Answer, ConfidentialAnswers, ConfidentialEnvironment, ConfidentialMode, Unanswered};

/// Isolation type of leaf 0x4000000C: none.
const ISOLATION_NONE: u32 = 0;
/// Isolation type of leaf 0x4000000C: AMD SEV-SNP.
const ISOLATION_SNP: u32 = 2;
/// Isolation type of leaf 0x4000000C: Intel TDX.
const ISOLATION_TDX: u32 = 3;

/// Why answers alone do not reach further.
pub(super) const NOT_SIGNED: &str = "no report signed by the gpu was verified: the level is not above SelfReported";

/// Everything that was asked of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Questions {
    /// What the GPU's driver says.
    pub gpu: ConfidentialAnswers,
    /// The CPU's isolation type inside the guest.
    pub cpuid_isolation_type: Answer<u32>,
    /// What the scheduler knew of the node.
    pub node: NodeHints,
}

/// Level and state, with the reasons for not more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Classification {
    /// Level that the answers reach.
    pub level: EvidenceLevel,
    /// What they say.
    pub state: TeeState,
    /// Why the level is not higher and the state not clearer.
    pub reasons: Vec<String>,
}

/// Classifies the answers.
pub fn classify(questions: &Questions) -> Classification {
    let Questions { gpu, cpuid_isolation_type, node } = questions;
    let mut findings = Findings::default();
    let state = match side_of_the_gpu(gpu, &mut findings) {
        GpuSide::On => with_gpu_on(gpu, cpuid_isolation_type, &mut findings),
        GpuSide::Off => with_gpu_off(cpuid_isolation_type, &mut findings),
        GpuSide::CannotSay => TeeState::Unknown,
    };
    let Findings { contradictions, unknowns } = findings;
    let state = match () {
        () if !contradictions.is_empty() => TeeState::Contradictory,
        () if !unknowns.is_empty() => TeeState::Unknown,
        () => state,
    };
    let mut reasons = contradictions;
    reasons.extend(unknowns);
    let level = match state {
        TeeState::Enabled | TeeState::Disabled => {
            reasons.push(NOT_SIGNED.to_owned());
            EvidenceLevel::SelfReported
        }
        TeeState::Unknown | TeeState::Contradictory => level_by_labels(node),
    };
    Classification { level, state, reasons }
}

pub(super) fn level_by_labels(node: &NodeHints) -> EvidenceLevel {
    let NodeHints { instance_type, security_type } = node;
    match instance_type.is_some() || security_type.is_some() {
        true => EvidenceLevel::Scheduled,
        false => EvidenceLevel::Declared,
    }
}

#[derive(Default)]
struct Findings {
    contradictions: Vec<String>,
    unknowns: Vec<String>,
}

impl Findings {
    fn contradiction(&mut self, reason: impl Into<String>) {
        self.contradictions.push(reason.into());
    }

    /// Requires an answer to be as expected: another one is a contradiction, none leaves the state unknown.
    fn require<T: Copy>(&mut self, question: &str, answer: &Answer<T>, expected: impl Fn(T) -> bool, otherwise: &str) {
        match answer {
            Ok(value) if expected(*value) => {}
            Ok(_) => self.contradiction(otherwise),
            Err(reason) => self.unanswered(question, reason),
        }
    }

    fn unanswered(&mut self, question: &str, reason: &Unanswered) {
        self.unknowns.push(format!("{question}: cannot say: {reason}"));
    }
}

enum GpuSide {
    On,
    Off,
    CannotSay,
}

fn side_of_the_gpu(gpu: &ConfidentialAnswers, findings: &mut Findings) -> GpuSide {
    match (&gpu.mode, &gpu.gpus_capable) {
        (Ok(ConfidentialMode::On | ConfidentialMode::ProtectedPcie), Ok(false)) => {
            findings.contradiction("the gpu's feature is on, yet the gpu is said not to have it");
            GpuSide::CannotSay
        }
        (Ok(ConfidentialMode::On | ConfidentialMode::ProtectedPcie), _) => GpuSide::On,
        (Ok(ConfidentialMode::Off), _) => {
            if gpu.dev_tools == Ok(true) {
                findings.contradiction("development tools are on, yet the gpu's feature is off");
            }
            if gpu.protected_memory_mib.as_ref().is_ok_and(|mib| *mib > 0) {
                findings.contradiction("the gpu has protected memory, yet its feature is off");
            }
            GpuSide::Off
        }
        (Err(_), Ok(false)) => GpuSide::Off,
        (Err(reason), _) => {
            findings.unanswered("gpu feature", reason);
            GpuSide::CannotSay
        }
    }
}

fn with_gpu_on(gpu: &ConfidentialAnswers, isolation: &Answer<u32>, findings: &mut Findings) -> TeeState {
    findings.require(
        "gpu environment",
        &gpu.environment,
        |environment| environment == ConfidentialEnvironment::Production,
        "the gpu's environment is not production",
    );
    findings.require("gpu development tools", &gpu.dev_tools, |on| !on, "development tools are on");
    findings.require("gpus ready", &gpu.gpus_ready, |ready| ready, "the gpus are not ready to accept work");
    findings.require(
        "cpu isolation (leaf 0x4000000C)",
        isolation,
        |kind| matches!(kind, ISOLATION_SNP | ISOLATION_TDX),
        "the gpu's feature is on, yet the cpu says that the guest is not isolated by SEV-SNP or TDX",
    );
    // The driver's word on the CPU is not needed, since the CPU itself was asked; but it must not say otherwise.
    if let (Ok(capability), Ok(isolation)) = (&gpu.cpu_capability, isolation)
        && !capability_fits(*capability, *isolation)
    {
        findings.contradiction(format!(
            "the driver reports cpu capability {capability}, which does not fit the cpu's isolation type {isolation}"
        ));
    }
    TeeState::Enabled
}

/// Drivers before 550 report SEV-SNP as SEV (1); later ones as 3, or 4 with vTOM; TDX is 2.
fn capability_fits(capability: u32, isolation: u32) -> bool {
    match isolation {
        ISOLATION_SNP => matches!(capability, 1 | 3 | 4),
        ISOLATION_TDX => capability == 2,
        // Not a hardware TEE: that is a finding of its own.
        _ => true,
    }
}

fn with_gpu_off(isolation: &Answer<u32>, findings: &mut Findings) -> TeeState {
    match isolation {
        // The leaf is there on Hyper-V guests alone, so a machine without it may still be an off arm.
        Ok(ISOLATION_NONE) | Err(_) => {}
        Ok(kind) => findings.contradiction(format!(
            "the gpu's feature is off, yet the cpu says that the guest is isolated (type {kind})"
        )),
    }
    TeeState::Disabled
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn failed<T>() -> Answer<T> {
        Err(Unanswered::Failed("timed out".to_owned()))
    }

    fn on() -> Questions {
        Questions {
            gpu: ConfidentialAnswers {
                cpu_capability: Ok(4),
                gpus_capable: Ok(true),
                mode: Ok(ConfidentialMode::On),
                environment: Ok(ConfidentialEnvironment::Production),
                dev_tools: Ok(false),
                gpus_ready: Ok(true),
                protected_memory_mib: Ok(95_000),
            },
            cpuid_isolation_type: Ok(2),
            node: NodeHints::default(),
        }
    }

    /// The answers of an H200 with the mode off (driver 580.159.04) in a guest that is not Hyper-V's.
    fn off() -> Questions {
        Questions {
            gpu: ConfidentialAnswers {
                cpu_capability: Ok(0),
                gpus_capable: Ok(true),
                mode: Ok(ConfidentialMode::Off),
                environment: Ok(ConfidentialEnvironment::Unavailable),
                dev_tools: Ok(false),
                gpus_ready: Ok(false),
                protected_memory_mib: Ok(0),
            },
            cpuid_isolation_type: Err(Unanswered::NotSupported),
            node: NodeHints::default(),
        }
    }

    type Change = fn(&mut Questions);

    #[rstest]
    #[case::all_well(|_: &mut Questions| {}, TeeState::Enabled, "")]
    #[case::tdx(
        |q: &mut Questions| (q.gpu.cpu_capability, q.cpuid_isolation_type) = (Ok(2), Ok(3)),
        TeeState::Enabled,
        ""
    )]
    #[case::older_driver(|q: &mut Questions| q.gpu.cpu_capability = Ok(1), TeeState::Enabled, "")]
    #[case::driver_silent_on_the_cpu(|q: &mut Questions| q.gpu.cpu_capability = failed(), TeeState::Enabled, "")]
    #[case::protected_pcie(|q: &mut Questions| q.gpu.mode = Ok(ConfidentialMode::ProtectedPcie), TeeState::Enabled, "")]
    #[case::dev_tools(
        |q: &mut Questions| q.gpu.dev_tools = Ok(true),
        TeeState::Contradictory,
        "development tools are on"
    )]
    #[case::simulation(
        |q: &mut Questions| q.gpu.environment = Ok(ConfidentialEnvironment::Simulation),
        TeeState::Contradictory,
        "not production"
    )]
    #[case::not_ready(|q: &mut Questions| q.gpu.gpus_ready = Ok(false), TeeState::Contradictory, "not ready")]
    #[case::not_capable(|q: &mut Questions| q.gpu.gpus_capable = Ok(false), TeeState::Contradictory, "not to have it")]
    #[case::cpu_open(|q: &mut Questions| q.cpuid_isolation_type = Ok(0), TeeState::Contradictory, "not isolated")]
    #[case::cpu_vbs(|q: &mut Questions| q.cpuid_isolation_type = Ok(1), TeeState::Contradictory, "not isolated")]
    #[case::cpu_of_another_kind(
        |q: &mut Questions| q.cpuid_isolation_type = Ok(3),
        TeeState::Contradictory,
        "does not fit"
    )]
    #[case::no_leaf(
        |q: &mut Questions| q.cpuid_isolation_type = Err(Unanswered::NotSupported),
        TeeState::Unknown,
        "0x4000000C"
    )]
    #[case::dev_tools_unanswered(
        |q: &mut Questions| q.gpu.dev_tools = failed(),
        TeeState::Unknown,
        "development tools: cannot say"
    )]
    #[case::feature_unanswered(
        |q: &mut Questions| q.gpu.mode = failed(),
        TeeState::Unknown,
        "gpu feature: cannot say: timed out"
    )]
    #[case::feature_not_supported(
        |q: &mut Questions| {
            q.gpu.mode = Err(Unanswered::NotSupported);
            q.gpu.gpus_capable = Err(Unanswered::NotSupported);
        },
        TeeState::Unknown,
        "cannot say: not supported"
    )]
    fn with_the_mode_on_each_answer_counts(#[case] change: Change, #[case] state: TeeState, #[case] reason: &str) {
        let mut questions = on();
        change(&mut questions);
        let found = classify(&questions);
        assert_eq!(found.state, state, "{:?}", found.reasons);
        assert!(found.reasons.iter().any(|told| told.contains(reason)), "{:?}", found.reasons);
    }

    #[rstest]
    #[case::all_well(|_: &mut Questions| {}, TeeState::Disabled)]
    #[case::hyper_v_without_isolation(|q: &mut Questions| q.cpuid_isolation_type = Ok(0), TeeState::Disabled)]
    #[case::a_gpu_without_the_feature(
        |q: &mut Questions| (q.gpu.mode, q.gpu.gpus_capable) = (Err(Unanswered::NotSupported), Ok(false)),
        TeeState::Disabled
    )]
    #[case::a_gpu_that_cannot_say(
        |q: &mut Questions| (q.gpu.mode, q.gpu.gpus_capable) = (Err(Unanswered::NotSupported), failed()),
        TeeState::Unknown
    )]
    #[case::cpu_isolated(|q: &mut Questions| q.cpuid_isolation_type = Ok(2), TeeState::Contradictory)]
    #[case::cpu_isolated_by_the_hypervisor(|q: &mut Questions| q.cpuid_isolation_type = Ok(1), TeeState::Contradictory)]
    #[case::dev_tools(|q: &mut Questions| q.gpu.dev_tools = Ok(true), TeeState::Contradictory)]
    #[case::protected_memory(|q: &mut Questions| q.gpu.protected_memory_mib = Ok(1), TeeState::Contradictory)]
    fn with_the_mode_off_each_answer_counts(#[case] change: Change, #[case] state: TeeState) {
        let mut questions = off();
        change(&mut questions);
        assert_eq!(classify(&questions).state, state);
    }

    #[test]
    fn a_label_raises_what_is_unknown_to_scheduled_and_no_further() {
        let mut questions = on();
        questions.gpu = ConfidentialAnswers::failed(&Unanswered::Failed("gpu absent".to_owned()));
        assert_eq!(classify(&questions).level, EvidenceLevel::Declared);
        questions.node.security_type = Some("ConfidentialVM".to_owned());
        let found = classify(&questions);
        assert_eq!((found.level, found.state), (EvidenceLevel::Scheduled, TeeState::Unknown));
    }

    fn answers<T: Clone>(values: &[T]) -> Vec<Answer<T>> {
        values.iter().cloned().map(Ok).chain([Err(Unanswered::NotSupported), failed()]).collect()
    }

    /// Calls `check` with every combination of answers.
    fn every_combination(mut check: impl FnMut(&Questions)) {
        use ConfidentialEnvironment::{Production, Simulation, Unavailable};
        use ConfidentialMode::{Off, On, ProtectedPcie};
        let mut questions = on();
        for mode in answers(&[Off, On, ProtectedPcie]) {
            questions.gpu.mode = mode;
            for gpus_capable in answers(&[false, true]) {
                questions.gpu.gpus_capable = gpus_capable;
                for environment in answers(&[Unavailable, Simulation, Production]) {
                    questions.gpu.environment = environment;
                    for dev_tools in answers(&[false, true]) {
                        questions.gpu.dev_tools = dev_tools;
                        for gpus_ready in answers(&[false, true]) {
                            questions.gpu.gpus_ready = gpus_ready;
                            for protected_memory_mib in answers(&[0, 95_000]) {
                                questions.gpu.protected_memory_mib = protected_memory_mib;
                                for cpu_capability in answers(&[0, 1, 2, 3, 4]) {
                                    questions.gpu.cpu_capability = cpu_capability;
                                    for isolation in answers(&[0, 1, 2, 3, 7]) {
                                        questions.cpuid_isolation_type = isolation;
                                        for instance_type in [None, Some("Standard_NCC40ads_H100_v5".to_owned())] {
                                            questions.node.instance_type = instance_type;
                                            check(&questions);
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn the_truth_table_of_all_combinations_holds() {
        let mut seen = 0;
        every_combination(|questions| {
            seen += 1;
            let found = classify(questions);
            let gpu = &questions.gpu;
            let isolation = &questions.cpuid_isolation_type;
            let feature_on = matches!(gpu.mode, Ok(ConfidentialMode::On | ConfidentialMode::ProtectedPcie));
            let feature_off =
                gpu.mode == Ok(ConfidentialMode::Off) || (gpu.mode.is_err() && gpu.gpus_capable == Ok(false));

            // The rule, stated again without the code's steps.
            let kinds_fit = match (isolation, &gpu.cpu_capability) {
                (Ok(2), Ok(capability)) => [1, 3, 4].contains(capability),
                (Ok(3), Ok(capability)) => *capability == 2,
                (Ok(2 | 3), Err(_)) => true,
                _ => false,
            };
            let enabled = feature_on
                && gpu.gpus_capable != Ok(false)
                && gpu.environment == Ok(ConfidentialEnvironment::Production)
                && gpu.dev_tools == Ok(false)
                && gpu.gpus_ready == Ok(true)
                && kinds_fit;
            let contradicted_off = gpu.mode == Ok(ConfidentialMode::Off)
                && (gpu.dev_tools == Ok(true) || gpu.protected_memory_mib == Ok(95_000));
            let disabled = feature_off && !contradicted_off && (isolation == &Ok(0) || isolation.is_err());

            assert_eq!(found.state == TeeState::Enabled, enabled, "{questions:?}: {found:?}");
            assert_eq!(found.state == TeeState::Disabled, disabled, "{questions:?}: {found:?}");
            if enabled || disabled {
                assert_eq!(found.level, EvidenceLevel::SelfReported, "{questions:?}");
            } else {
                assert!(found.level < EvidenceLevel::SelfReported, "{questions:?}: {found:?}");
            }
            assert!(!found.reasons.is_empty(), "{questions:?}");
        });
        assert_eq!(seen, 5 * 4 * 5 * 4 * 4 * 4 * 7 * 7 * 2);
    }
}
