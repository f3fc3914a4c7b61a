//! `evidence/pre.json` and `post.json`: what a server's machine says of itself before and after a run.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How strong the evidence of a TEE state is; a stronger level includes the weaker ones.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EvidenceLevel {
    /// Only the campaign says so.
    #[default]
    Declared,
    /// Labels, instance type and image of the node say so.
    Scheduled,
    /// The GPU's driver and the CPU's identification leaf say so, inside the guest.
    SelfReported,
    /// A report signed by the GPU says so.
    DeviceSigned,
    /// The signed report equals reference measurements, and the CPU's report is verified as well.
    Endorsed,
}

/// When the evidence was taken.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Before the run.
    Pre,
    /// After the run: its nonce binds the result file.
    Post,
}

/// What is found of the machine's TEE state.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TeeState {
    /// On, by everything that was asked.
    Enabled,
    /// Off, or a GPU without the feature.
    Disabled,
    /// Asked and not answered; never read as off.
    Unknown,
    /// Answers contradict each other, or the TEE is on in a form that proves nothing (development mode).
    Contradictory,
}

/// One server's evidence in one phase.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "snake_case")]
pub struct Evidence {
    /// Version of this format: 1.
    pub schema_version: u32,
    /// Before or after the run.
    pub phase: Phase,
    /// Level that this evidence reaches.
    pub level: EvidenceLevel,
    /// What it says.
    pub state: TeeState,
    /// Whether the GPU is simulated.
    pub simulated: bool,
    /// Why the level is not higher and the state not clearer.
    pub reasons: Vec<String>,
    /// SHA-256 of the canonical nonce document, in hex; see `nonce-pre.json` and `nonce-post.json`.
    pub nonce_sha256: String,
    /// When it was taken, in nanoseconds since the Unix epoch.
    pub taken_unix_ns: u64,
    /// The machine.
    pub environment: Environment,
    /// What the scheduler knew of the node.
    #[serde(default)]
    pub node: NodeHints,
    /// What the GPUs signed of themselves with this nonce; empty where their mode is off or they sign nothing.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub reports: Vec<GpuReport>,
    /// What the machine's CPU signed since it booted; absent where nobody asked it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cpu: Option<CpuEvidence>,
    /// SHA-256 in hex of the reference manifests that the reports were held against, which lie with the run as
    /// `rim-<sha256>.xml`; empty where they were held against none.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub references_sha256: Vec<String>,
    /// Version of the program that took it.
    pub tool_version: String,
}

/// What the node's labels say. A hint, never a proof: anybody who may label a node can write it.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "snake_case", default)]
pub struct NodeHints {
    /// `node.kubernetes.io/instance-type`.
    pub instance_type: Option<String>,
    /// `kubernetes.azure.com/security-type`.
    pub security_type: Option<String>,
}

/// A report that a GPU signed, with the certificates of the key that signed it.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub struct GpuReport {
    /// `GPU-` and a UUID.
    pub uuid: String,
    /// The report's bytes in base64.
    pub report_base64: String,
    /// The certificates in PEM, leaf first, in base64.
    pub chain_base64: String,
    /// SHA-256 in hex of the root for tests that the chain was held against; absent where that was the vendor's. Under
    /// a root for tests nothing is shown of a GPU.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub test_root_sha256: Option<String>,
    /// What the report says; absent when it did not verify.
    pub fields: Option<ReportFields>,
}

/// What a verified report says.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub struct ReportFields {
    /// Driver's version.
    pub driver_version: String,
    /// VBIOS version.
    pub vbios_version: String,
    /// SHA-384 of the firmware that holds the signing key, in hex.
    pub firmware_id: String,
    /// Number of measurements.
    pub measurements: u32,
}

/// What the CPU of a confidential machine signed, and its virtual TPM, once since it booted.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub struct CpuEvidence {
    /// Version of this format: 1.
    pub schema_version: u32,
    /// What the quote's nonce is made of.
    pub document: CpuNonceDocument,
    /// When it was taken, in nanoseconds since the Unix epoch.
    pub taken_unix_ns: u64,
    /// The host compatibility layer's report in base64, as NV index 0x01400001 has it: the CPU's own report, and the
    /// key that signs quotes.
    pub hcl_report_base64: String,
    /// What the TPM signed (TPMS_ATTEST), in base64.
    pub quote_base64: String,
    /// Its signature (TPMT_SIGNATURE), in base64.
    pub signature_base64: String,
    /// Platform configuration registers of the SHA-256 bank by number, in hex.
    pub pcrs_sha256: BTreeMap<u8, String>,
    /// Certificates in PEM of the key that signed the CPU's report (VCEK), leaf first; empty where nobody gave them.
    pub certificates_pem: String,
    /// SHA-256 in hex of the root for tests that they were held against; absent where that was the vendor's.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub test_root_sha256: Option<String>,
    /// Version of the program that took it.
    pub tool_version: String,
}

/// The document whose canonical JSON (RFC 8785) is hashed to the nonce of a quote. The kernel draws the boot id when the
/// machine boots, so a quote with it is not from before.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct CpuNonceDocument {
    /// `teebench-cpu/1`.
    pub v: String,
    /// The kernel's boot id.
    pub boot_id: String,
    /// 32 random bytes drawn for the quote, in hex.
    pub salt: String,
}

impl CpuNonceDocument {
    /// The value of `v` in this version.
    pub const VERSION: &str = "teebench-cpu/1";
}

/// What the machine is. Absent means that it could not be read.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "snake_case", default)]
pub struct Environment {
    /// Kernel's boot id.
    pub boot_id: Option<String>,
    /// Kernel release.
    pub kernel: Option<String>,
    /// Operating system's pretty name.
    pub os: Option<String>,
    /// CPU model.
    pub cpu_model: Option<String>,
    /// CPUs visible to the process.
    pub cpu_count: Option<u32>,
    /// Memory in MiB.
    pub memory_mib: Option<u64>,
    /// Isolation type of CPUID leaf 0x4000000C: 0 none, 2 SEV-SNP, 3 TDX.
    pub cpuid_isolation_type: Option<u32>,
    /// NVIDIA driver's version.
    pub driver_version: Option<String>,
    /// CUDA version of the driver.
    pub cuda_version: Option<String>,
    /// OpenSSL's version as the engine's environment has it.
    pub openssl_version: Option<String>,
    /// Engine's name and version.
    pub engine: Option<String>,
    /// GPUs visible to the server.
    pub gpus: Vec<GpuIdentity>,
    /// NVML's answers on confidential computing.
    pub confidential_compute: Option<crate::files::gpu::ConfidentialCompute>,
    /// Protected memory in use by all GPUs, in MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protected_memory_used_mib: Option<u64>,
    /// Bound on an attacker's advantage at which the driver changes the keys of the encrypted link, as the exponent that
    /// NVML gives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_rotation_attacker_advantage: Option<u64>,
    /// What could not be read, and why.
    pub unreadable: BTreeMap<String, String>,
}

/// One GPU's identity, and the limits that it runs within.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "snake_case")]
pub struct GpuIdentity {
    /// `GPU-` and a UUID.
    pub uuid: String,
    /// Product name.
    pub name: String,
    /// VBIOS version.
    pub vbios_version: Option<String>,
    /// Memory in MiB.
    pub memory_total_mib: Option<u64>,
    /// Enforced power limit in milliwatts.
    pub power_limit_mw: Option<u64>,
    /// Power limit that the board comes with, in milliwatts.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub power_limit_default_mw: Option<u64>,
    /// Highest graphics clock in MHz.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub clock_graphics_max_mhz: Option<u32>,
    /// Highest memory clock in MHz.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub clock_memory_max_mhz: Option<u32>,
}

/// The document whose canonical JSON (RFC 8785) is hashed to the nonce. `bench_sha256` and `samples_sha256` are given
/// after the run only, and so bind the evidence to the result file.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct NonceDocument {
    /// `teebench/1`.
    pub v: String,
    /// Before or after the run.
    pub phase: Phase,
    /// Name of the campaign.
    pub campaign: String,
    /// The run's path in the tree.
    pub run: String,
    /// The server's ordinal.
    pub server: u32,
    /// Digest of the plan, in hex.
    pub plan_sha256: String,
    /// 32 random bytes drawn for the run, in hex.
    pub salt: String,
    /// SHA-256 of `bench.json`, in hex.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub bench_sha256: Option<String>,
    /// SHA-256 of that server's `power-*.jsonl` in name order, concatenated, in hex.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub samples_sha256: Option<String>,
}

impl NonceDocument {
    /// The value of `v` in this version.
    pub const VERSION: &str = "teebench/1";
}
