//! Results directories as a campaign writes them, made without running one: every digest and nonce is right.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest, Sha256};
use teebench_api::campaign::{Arm, Tee};
use teebench_api::files::evidence::{
    Environment, Evidence, EvidenceLevel, GpuIdentity, NodeHints, NonceDocument, Phase, TeeState,
};
use teebench_api::files::gpu::ConfidentialCompute;
use teebench_api::files::run::{RunFile, ServerRecord, Validity, Verdict};
use teebench_api::plan::{Plan, RunId, build};
use teebench_api::validate::load;
use teebench_probe::evidence::nonce_sha256;
use teebench_probe::verify::{STATEMENT_FILE, statement};

const CAMPAIGN: &str = "
apiVersion: teebench.dev/v1alpha1
kind: BenchmarkCampaign
metadata: {name: small}
spec:
  seed: 1
  engine: {simulator: {profile: Tiny, replicas: 1, maxNumSeqs: 4, maxModelLen: 8192, numGpuBlocks: 1024}}
  models:
  - {name: tiny, repository: teebench/tiny, revision: \"0000000000000000000000000000000000000000\"}
  arms:
  - {name: cc-off, tee: Disabled, nodePool: {selector: {cc: \"off\"}}}
  - {name: cc-on, tee: Enabled, nodePool: {selector: {cc: \"on\"}}}
  comparison: {factor: Tee}
  routers: [{name: direct, direct: {}}]
  experiments:
  - name: load
    dataset: {random: {prompts: 10, inputTokens: [16]}}
    load: {requestRateMilli: [1000]}
    outputTokens: [8]
    repetitions: {minimum: 2}
";

/// A campaign's directory in the making.
pub struct Results {
    /// The campaign's directory.
    pub root: PathBuf,
    /// Its plan.
    pub plan: Plan,
}

impl Results {
    /// Begins `<out>/small`.
    pub fn begin(out: &Path) -> Self {
        Self::begin_with(out, CAMPAIGN)
    }

    /// The same, where the confidential arm pins reference manifests by these digests.
    #[allow(dead_code, reason = "each program uses a part")]
    pub fn begin_pinned(out: &Path, pins: &[String]) -> Self {
        let pinned = format!("tee: Enabled, endorsement: {{rimSha256: {pins:?}}}");
        Self::begin_with(out, &CAMPAIGN.replace("tee: Enabled", &pinned))
    }

    fn begin_with(out: &Path, campaign: &str) -> Self {
        let file = load(campaign.as_bytes(), "small.yaml").unwrap_or_else(|faults| panic!("{faults}"));
        let plan = build("small", &file.campaign.spec, &file.policies).unwrap();
        let root = out.join("small");
        fs::create_dir_all(&root).unwrap();
        fs::write(root.join("plan.json"), plan.to_json()).unwrap();
        fs::write(root.join("campaign.yaml"), campaign).unwrap();
        fs::write(root.join("decisions.jsonl"), "").unwrap();
        Self { root, plan }
    }

    /// Writes and commits one run with a `bench.json` of so many bytes; `change` may spoil it before it is written.
    pub fn run(&self, arm: &str, repetition: u32, bench_bytes: usize, change: impl FnOnce(&mut Made)) -> String {
        let arm = self.plan.arm(arm).unwrap();
        let mut made = Made::new(&self.plan, arm, repetition, bench_bytes);
        change(&mut made);
        let path = made.run.run.attempt_path(made.run.attempt);
        made.write(&self.root.join("runs").join(&path));
        path
    }

    /// Writes the campaign's `SHA256SUMS` and the Statement over it.
    pub fn seal(&self) {
        let mut files: Vec<PathBuf> = ["campaign.yaml", "decisions.jsonl", "plan.json"].map(PathBuf::from).to_vec();
        find_sums(&self.root.join("runs"), &self.root, &mut files);
        let sums = write_sums(&self.root, files);
        fs::write(self.root.join(STATEMENT_FILE), statement(&self.plan.campaign, &sums).unwrap()).unwrap();
    }
}

/// What a run will write.
pub struct Made {
    /// `run.json`.
    pub run: RunFile,
    /// `bench.json`.
    pub bench: Vec<u8>,
    /// The samples of the server's GPU.
    pub samples: Vec<u8>,
    /// Before and after.
    pub nonces: [NonceDocument; 2],
    /// Before and after.
    pub evidence: [Evidence; 2],
    /// Further files of the attempt itself, by name.
    pub files: Vec<(String, Vec<u8>)>,
}

impl Made {
    fn new(plan: &Plan, arm: &Arm, repetition: u32, bench_bytes: usize) -> Self {
        let condition = &plan.conditions[0];
        let id = RunId {
            experiment: condition.experiment.clone(),
            condition: condition.slug.clone(),
            arm: arm.name.clone(),
            router: "direct".to_owned(),
            repetition,
        };
        let bench = vec![b'0'; bench_bytes];
        let samples = b"{\"unix_ns\":1,\"mono_ns\":1}\n".repeat(100);
        let pre = NonceDocument {
            v: NonceDocument::VERSION.to_owned(),
            phase: Phase::Pre,
            campaign: plan.campaign.clone(),
            run: id.attempt_path(1),
            server: 0,
            plan_sha256: plan.digest(),
            salt: "5a".repeat(32),
            bench_sha256: None,
            samples_sha256: None,
        };
        let post = NonceDocument {
            phase: Phase::Post,
            bench_sha256: Some(sha256(&bench)),
            samples_sha256: Some(sha256(&samples)),
            ..pre.clone()
        };
        let enabled = arm.tee == Tee::Enabled;
        let evidence = [&pre, &post].map(|nonce| Evidence {
            schema_version: 1,
            phase: nonce.phase,
            level: EvidenceLevel::SelfReported,
            state: if enabled { TeeState::Enabled } else { TeeState::Disabled },
            simulated: true,
            reasons: Vec::new(),
            nonce_sha256: nonce_sha256(nonce).unwrap(),
            taken_unix_ns: 1,
            environment: environment(enabled),
            node: NodeHints::default(),
            reports: Vec::new(),
            cpu: None,
            references_sha256: Vec::new(),
            tool_version: "0".to_owned(),
        });
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let run = RunFile {
            schema_version: 1,
            tool_version: "0".to_owned(),
            campaign: plan.campaign.clone(),
            plan_sha256: plan.digest(),
            target: plan.router_target("direct").unwrap(),
            run: id,
            attempt: 1,
            epoch: 1,
            block: 0,
            boot: 0,
            boot_generation: 1,
            seed: 1,
            dataset_sha256: None,
            simulated: true,
            tee: arm.tee,
            started_at: now,
            finished_at: now,
            window: None,
            servers: vec![ServerRecord {
                ordinal: 0,
                uid: "u".to_owned(),
                engine_url: "http://127.0.0.1:8000".to_owned(),
                engine: None,
                ready_seconds: None,
                num_gpu_blocks: None,
                flags_sha256: None,
                weights: None,
                environment: environment(enabled),
                prefix_cache_queries: None,
                prefix_cache_hits: None,
                preemptions: None,
            }],
            evidence_level: Some(EvidenceLevel::SelfReported),
            validity: Validity { validity: Verdict::Valid, reasons: Vec::new() },
            log_tail: Vec::new(),
        };
        Self { run, bench, samples, nonces: [pre, post], evidence, files: Vec::new() }
    }

    fn write(&self, directory: &Path) {
        let evidence = directory.join("servers/0/evidence");
        fs::create_dir_all(&evidence).unwrap();
        json(&directory.join("run.json"), &self.run);
        fs::write(directory.join("bench.json"), &self.bench).unwrap();
        fs::write(directory.join("servers/0/power-GPU-1.jsonl"), &self.samples).unwrap();
        json(&evidence.join("nonce-pre.json"), &self.nonces[0]);
        json(&evidence.join("nonce-post.json"), &self.nonces[1]);
        json(&evidence.join("pre.json"), &self.evidence[0]);
        json(&evidence.join("post.json"), &self.evidence[1]);
        let files = [
            "bench.json",
            "run.json",
            "servers/0/evidence/nonce-post.json",
            "servers/0/evidence/nonce-pre.json",
            "servers/0/evidence/post.json",
            "servers/0/evidence/pre.json",
            "servers/0/power-GPU-1.jsonl",
        ];
        for (name, content) in &self.files {
            fs::write(directory.join(name), content).unwrap();
        }
        let further = self.files.iter().map(|(name, _)| PathBuf::from(name));
        write_sums(directory, files.map(PathBuf::from).into_iter().chain(further).collect());
    }
}

fn environment(enabled: bool) -> Environment {
    Environment {
        boot_id: Some("boot-1".to_owned()),
        cpuid_isolation_type: Some(if enabled { 2 } else { 0 }),
        driver_version: Some("580.159.04".to_owned()),
        gpus: vec![GpuIdentity {
            uuid: "GPU-1".to_owned(),
            name: "Simulated Tiny".to_owned(),
            vbios_version: Some("96.00.9F.00.01".to_owned()),
            ..GpuIdentity::default()
        }],
        confidential_compute: Some(ConfidentialCompute {
            cpu_capability: if enabled { 4 } else { 0 },
            gpus_capability: 1,
            feature_enabled: enabled,
            environment_production: enabled,
            dev_tools_enabled: false,
            gpus_ready: enabled,
            protected_memory_mib: if enabled { 95_000 } else { 0 },
            cpuid_isolation_type: if enabled { 2 } else { 0 },
        }),
        ..Environment::default()
    }
}

/// Sums the files again, so that only what they say is wrong.
fn write_sums(directory: &Path, mut files: Vec<PathBuf>) -> String {
    files.sort();
    let mut text = String::new();
    for file in files {
        let sum = sha256(&fs::read(directory.join(&file)).unwrap());
        writeln!(text, "{sum}  {}", file.display()).unwrap();
    }
    fs::write(directory.join("SHA256SUMS"), &text).unwrap();
    text
}

fn find_sums(directory: &Path, root: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            find_sums(&path, root, found);
        } else if path.ends_with("SHA256SUMS") {
            found.push(path.strip_prefix(root).unwrap().to_owned());
        }
    }
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn json<T: Serialize>(path: &Path, value: &T) {
    fs::write(path, serde_json::to_vec_pretty(value).unwrap()).unwrap();
}
