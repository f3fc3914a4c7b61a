//! A chain of certificates: whatever the bytes, it is read or refused, and none but the pinned root's is believed.

#![no_main]

use libfuzzer_sys::fuzz_target;
use teebench_probe::attestation::Chain;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(chain) = Chain::parse(bytes) {
        let _ = (chain.valid_at(1_780_272_000), chain.firmware_id(), chain.leaf_signed(b"message", &[1; 96]));
        assert!(chain.issued_under(&[[0; 32]]).is_err(), "no certificate has this digest");
    }
});
