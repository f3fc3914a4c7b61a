//! Readings from the driver's library, NVML.

use std::path::Path;

use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor};
use nvml_wrapper::enums::device::SampleValue;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::struct_wrappers::device::FieldValueSample;
use nvml_wrapper::structs::device::FieldId;
use nvml_wrapper::sys_exports::field_id::{
    NVML_FI_DEV_POWER_AVERAGE, NVML_FI_DEV_POWER_INSTANT, NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION,
};
use nvml_wrapper::{Device, cuda_driver_version_major, cuda_driver_version_minor};
use teebench_api::files::evidence::GpuIdentity;

use super::visible::visible_gpus;
use super::{
    Answer, ConfidentialAnswers, ConfidentialLink, FastReading, GpuSource, Inventory, SignedReport, SlowReading,
    SourceKind, Unanswered, nvml_cc, nvml_report,
};

/// NVML cannot be used.
#[derive(thiserror::Error, Debug)]
pub enum NvmlOpenError {
    /// The library cannot be loaded or started.
    #[error("nvml library {library}: cannot be loaded")]
    Load {
        /// Path, or the name that the loader looked for.
        library: String,
        /// The cause.
        #[source]
        source: NvmlError,
    },
    /// The GPUs cannot be listed.
    #[error("nvml: the GPUs cannot be listed")]
    List(#[source] NvmlError),
    /// `CUDA_VISIBLE_DEVICES` names something that is not a whole GPU.
    #[error("nvml: {0}")]
    Visible(String),
    /// There is no GPU, or none that the engine would see.
    #[error("nvml: no GPU is visible (of {0} in the machine)")]
    NoGpu(usize),
}

/// The driver's library and the GPUs that the engine can see.
pub struct Nvml {
    nvml: &'static nvml_wrapper::Nvml,
    devices: Vec<(String, Device<'static>)>,
}

impl Nvml {
    /// Loads and starts the library, and finds the GPUs; see [`super::open`] for the arguments.
    ///
    /// # Errors
    /// When there is no library, no driver, or no visible GPU.
    pub fn open(library: Option<&Path>, visible: Option<&str>) -> Result<Self, NvmlOpenError> {
        let mut builder = nvml_wrapper::Nvml::builder();
        if let Some(path) = library {
            builder.lib_path(path.as_os_str());
        }
        let nvml = builder.init().map_err(|source| NvmlOpenError::Load {
            library: library.map_or_else(|| "libnvidia-ml.so.1".to_owned(), |path| path.display().to_string()),
            source,
        })?;
        // The library stays loaded until the process ends: sampling threads may be inside a call at any time, and
        // shutting it down below them is undefined.
        let nvml: &'static nvml_wrapper::Nvml = Box::leak(Box::new(nvml));

        let count = nvml.device_count().map_err(NvmlOpenError::List)?;
        let mut all = Vec::new();
        for index in 0..count {
            match nvml.device_by_index(index).and_then(|device| Ok((device.uuid()?, device))) {
                Ok(named) => all.push(named),
                // A container sees the count of the machine's GPUs, yet may open only its own.
                Err(NvmlError::NoPermission) => {}
                Err(error) => return Err(NvmlOpenError::List(error)),
            }
        }
        let uuids: Vec<String> = all.iter().map(|(uuid, _)| uuid.clone()).collect();
        let positions = visible_gpus(&uuids, visible).map_err(NvmlOpenError::Visible)?;
        if positions.is_empty() {
            return Err(NvmlOpenError::NoGpu(uuids.len()));
        }
        let mut all: Vec<_> = all.into_iter().map(Some).collect();
        let devices = positions.into_iter().filter_map(|position| all[position].take()).collect();
        Ok(Self { nvml, devices })
    }

    fn device(&self, uuid: &str) -> Answer<&Device<'static>> {
        let device = self.devices.iter().find(|(name, _)| name == uuid).map(|(_, device)| device);
        device.ok_or_else(|| Unanswered::Failed(format!("nvml: no gpu {uuid}")))
    }
}

impl GpuSource for Nvml {
    fn kind(&self) -> SourceKind {
        SourceKind::Nvml
    }

    fn uuids(&self) -> Vec<String> {
        self.devices.iter().map(|(uuid, _)| uuid.clone()).collect()
    }

    fn inventory(&self) -> Inventory {
        let mut inventory = Inventory::default();
        inventory.driver_version = inventory.note("driver_version", answer(self.nvml.sys_driver_version()));
        inventory.cuda_version = inventory
            .note("cuda_version", answer(self.nvml.sys_cuda_driver_version()))
            .map(|version| format!("{}.{}", cuda_driver_version_major(version), cuda_driver_version_minor(version)));
        for (uuid, device) in &self.devices {
            let field = |name: &str| format!("gpu {uuid}: {name}");
            let identity = GpuIdentity {
                uuid: uuid.clone(),
                name: inventory.note(field("name"), answer(device.name())).unwrap_or_default(),
                vbios_version: inventory.note(field("vbios_version"), answer(device.vbios_version())),
                memory_total_mib: inventory
                    .note(field("memory_total"), answer(device.memory_info()))
                    .map(|memory| memory.total >> 20),
                power_limit_mw: inventory
                    .note(field("power_limit"), answer(device.enforced_power_limit()))
                    .map(u64::from),
                power_limit_default_mw: inventory
                    .note(field("power_limit_default"), answer(device.power_management_limit_default()))
                    .map(u64::from),
                clock_graphics_max_mhz: inventory
                    .note(field("clock_graphics_max"), answer(device.max_clock_info(Clock::Graphics))),
                clock_memory_max_mhz: inventory
                    .note(field("clock_memory_max"), answer(device.max_clock_info(Clock::Memory))),
            };
            inventory.gpus.push(identity);
        }
        inventory
    }

    fn fast(&self, uuid: &str, counter: bool) -> FastReading {
        let fields =
            [NVML_FI_DEV_POWER_INSTANT, NVML_FI_DEV_POWER_AVERAGE, NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION].map(FieldId);
        let asked = if counter { &fields[..] } else { &fields[..2] };
        match self.device(uuid).and_then(|device| answer(device.field_values_for(asked))) {
            Ok(values) => {
                let mut values = values.into_iter().map(field_value);
                let mut next = || values.next().unwrap_or(Err(Unanswered::NotSupported));
                FastReading { power_instant_mw: next(), power_average_mw: next(), energy_mj: counter.then(next) }
            }
            Err(reason) => FastReading::failed(&reason, counter),
        }
    }

    fn slow(&self, uuid: &str) -> SlowReading {
        let device = match self.device(uuid) {
            Ok(device) => device,
            Err(reason) => return SlowReading::failed(&reason),
        };
        let utilization = answer(device.utilization_rates());
        SlowReading {
            utilization_gpu_percent: utilization.clone().map(|rates| rates.gpu),
            utilization_memory_percent: utilization.map(|rates| rates.memory),
            clock_graphics_mhz: answer(device.clock_info(Clock::Graphics)),
            clock_memory_mhz: answer(device.clock_info(Clock::Memory)),
            temperature_celsius: answer(device.temperature(TemperatureSensor::Gpu)),
            throttle_reasons: answer(device.current_throttle_reasons()).map(|reasons| reasons.bits()),
        }
    }

    fn confidential_compute(&self) -> ConfidentialAnswers {
        nvml_cc::ask(self.nvml.lib(), self.devices.iter().map(|(_, device)| device))
    }

    fn signed_report(&self, uuid: &str, nonce_sha256: &str) -> Answer<SignedReport> {
        nvml_report::ask(self.nvml.lib(), self.device(uuid)?, nonce_sha256)
    }

    fn confidential_link(&self) -> ConfidentialLink {
        nvml_cc::link(self.nvml.lib(), self.devices.iter().map(|(_, device)| device))
    }
}

/// NVML's error as a reason. A symbol that an older driver lacks is a question that it cannot answer.
pub(super) fn answer<T>(result: Result<T, NvmlError>) -> Answer<T> {
    result.map_err(|error| match error {
        NvmlError::NotSupported | NvmlError::FailedToLoadSymbol(_) => Unanswered::NotSupported,
        other => Unanswered::Failed(format!("nvml: {other}")),
    })
}

fn field_value(sample: Result<FieldValueSample, NvmlError>) -> Answer<u64> {
    match answer(sample.and_then(|sample| sample.value))? {
        SampleValue::U32(value) => Ok(u64::from(value)),
        SampleValue::U64(value) => Ok(value),
        SampleValue::I64(value) => {
            u64::try_from(value).map_err(|_| Unanswered::Failed(format!("nvml: negative value {value}")))
        }
        SampleValue::F64(value) => Err(Unanswered::Failed(format!("nvml: {value} where a whole number belongs"))),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(NvmlError::NotSupported, Unanswered::NotSupported)]
    #[case(NvmlError::FailedToLoadSymbol("x".to_owned()), Unanswered::NotSupported)]
    #[case(
        NvmlError::Unknown,
        Unanswered::Failed("nvml: an internal driver error occurred".to_owned())
    )]
    fn a_missing_feature_and_a_failed_call_are_told_apart(#[case] error: NvmlError, #[case] expected: Unanswered) {
        assert_eq!(answer::<()>(Err(error)), Err(expected));
    }

    #[rstest]
    #[case(SampleValue::U32(7), Ok(7))]
    #[case(SampleValue::U64(8), Ok(8))]
    #[case(SampleValue::I64(9), Ok(9))]
    #[case(SampleValue::I64(-9), Err(()))]
    #[case(SampleValue::F64(1.5), Err(()))]
    fn a_field_is_a_whole_number_or_a_failure(#[case] value: SampleValue, #[case] expected: Result<u64, ()>) {
        let sample = FieldValueSample { field: FieldId(186), timestamp: 0, latency: 0, value: Ok(value) };
        assert_eq!(field_value(Ok(sample)).map_err(|_| ()), expected);
    }
}
