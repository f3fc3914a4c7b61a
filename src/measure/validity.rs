//! Whether a run counts: one pure function from what was seen to a verdict with its reasons.

use teebench_api::files::{
    client::{ClientFile, ClientVerdict},
    energy::EnergyFile,
    run::{Reason, ReasonCode, Validity, Verdict},
};
use teebench_probe::energy::throttle_reasons_that_void;

/// Share of failed requests beyond which a run no longer measures the load that was planned.
const MOST_FAILED_SHARE: f64 = 0.01;

/// What was seen of a run that ended as planned.
#[derive(Debug)]
pub struct Seen<'a> {
    /// The load generator's account of itself.
    pub client: &'a ClientFile,
    /// The run's energy.
    pub energy: &'a EnergyFile,
    /// Requests that ended as asked.
    pub completed: usize,
    /// Requests that did not.
    pub failed: usize,
    /// The first error among the failed ones.
    pub first_error: Option<&'a str>,
    /// Why the evidence does not support the arm's claim; empty when it does.
    pub evidence: Vec<String>,
    /// Servers that are not those that the run began with.
    pub replaced_servers: Vec<String>,
    /// Differences between arms that break the comparison.
    pub parity: &'a [String],
}

/// The verdict. Reasons are all listed, and the gravest decides.
pub fn judge(seen: &Seen<'_>) -> Validity {
    let Seen { client, energy, completed, failed, first_error, evidence, replaced_servers, parity } = seen;
    let mut reasons = Vec::new();
    let mut add = |code, message: String| reasons.push(Reason { code, message });
    let cause = first_error.map(|error| format!("; the first error: {}", first_line(error))).unwrap_or_default();
    if *completed == 0 {
        add(ReasonCode::RequestsFailed, format!("none of {failed} requests completed{cause}"));
        return Validity { validity: Verdict::Failed, reasons };
    }
    let share = *failed as f64 / (*failed + *completed) as f64;
    if share > MOST_FAILED_SHARE {
        add(
            ReasonCode::RequestsFailed,
            format!("{failed} of {} requests failed, more than 1 %{cause}", failed + completed),
        );
    }
    if client.verdict == ClientVerdict::ClientBottleneck {
        add(ReasonCode::ClientBottleneck, client.reasons.join("; "));
    }
    for server in replaced_servers {
        add(ReasonCode::ServerRestarted, server.clone());
    }
    for gpu in &energy.gpus {
        let voids = throttle_reasons_that_void(gpu.throttle_reasons);
        if !voids.is_empty() {
            add(ReasonCode::Throttled, format!("GPU {}: {}", gpu.uuid, voids.join(", ")));
        }
    }
    for reason in evidence {
        add(ReasonCode::Evidence, reason.clone());
    }
    for difference in *parity {
        add(ReasonCode::ParityBroken, difference.clone());
    }
    let validity = if reasons.is_empty() { Verdict::Valid } else { Verdict::Inconclusive };
    Validity { validity, reasons }
}

fn first_line(error: &str) -> &str {
    error.lines().rfind(|line| !line.trim().is_empty()).unwrap_or(error)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use teebench_api::files::energy::{EnergyVerdict, GpuEnergy};

    use super::*;

    fn client(verdict: ClientVerdict) -> ClientFile {
        ClientFile {
            schema_version: 1,
            verdict,
            reasons: vec!["late".into()],
            window_start_unix_ns: 0,
            window_end_unix_ns: 1,
            send_lateness_ms: None,
            e2el_from_intended_ms: None,
            ttft_from_intended_ms: None,
            ttft_first_chunk_ms: None,
            ttft_first_output_ms: None,
            peak_concurrency: 1,
            mean_concurrency: 1.0,
            peak_output_tokens_per_s: 1.0,
            cpu_share: 0.1,
            sockets_opened: 1,
            steady_state: None,
            partial: false,
            intended_start_s: Vec::new(),
        }
    }

    fn energy(throttle_reasons: u64) -> EnergyFile {
        EnergyFile {
            schema_version: 1,
            simulated: true,
            scope: "gpu_board".into(),
            window_seconds: 1.0,
            verdict: EnergyVerdict::Ok,
            reasons: Vec::new(),
            counter_joules: None,
            integral_joules: None,
            idle_watts: None,
            idle_joules: None,
            net_joules: None,
            joules_per_output_token: None,
            joules_per_total_token: None,
            joules_per_request: None,
            power_cap_share: None,
            cpu_packages: Vec::new(),
            gpus: vec![GpuEnergy {
                uuid: "GPU-1".into(),
                name: "x".into(),
                power_limit_watts: None,
                counter_joules: None,
                integral_joules: None,
                idle_watts: None,
                samples: 1,
                longest_gap_seconds: 0.0,
                peak_watts: None,
                peak_temperature_celsius: None,
                throttle_reasons,
            }],
        }
    }

    struct Case {
        verdict: ClientVerdict,
        throttle: u64,
        completed: usize,
        failed: usize,
        evidence: Vec<String>,
        replaced: Vec<String>,
        parity: Vec<String>,
    }

    fn fine() -> Case {
        Case {
            verdict: ClientVerdict::Ok,
            throttle: 0,
            completed: 100,
            failed: 0,
            evidence: vec![],
            replaced: vec![],
            parity: vec![],
        }
    }

    #[rstest]
    #[case::nothing_stands_against_it(fine(), Verdict::Valid, &[])]
    #[case::a_power_cap_is_load(Case { throttle: 0x4, ..fine() }, Verdict::Valid, &[])]
    #[case::heat(Case { throttle: 0x40, ..fine() }, Verdict::Inconclusive, &[ReasonCode::Throttled])]
    #[case::a_late_client(Case { verdict: ClientVerdict::ClientBottleneck, ..fine() }, Verdict::Inconclusive, &[ReasonCode::ClientBottleneck])]
    #[case::evidence(Case { evidence: vec!["off".into()], ..fine() }, Verdict::Inconclusive, &[ReasonCode::Evidence])]
    #[case::another_server(Case { replaced: vec!["0".into()], ..fine() }, Verdict::Inconclusive, &[ReasonCode::ServerRestarted])]
    #[case::parity(Case { parity: vec!["image".into()], ..fine() }, Verdict::Inconclusive, &[ReasonCode::ParityBroken])]
    #[case::one_failure_in_a_hundred(Case { completed: 99, failed: 1, ..fine() }, Verdict::Valid, &[])]
    #[case::more_failures(Case { completed: 98, failed: 2, ..fine() }, Verdict::Inconclusive, &[ReasonCode::RequestsFailed])]
    #[case::nothing_completed(Case { completed: 0, failed: 5, throttle: 0x40, ..fine() }, Verdict::Failed, &[ReasonCode::RequestsFailed])]
    #[case::all_reasons_are_listed(Case { evidence: vec!["off".into()], throttle: 0x8, ..fine() }, Verdict::Inconclusive, &[ReasonCode::Throttled, ReasonCode::Evidence])]
    fn a_run_counts_only_when_nothing_stands_against_it(
        #[case] case: Case,
        #[case] verdict: Verdict,
        #[case] codes: &[ReasonCode],
    ) {
        let judged = judge(&Seen {
            client: &client(case.verdict),
            energy: &energy(case.throttle),
            completed: case.completed,
            failed: case.failed,
            first_error: Some("Traceback\nrefused"),
            evidence: case.evidence,
            replaced_servers: case.replaced,
            parity: &case.parity,
        });

        assert_eq!(judged.validity, verdict);
        assert_eq!(judged.reasons.iter().map(|reason| reason.code).collect::<Vec<_>>(), codes);
    }
}
