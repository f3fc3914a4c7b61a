//! The machines of an attempt: evidence before and after, and samples of power.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::Serialize;
use sha2::{Digest, Sha256};
use teebench_api::{
    campaign::Tee,
    files::{
        evidence::{CpuEvidence, Environment, Evidence, EvidenceLevel, GpuIdentity, NonceDocument, Phase},
        inputs::{ReferenceInput, RunInputs, ServerInput},
        run::Window,
    },
};
use teebench_probe::{
    attestation::{Root, Verifier},
    client::{ClientError, ProbeClient},
    endorsement::{ReferenceError, References},
    energy::{self, ClockMapping, ClockOffset, counted_joules, mean_power_watts},
    evidence::{Bound, TeeClaim, endorse, recorded, supports},
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
    /// The arm's reference manifests cannot be used.
    #[error("the arm's reference manifests cannot be used")]
    References(#[from] ReferenceError),
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
    /// The server's ordinal.
    pub ordinal: u32,
    /// The machine, as the evidence before the run has it.
    pub environment: Environment,
    /// The level that supports the arm's claim, or why nothing does.
    pub evidence: Result<EvidenceLevel, Vec<String>>,
    /// Whether another engine answers than before the run.
    pub restarted: bool,
    /// The GPUs that its engine sees.
    pub gpus: Vec<SampledGpu>,
    /// Its CPU packages whose counters were read.
    pub packages: Vec<CountedPackage>,
}

/// A CPU package with its energy over the window, in joules, or why that is not known.
pub struct CountedPackage {
    /// As the kernel names it.
    pub name: String,
    /// By its counter.
    pub joules: Result<f64, String>,
}

/// A GPU with its samples around the window.
pub struct SampledGpu {
    /// What it is.
    pub identity: GpuIdentity,
    /// From the load generator's clock to its probe's.
    pub clock: ClockMapping,
    /// On the probe's clock.
    pub samples: Vec<Sample>,
    /// Mean power without load in watts, or why it is not known.
    pub idle: Result<f64, String>,
    /// Seconds that the compatible CSV file has no row for.
    pub rows_left_out: u64,
}

impl Machine {
    /// Measures the clock's offset and takes the evidence before the run.
    pub async fn before(
        inputs: &RunInputs,
        server: &ServerInput,
        references: &References,
        out: &Path,
    ) -> Result<Self, MachineError> {
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
        let mut evidence = client.evidence(&nonce).await.map_err(fail("evidence"))?;
        let verifier = verifier(inputs, &evidence, server.cpu.as_ref());
        endorse(&mut evidence, server.cpu.as_ref(), references, &verifier);
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
    pub async fn after(
        self,
        inputs: &RunInputs,
        references: &References,
        window: Window,
        bench_sha256: &str,
    ) -> Result<Account, MachineError> {
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
        let mut evidence = client.evidence(&nonce).await.map_err(fail("evidence"))?;
        let verifier = verifier(inputs, &evidence, pre.1.cpu.as_ref());
        endorse(&mut evidence, pre.1.cpu.as_ref(), references, &verifier);
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
        let verdict = verdict.and_then(|level| {
            let told = [("pre", &pre.1), ("post", &evidence)].into_iter().flat_map(|(when, evidence)| {
                let found = recorded::contradictions(evidence, references, &verifier);
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

/// What signatures are held against: the vendors' roots, but for a simulated campaign, which shows nothing of a machine
/// anyway and may name roots for tests.
fn verifier(inputs: &RunInputs, evidence: &Evidence, cpu: Option<&CpuEvidence>) -> Verifier {
    let root =
        |for_tests: Option<&str>| Root::from_test_hex(for_tests.filter(|_| inputs.simulated)).unwrap_or(Root::Vendor);
    let of_gpus = evidence.reports.iter().find_map(|report| report.test_root_sha256.as_deref());
    let of_cpu = cpu.and_then(|cpu| cpu.test_root_sha256.as_deref());
    Verifier::new(root(of_gpus)).with_cpu_root(root(of_cpu))
}

/// Reads the arm's reference manifests and keeps them with the attempt, so that its evidence can be verified anew.
pub fn references(inputs: &RunInputs, out: &Path) -> Result<References, MachineError> {
    let Some(ReferenceInput { directory, config_map: _, rim_sha256 }) = &inputs.references else {
        return Ok(References::default());
    };
    let references = References::in_directory(Path::new(directory), rim_sha256)?;
    for (sha256, reference) in references.iter() {
        write(&out.join(format!("rim-{sha256}.xml")), &reference.bytes)?;
    }
    Ok(references)
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
