//! The GPU's signed report and the certificates of its key, by the raw symbols: the wrapper has no call that passes a
//! nonce on.

use nvml_wrapper::Device;
use nvml_wrapper::error::nvml_sym;
use nvml_wrapper_sys::bindings::{
    NVML_CC_GPU_ATTESTATION_REPORT_SIZE, NVML_CC_GPU_CEC_ATTESTATION_REPORT_SIZE, NVML_GPU_ATTESTATION_CERT_CHAIN_SIZE,
    NvmlLib, nvmlConfComputeGpuAttestationReport_t, nvmlConfComputeGpuCertificate_t,
};

use super::nvml_cc::fill;
use super::{Answer, SignedReport, Unanswered};

/// Has the GPU sign the nonce, 32 bytes in hex.
pub(super) fn ask(lib: &NvmlLib, device: &Device<'static>, nonce_sha256: &str) -> Answer<SignedReport> {
    let nonce = hex::decode(nonce_sha256).ok().and_then(|bytes| bytes.try_into().ok());
    let nonce = nonce.ok_or_else(|| Unanswered::Failed(format!("nonce {nonce_sha256:?}: not 32 bytes in hex")))?;
    Ok(SignedReport { report: report(lib, device, nonce)?, chain: chain(lib, device)? })
}

fn report(lib: &NvmlLib, device: &Device<'static>, nonce: [u8; 32]) -> Answer<Vec<u8>> {
    let empty = nvmlConfComputeGpuAttestationReport_t {
        isCecAttestationReportPresent: 0,
        attestationReportSize: 0,
        cecAttestationReportSize: 0,
        nonce,
        attestationReport: [0; NVML_CC_GPU_ATTESTATION_REPORT_SIZE as usize],
        cecAttestationReport: [0; NVML_CC_GPU_CEC_ATTESTATION_REPORT_SIZE as usize],
    };
    let said = fill(empty, |said| {
        let symbol = nvml_sym(lib.nvmlDeviceGetConfComputeGpuAttestationReport.as_ref())?;
        // SAFETY: the handle is one that this library gave, and `said` is the struct that the symbol fills.
        Ok(unsafe { symbol(device.handle(), said) })
    })?;
    first(&said.attestationReport, said.attestationReportSize, "attestation report")
}

fn chain(lib: &NvmlLib, device: &Device<'static>) -> Answer<Vec<u8>> {
    let empty = nvmlConfComputeGpuCertificate_t {
        certChainSize: 0,
        attestationCertChainSize: 0,
        certChain: [0; 4096],
        attestationCertChain: [0; NVML_GPU_ATTESTATION_CERT_CHAIN_SIZE as usize],
    };
    let said = fill(empty, |said| {
        let symbol = nvml_sym(lib.nvmlDeviceGetConfComputeGpuCertificate.as_ref())?;
        // SAFETY: the handle is one that this library gave, and `said` is the struct that the symbol fills.
        Ok(unsafe { symbol(device.handle(), said) })
    })?;
    first(&said.attestationCertChain, said.attestationCertChainSize, "certificate chain")
}

/// So many bytes of a buffer as the driver says that it filled.
fn first(buffer: &[u8], size: u32, what: &str) -> Answer<Vec<u8>> {
    let filled = usize::try_from(size).ok().and_then(|size| buffer.get(..size)).filter(|filled| !filled.is_empty());
    let nonsense = || Unanswered::Failed(format!("nvml: {what} of {size} bytes in a buffer of {}", buffer.len()));
    filled.map(<[u8]>::to_vec).ok_or_else(nonsense)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::filled_in_part(2, Some(vec![1, 2]))]
    #[case::full(4, Some(vec![1, 2, 3, 4]))]
    #[case::nothing(0, None)]
    #[case::more_than_there_is(5, None)]
    #[case::nonsense(u32::MAX, None)]
    fn a_size_that_the_buffer_cannot_have_is_a_failure(#[case] size: u32, #[case] expected: Option<Vec<u8>>) {
        assert_eq!(first(&[1, 2, 3, 4], size, "report").ok(), expected);
    }
}
