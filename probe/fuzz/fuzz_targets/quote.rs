//! A TPM's quote, its signature, and evidence of a CPU as a whole: whatever the bytes, they are taken apart or refused,
//! and nothing is believed that nobody signed.

#![no_main]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use teebench_api::files::evidence::CpuEvidence;
use teebench_probe::attestation::Root;
use teebench_probe::cpu::{AttestationKey, Quote, verify};

static KEYS: LazyLock<[AttestationKey; 2]> = LazyLock::new(|| {
    let rsa = AttestationKey::rsa(&[0xc5; 256], &[1, 0, 1]).expect("an odd modulus of 2048 bits");
    // The base point of P-256.
    let x = [
        0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc, 0xe6, 0xe5, 0x63, 0xa4, 0x40, 0xf2, 0x77, 0x03, 0x7d,
        0x81, 0x2d, 0xeb, 0x33, 0xa0, 0xf4, 0xa1, 0x39, 0x45, 0xd8, 0x98, 0xc2, 0x96,
    ];
    let y = [
        0x4f, 0xe3, 0x42, 0xe2, 0xfe, 0x1a, 0x7f, 0x9b, 0x8e, 0xe7, 0xeb, 0x4a, 0x7c, 0x0f, 0x9e, 0x16, 0x2b, 0xce, 0x33,
        0x57, 0x6b, 0x31, 0x5e, 0xce, 0xcb, 0xb6, 0x40, 0x68, 0x37, 0xbf, 0x51, 0xf5,
    ];
    [rsa, AttestationKey::p256(&x, &y).expect("a point of the curve")]
});

fuzz_target!(|bytes: &[u8]| {
    if let Ok(quote) = Quote::parse(bytes) {
        assert!(!quote.attests(&BTreeMap::new()), "no registers are never attested");
    }
    for key in KEYS.iter() {
        let _ = key.signed(b"message", bytes);
    }
    if let Ok(evidence) = serde_json::from_slice::<CpuEvidence>(bytes) {
        assert!(verify(&evidence, &evidence.document.boot_id, Root::Vendor).is_err(), "signed by nobody");
    }
});
