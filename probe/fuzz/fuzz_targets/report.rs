//! A GPU's report: whatever the bytes, it is taken apart or refused.

#![no_main]

use libfuzzer_sys::fuzz_target;
use teebench_probe::attestation::Report;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(report) = Report::parse(bytes) {
        let _ = (report.driver_version(), report.vbios_version(), report.firmware_id());
        assert_eq!(report.signed().len() + report.signature().len(), bytes.len(), "every byte belongs to a part");
    }
});
