//! A power file in nvidia-smi's format, with whatever rows: it is read or refused.

#![no_main]

use libfuzzer_sys::fuzz_target;
use teebench_analysis::read::power::parse;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(file) = parse(&String::from_utf8_lossy(bytes)) {
        for sample in file.devices.iter().flat_map(|device| &device.samples) {
            assert!(sample.power_w.is_none_or(|watts| watts >= 0.0), "power is never negative");
        }
    }
});
