//! A reference manifest: whatever the bytes, it is read or refused, and what it expects is bounded.

#![no_main]

use libfuzzer_sys::fuzz_target;
use teebench_probe::endorsement::Rim;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(rim) = Rim::parse(bytes) {
        assert!(!rim.expected.is_empty() && rim.expected.keys().all(|index| *index < 255), "a report has such blocks");
        assert!(rim.expected.values().all(|values| !values.is_empty()), "something is expected");
    }
});
