//! The machines of an attempt: evidence before and after, power samples, energy.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use serde::Serialize;
use sha2::{Digest, Sha256};
use teebench_api::{
    campaign::{Energy as EnergySettings, Tee},
    files::{
        energy::{CpuPackageEnergy, EnergyFile},
        evidence::{Environment, Evidence, EvidenceLevel, GpuIdentity, NonceDocument, Phase},
        inputs::{RunInputs, ServerInput},
        run::Window,
    },
};
use teebench_probe::{
    attestation::{Root, Verifier},
    client::{ClientError, ProbeClient},
    energy::{self, ClockMapping, ClockOffset, EnergyInputs, GpuInput, Work, counted_joules, mean_power_watts},
    evidence::{Bound, TeeClaim, recorded, supports},
    power_csv::one_row_a_second,
    sampler::Sample,
};
use thiserror::Error;

/// Samples taken from before and after the window, so that its edges can be interpolated.
const MARGIN_NS: u64 = 2_000_000_000;

/// A machine did not give what a run needs.
#[derive(Debug, Error)]
pub enum MachineError {
    /// The probe could not be asked.
    #[error("server {ordinal}: its probe could not be asked for {what}; see the probe's log")]
    Probe {
        /// The server's ordinal.
        ordinal: u32,
        /// What was asked.
        what: &'static str,
        /// What the connection says.
        #[source]
        source: Box<ClientError>,
    },
    /// A file could not be written.
    #[error("cannot write {}: free space or mend permissions", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// One server's probe with what was asked of it before the run. A server that is not ours has no probe.
pub struct Machine {
    ordinal: u32,
    idle: Option<Window>,
    probe: Option<Asked>,
    dir: PathBuf,
}

struct Asked {
    client: ProbeClient,
    before: ClockOffset,
    gpus: Vec<GpuIdentity>,
    packages: Vec<String>,
    engine_started_unix_ns: u64,
    pre: (NonceDocument, Evidence),
}

/// What one machine gave after the run.
pub struct Account {
    ordinal: u32,
    /// The machine, as the evidence before the run has it.
    pub environment: Environment,
    /// The level that supports the arm's claim, or why nothing does.
    pub evidence: Result<EvidenceLevel, Vec<String>>,
    /// Whether another engine answers than before the run.
    pub restarted: bool,
    gpus: Vec<SampledGpu>,
    packages: Vec<CountedPackage>,
}

struct CountedPackage {
    name: String,
    joules: Result<f64, String>,
}

struct SampledGpu {
    identity: GpuIdentity,
    clock: ClockMapping,
    samples: Vec<Sample>,
    idle: Result<f64, String>,
    /// Seconds that the compatible CSV file has no row for.
    rows_left_out: u64,
}

impl Machine {
    /// Measures the clock's offset and takes the evidence before the run.
    pub async fn before(inputs: &RunInputs, server: &ServerInput, out: &Path) -> Result<Self, MachineError> {
        let ordinal = server.ordinal;
        let dir = out.join("servers").join(ordinal.to_string());
        create(&dir.join("evidence"))?;
        let Some(url) = &server.probe_url else {
            return Ok(Self { ordinal, idle: None, probe: None, dir });
        };
        let fail = |what| move |source| MachineError::Probe { ordinal, what, source: Box::new(source) };
        let client = ProbeClient::new(url).map_err(fail("its address"))?;
        let before = client.clock_offset().await.map_err(fail("its clock"))?;
        let mut gpus = client.gpus().await.map_err(fail("its GPUs"))?.gpus;
        // The digest of the samples is over their files in name order.
        gpus.sort_by(|one, other| one.uuid.cmp(&other.uuid));
        let packages = client.cpu_packages().await.map_err(fail("its CPU packages"))?.packages;
        let engine_started_unix_ns = client.engine().await.map_err(fail("its engine"))?.started_unix_ns;
        let nonce = nonce(inputs, ordinal, Phase::Pre, None);
        let evidence = client.evidence(&nonce).await.map_err(fail("evidence"))?;
        write_json(&dir.join("evidence/nonce-pre.json"), &nonce)?;
        write_json(&dir.join("evidence/pre.json"), &evidence)?;
        let pre = (nonce, evidence);
        Ok(Self {
            ordinal,
            idle: server.idle,
            probe: Some(Asked { client, before, gpus, packages, engine_started_unix_ns, pre }),
            dir,
        })
    }

    /// Pulls the samples of the window, then takes the evidence after the run, bound to the result file.
    pub async fn after(self, inputs: &RunInputs, window: Window, bench_sha256: &str) -> Result<Account, MachineError> {
        let Self { ordinal, idle, probe, dir } = self;
        let Some(Asked { client, before, gpus, packages, engine_started_unix_ns, pre }) = probe else {
            let evidence = match inputs.tee {
                Tee::Undeclared => Ok(EvidenceLevel::Declared),
                Tee::Enabled | Tee::Disabled => Err(vec![format!("server {ordinal} has no probe to give evidence")]),
            };
            return Ok(Account {
                ordinal,
                environment: Environment::default(),
                restarted: false,
                evidence,
                gpus: Vec::new(),
                packages: Vec::new(),
            });
        };
        let fail = |what| move |source| MachineError::Probe { ordinal, what, source: Box::new(source) };
        let restarted = client.engine().await.map_err(fail("its engine"))?.started_unix_ns != engine_started_unix_ns;
        let after = client.clock_offset().await.map_err(fail("its clock"))?;
        let clock = ClockMapping { before, after };
        let from = clock.to_probe(window.start_unix_ns).saturating_sub(MARGIN_NS);
        let to = clock.to_probe(window.end_unix_ns).saturating_add(MARGIN_NS);
        let mut sums = Sha256::new();
        let mut sampled = Vec::new();
        for identity in gpus {
            let uuid = identity.uuid.clone();
            let samples = client.samples(&uuid, from, to).await.map_err(fail("samples"))?;
            let csv = one_row_a_second(samples.iter());
            let lines = json_lines(&samples);
            sums.update(&lines);
            write(&dir.join(format!("power-{uuid}.jsonl")), &lines)?;
            write(&dir.join(format!("power-{uuid}.csv")), csv.text.as_bytes())?;
            let idle = idle_watts(&client, &uuid, idle, &clock).await;
            sampled.push(SampledGpu { identity, clock, samples, idle, rows_left_out: csv.dropped });
        }
        let mut counted = Vec::new();
        for name in packages {
            let samples = client.cpu_samples(&name, from, to).await.map_err(fail("samples of its CPU"))?;
            let lines = json_lines(&samples);
            // Their names sort after those of GPUs, which begin with a capital.
            sums.update(&lines);
            write(&dir.join(format!("power-cpu-{name}.jsonl")), &lines)?;
            let window = energy::Window { from_unix_ns: window.start_unix_ns, to_unix_ns: window.end_unix_ns };
            let joules = counted_joules(&samples, window, &clock).map_err(|error| error.to_string());
            counted.push(CountedPackage { name, joules });
        }
        let nonce = nonce(inputs, ordinal, Phase::Post, Some((bench_sha256, &hex::encode(sums.finalize()))));
        let evidence = client.evidence(&nonce).await.map_err(fail("evidence"))?;
        write_json(&dir.join("evidence/nonce-post.json"), &nonce)?;
        write_json(&dir.join("evidence/post.json"), &evidence)?;
        let verdict = supports(
            match inputs.tee {
                Tee::Enabled => TeeClaim::Enabled,
                Tee::Disabled => TeeClaim::Disabled,
                Tee::Undeclared => TeeClaim::Undeclared,
            },
            inputs.minimum_evidence.into(),
            Bound { evidence: &pre.1, nonce: &pre.0 },
            Bound { evidence: &evidence, nonce: &nonce },
            inputs.simulated,
        );
        let verifier = Verifier::new(root(inputs, &evidence));
        let verdict = verdict.and_then(|level| {
            let told = [("pre", &pre.1), ("post", &evidence)].into_iter().flat_map(|(when, evidence)| {
                let found = recorded::contradictions(evidence, &verifier);
                found.into_iter().map(move |found| format!("{when} evidence {found}"))
            });
            let told: Vec<String> = told.collect();
            if told.is_empty() { Ok(level) } else { Err(told) }
        });
        let named = |reasons: Vec<String>| reasons.iter().map(|reason| format!("server {ordinal}: {reason}")).collect();
        Ok(Account {
            ordinal,
            environment: pre.1.environment,
            restarted,
            evidence: verdict.map_err(named),
            gpus: sampled,
            packages: counted,
        })
    }
}

/// The root that the GPUs' reports are held against: the vendor's, but for a simulated campaign, which shows nothing of
/// a GPU anyway and may name one for tests.
fn root(inputs: &RunInputs, evidence: &Evidence) -> Root {
    let for_tests = evidence.reports.iter().find_map(|report| report.test_root_sha256.as_deref());
    Root::from_test_hex(for_tests.filter(|_| inputs.simulated)).unwrap_or(Root::Nvidia)
}

/// Energy of the run over distinct GPUs: several servers on one board are one board.
pub fn energy(
    settings: &EnergySettings,
    simulated: bool,
    accounts: &[Account],
    window: Window,
    work: Work,
) -> EnergyFile {
    let mut notes = Vec::new();
    let mut gpus = BTreeMap::new();
    for gpu in accounts.iter().flat_map(|account| &account.gpus) {
        let SampledGpu { identity, clock, samples, idle, rows_left_out } = gpu;
        if *rows_left_out > 0 {
            notes.push(format!("gpu {0}: power-{0}.csv has no row for {rows_left_out} seconds", identity.uuid));
        }
        let idle_watts = match idle {
            Ok(watts) => Some(*watts),
            Err(reason) => {
                notes.push(format!("gpu {}: idle power not measured: {reason}", identity.uuid));
                None
            }
        };
        gpus.entry(identity.uuid.clone()).or_insert(GpuInput {
            identity: identity.clone(),
            clock: *clock,
            samples,
            idle_watts,
        });
    }
    let mut file = energy::compute(&EnergyInputs {
        window: energy::Window { from_unix_ns: window.start_unix_ns, to_unix_ns: window.end_unix_ns },
        gpus,
        work: Some(work),
        minimum_window_seconds: f64::from(settings.minimum_window_seconds),
        simulated,
    });
    file.cpu_packages = cpu_packages(accounts, &mut notes);
    notes.dedup();
    file.reasons.extend(notes);
    file
}

/// Energy of each CPU package once, however many servers its machine has.
fn cpu_packages(accounts: &[Account], notes: &mut Vec<String>) -> Vec<CpuPackageEnergy> {
    let mut machines = BTreeSet::new();
    let mut found = Vec::new();
    for account in accounts {
        // Without a boot id machines cannot be told apart: better a package twice in the list than another left out.
        let machine = account.environment.boot_id.clone().unwrap_or_else(|| format!("server {}", account.ordinal));
        if !machines.insert(machine) {
            continue;
        }
        for CountedPackage { name, joules } in &account.packages {
            let server = account.ordinal;
            if let Err(reason) = joules {
                notes.push(format!("cpu {name} of server {server}: {reason}"));
            }
            found.push(CpuPackageEnergy { server, name: name.clone(), joules: joules.clone().ok() });
        }
    }
    found
}

async fn idle_watts(
    client: &ProbeClient,
    uuid: &str,
    idle: Option<Window>,
    clock: &ClockMapping,
) -> Result<f64, String> {
    let idle = idle.ok_or("energy.idleSeconds is 0, or the servers are not ours")?;
    let window = energy::Window { from_unix_ns: idle.start_unix_ns, to_unix_ns: idle.end_unix_ns };
    let from = clock.to_probe(idle.start_unix_ns).saturating_sub(MARGIN_NS);
    let to = clock.to_probe(idle.end_unix_ns).saturating_add(MARGIN_NS);
    let samples = client.samples(uuid, from, to).await.map_err(|error| error.to_string())?;
    mean_power_watts(&samples, window, clock).map_err(|error| error.to_string())
}

fn nonce(inputs: &RunInputs, ordinal: u32, phase: Phase, results: Option<(&str, &str)>) -> NonceDocument {
    NonceDocument {
        v: NonceDocument::VERSION.to_owned(),
        phase,
        campaign: inputs.campaign.clone(),
        run: inputs.run.attempt_path(inputs.attempt),
        server: ordinal,
        plan_sha256: inputs.plan_sha256.clone(),
        salt: inputs.salt.clone(),
        bench_sha256: results.map(|(bench, _)| bench.to_owned()),
        samples_sha256: results.map(|(_, samples)| samples.to_owned()),
    }
}

fn json_lines(samples: &[Sample]) -> Vec<u8> {
    let mut lines = Vec::new();
    for sample in samples {
        serde_json::to_writer(&mut lines, sample).expect("a sample serialises to JSON, and memory takes every write");
        lines.push(b'\n');
    }
    lines
}

fn create(dir: &Path) -> Result<(), MachineError> {
    fs::create_dir_all(dir).map_err(|source| MachineError::Write { path: dir.to_owned(), source })
}

/// Writes a file of the attempt.
pub fn write(path: &Path, content: &[u8]) -> Result<(), MachineError> {
    fs::write(path, content).map_err(|source| MachineError::Write { path: path.to_owned(), source })
}

/// Writes a value as indented JSON.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), MachineError> {
    let mut text = serde_json::to_vec_pretty(value).expect("our own types serialise to JSON");
    text.push(b'\n');
    write(path, &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// Two minutes at 100 W, with the counter.
    fn samples() -> Vec<Sample> {
        let sample = |tenth: u64| Sample {
            unix_ns: tenth * SECOND / 10,
            mono_ns: tenth * SECOND / 10,
            power_instant_mw: Some(100_000),
            energy_mj: Some(tenth * 10_000),
            ..Sample::default()
        };
        (0..=1_200).map(sample).collect()
    }

    fn account(ordinal: u32, boot_id: &str, gpus: &[&str]) -> Account {
        let gpu = |uuid: &&str| SampledGpu {
            identity: GpuIdentity { uuid: (*uuid).to_owned(), ..GpuIdentity::default() },
            clock: ClockMapping::SAME,
            samples: samples(),
            idle: Ok(40.0),
            rows_left_out: 0,
        };
        Account {
            ordinal,
            environment: Environment { boot_id: Some(boot_id.to_owned()), ..Environment::default() },
            evidence: Ok(EvidenceLevel::SelfReported),
            restarted: false,
            gpus: gpus.iter().map(gpu).collect(),
            packages: vec![CountedPackage { name: "package-0".to_owned(), joules: Ok(500.0) }],
        }
    }

    fn energy_of(accounts: &[Account]) -> EnergyFile {
        let window = Window { start_unix_ns: 10 * SECOND, end_unix_ns: 110 * SECOND };
        let work = Work { output_tokens: 1_000, total_tokens: 2_000, requests: 10 };
        let settings = EnergySettings { sample_milliseconds: 100, minimum_window_seconds: 60, idle_seconds: 30 };
        energy(&settings, false, accounts, window, work)
    }

    #[test]
    fn servers_on_one_board_are_one_board_and_on_one_machine_one_package() {
        let on_one = [account(0, "a", &["GPU-1"]), account(1, "a", &["GPU-1"])];
        let one = energy_of(&on_one);
        assert_eq!(
            (one.gpus.len(), one.counter_joules.map(f64::round), one.idle_watts),
            (1, Some(10_000.0), Some(40.0))
        );
        assert_eq!(one.joules_per_output_token.map(f64::round), Some(10.0));
        assert_eq!(one.cpu_packages.len(), 1);

        let two = energy_of(&[account(0, "a", &["GPU-1"]), account(1, "b", &["GPU-2"])]);
        assert_eq!((two.gpus.len(), two.counter_joules.map(f64::round)), (2, Some(20_000.0)));
        let packages: Vec<(u32, Option<f64>)> = two.cpu_packages.iter().map(|cpu| (cpu.server, cpu.joules)).collect();
        assert_eq!(packages, [(0, Some(500.0)), (1, Some(500.0))]);
    }

    #[test]
    fn what_is_missing_beside_the_energy_is_told() {
        let mut one = account(0, "a", &["GPU-1"]);
        one.gpus[0].rows_left_out = 3;
        one.gpus[0].idle = Err("energy.idleSeconds is 0".to_owned());
        one.packages[0].joules = Err("the energy counter fell".to_owned());
        let file = energy_of(&[one]);
        let told = file.reasons.join("; ");
        for part in
            ["power-GPU-1.csv has no row for 3 seconds", "idleSeconds is 0", "cpu package-0 of server 0: the energy"]
        {
            assert!(told.contains(part), "{part:?} is not in {told:?}");
        }
        assert_eq!((file.cpu_packages[0].joules, file.idle_watts, file.net_joules), (None, None, None));
    }
}
