//! The library with a file of its own, for one test.

#![allow(dead_code, reason = "each test program uses a part")]

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use teebench_probe::gpu::Nvml;
use tempfile::TempDir;

/// A copy of the library of its own, with the file that drives it.
pub struct Driver {
    folder: TempDir,
}

impl Driver {
    pub fn new(change: impl FnOnce(&mut Value)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let test = std::env::current_exe().unwrap();
        let built = test.parent().unwrap().join("libteebench_fake_nvml.so");
        let driver = Self { folder };
        fs::copy(&built, driver.library()).unwrap_or_else(|error| panic!("{}: {error}", built.display()));
        let mut file = machine();
        change(&mut file);
        driver.say(&file);
        driver
    }

    pub fn library(&self) -> PathBuf {
        self.folder.path().join("libnvidia-ml.so.1")
    }

    pub fn say(&self, file: &Value) {
        let (part, whole) = (self.folder.path().join("part"), self.folder.path().join("libnvidia-ml.so.1.json"));
        fs::write(&part, file.to_string()).unwrap();
        fs::rename(part, whole).unwrap();
    }

    /// A driver too old for a symbol: the name is gone from the library's table.
    pub fn without(self, symbol: &str) -> Self {
        let mut bytes = fs::read(self.library()).unwrap();
        let name = format!("{symbol}\0");
        let places: Vec<usize> =
            bytes.windows(name.len()).enumerate().filter(|(_, at)| *at == name.as_bytes()).map(|(at, _)| at).collect();
        assert!(!places.is_empty(), "{symbol} is not in the library");
        for at in places {
            bytes[at] = b'x';
        }
        fs::write(self.library(), bytes).unwrap();
        self
    }

    pub fn open(&self) -> Nvml {
        Nvml::open(Some(&self.library()), None).unwrap()
    }
}

/// UUID of the only GPU in [`machine`].
pub const UUID: &str = "GPU-00000000-0000-0000-0000-000000000001";

/// A confidential machine on Azure: capability 4, which the usual wrapper refuses.
pub fn machine() -> Value {
    json!({
        "version": 1, "driverVersion": "580.159.04", "cudaVersion": "13.0",
        "confidentialCompute": {
            "cpuCapability": 4, "gpusCapability": 1, "featureEnabled": true, "environmentProduction": true,
            "devToolsEnabled": false, "gpusReady": true, "protectedMemoryMib": 95_000, "cpuidIsolationType": 2
        },
        "gpus": [{
            "uuid": UUID, "name": "NVIDIA H100 NVL", "vbiosVersion": "96.00.9F.00.01", "memoryTotalMib": 95_830,
            "powerLimitMw": 400_000, "updatedUnixUs": 0, "powerInstantMw": 300_250, "powerAverageMw": 299_000,
            "energyMj": 5_000_000_000_u64, "utilizationGpuPercent": 97, "utilizationMemoryPercent": 61,
            "clockGraphicsMhz": 1980, "clockMemoryMhz": 2619, "temperatureCelsius": 41, "throttleReasons": 4
        }]
    })
}
