//! A remote verifier's answer and the keys that it is held against: whatever the bytes, they are read or refused, and no
//! answer vouches under a key that nobody has.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use teebench_probe::endorsement::{Eat, Keys};

/// The key of a certificate whose private part was thrown away.
static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let chain = include_str!("../seeds/chain/whole");
    let leaf = chain.split_inclusive("-----END CERTIFICATE-----\n").next().expect("a chain has a first certificate");
    Keys::parse(leaf.as_bytes()).expect("the seed is a certificate on P-384")
});

fuzz_target!(|bytes: &[u8]| {
    let _ = Keys::parse(bytes);
    if let Ok(eat) = Eat::parse(bytes) {
        assert!(eat.vouched(&KEYS, "00", 1_780_272_000).is_err(), "nobody signed this");
    }
});
