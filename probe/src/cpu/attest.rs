//! `teebench probe attest-cpu`: has this machine's CPU and its virtual TPM sign what they are, once since it booted.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use teebench_api::files::evidence::{CpuEvidence, CpuNonceDocument};

use super::quote::Quote;
use super::tpm::{Quoted, Tpm};
use super::{quote_nonce, verify};
use crate::attestation::{Root, RootError};
use crate::cli::bad_input;
use crate::clock;
use crate::environment::BOOT_ID;

/// Where Azure's machines have the layer's report and the key that it vouches for.
const HCL_REPORT: u32 = 0x0140_0001;
const ATTESTATION_KEY: u32 = 0x8100_0003;
/// Where Azure's machines learn their CPU's certificates.
const AZURE: &str = "http://169.254.169.254/metadata/THIM/amd/certification";
const AZURE_TIMEOUT: Duration = Duration::from_secs(10);
/// A register that changes between the quote and its reading makes another quote necessary.
const ATTEMPTS: usize = 5;

/// Has this machine's CPU and its virtual TPM sign what they are; prints JSON.
#[derive(clap::Args, Clone, Debug)]
#[command(before_help = "Example:\n  teebench probe attest-cpu --certificates azure > cpu.json")]
pub struct AttestCpuArgs {
    /// The TPM: a device, or the socket of one in software.
    #[arg(long, default_value = "/dev/tpmrm0", value_name = "PATH")]
    tpm: PathBuf,
    /// Certificates of the key that signs the CPU's reports, in PEM, leaf first; `azure` asks the machine's own metadata
    /// service. Without them the report is taken, and proves nothing until they are given.
    #[arg(long, value_name = "FILE|azure")]
    certificates: Option<String>,
    /// 32 bytes in hex that the quote's nonce is made with; without it, random ones.
    #[arg(long, value_name = "HEX")]
    salt: Option<String>,
    /// File with the kernel's boot id.
    #[arg(long, default_value = BOOT_ID, value_name = "FILE")]
    boot_id: PathBuf,
    /// SHA-256 of a root certificate for tests, in hex, in place of AMD's pinned ones; what is taken is marked as a test.
    #[arg(long, value_name = "SHA256")]
    cpu_test_root: Option<String>,
}

/// Takes the evidence and prints it. Evidence that does not verify is printed as well, with a warning.
///
/// # Errors
/// When the machine does not give it.
pub(crate) fn run(args: &AttestCpuArgs) -> anyhow::Result<ExitCode> {
    let root: Result<Root, RootError> = Root::from_test_hex(args.cpu_test_root.as_deref());
    let root = match root {
        Ok(root) => root,
        Err(error) => return Ok(bad_input(error)),
    };
    let document = match document(args) {
        Ok(document) => document,
        Err(error) => return Ok(bad_input(error)),
    };
    let certificates = match args.certificates.as_deref() {
        None => String::new(),
        Some("azure") => azure(AZURE).context("certificates: the metadata service gives none")?,
        Some(file) => std::fs::read_to_string(file).with_context(|| format!("certificates: {file} cannot be read"))?,
    };
    let evidence = take(&args.tpm, document, certificates, root)?;
    if let Err(error) = verify(&evidence, &evidence.document.boot_id, root) {
        tracing::warn!("what was taken does not verify: {error}");
    }
    let text = serde_json::to_string(&evidence)? + "\n";
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn document(args: &AttestCpuArgs) -> anyhow::Result<CpuNonceDocument> {
    let boot_id = std::fs::read_to_string(&args.boot_id)
        .with_context(|| format!("boot-id: {} cannot be read", args.boot_id.display()))?;
    let salt = match &args.salt {
        Some(salt) => salt.clone(),
        None => hex::encode(random().context("no random bytes can be had")?),
    };
    let document =
        CpuNonceDocument { v: CpuNonceDocument::VERSION.to_owned(), boot_id: boot_id.trim().to_owned(), salt };
    quote_nonce(&document).context("salt: give 32 bytes in lower-case hex")?;
    Ok(document)
}

fn random() -> std::io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
    Ok(bytes)
}

/// Has the machine with this TPM sign what it is, with the nonce of a document. Evidence is given whether or not it
/// verifies.
///
/// # Errors
/// The TPM does not give it.
pub fn take(
    path: &Path,
    document: CpuNonceDocument,
    certificates_pem: String,
    root: Root,
) -> anyhow::Result<CpuEvidence> {
    let mut tpm = Tpm::open(path).with_context(|| format!("tpm: {}", path.display()))?;
    let hcl_report = tpm.nv_read(HCL_REPORT)?;
    let nonce = quote_nonce(&document)?;
    for _ in 0..ATTEMPTS {
        let Quoted { quote, signature } = tpm.quote(ATTESTATION_KEY, &nonce)?;
        let registers = tpm.registers()?;
        if !Quote::parse(&quote)?.attests(&registers) {
            continue;
        }
        return Ok(CpuEvidence {
            schema_version: 1,
            document,
            taken_unix_ns: clock::unix_ns(),
            hcl_report_base64: STANDARD.encode(hcl_report),
            quote_base64: STANDARD.encode(quote),
            signature_base64: STANDARD.encode(signature),
            pcrs_sha256: registers,
            certificates_pem,
            test_root_sha256: root.test_sha256(),
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        });
    }
    anyhow::bail!("the platform's registers changed at each of {ATTEMPTS} quotes")
}

/// The certificates as Azure's metadata service gives them.
fn azure(url: &str) -> anyhow::Result<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer {
        vcek_cert: String,
        certificate_chain: String,
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let client = reqwest::Client::builder().no_proxy().timeout(AZURE_TIMEOUT).build()?;
    let answer: Answer = runtime.block_on(async {
        client.get(url).header("Metadata", "true").send().await?.error_for_status()?.json().await
    })?;
    Ok(answer.vcek_cert + &answer.certificate_chain)
}
