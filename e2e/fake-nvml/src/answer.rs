//! From the file to NVML's answers.

use std::ffi::{c_int, c_uint, c_ulonglong};

use nvml_wrapper_sys::bindings::{
    NVML_CC_SYSTEM_ENVIRONMENT_PROD, NVML_CC_SYSTEM_ENVIRONMENT_UNAVAILABLE,
    nvmlClockType_enum_NVML_CLOCK_GRAPHICS as GRAPHICS, nvmlClockType_enum_NVML_CLOCK_MEM as MEMORY,
    nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_INT as UNSIGNED_INT,
    nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_LONG_LONG as UNSIGNED_LONG_LONG,
};
use nvml_wrapper_sys::bindings::{
    nvmlConfComputeMemSizeInfo_t, nvmlConfComputeSystemCaps_t, nvmlConfComputeSystemState_t, nvmlFieldValue_t,
    nvmlMemory_v2_t, nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED as NVML_ERROR_NOT_SUPPORTED,
    nvmlReturn_enum_NVML_SUCCESS as NVML_SUCCESS, nvmlSystemConfComputeSettings_t, nvmlUtilization_t, nvmlValue_t,
};
use teebench_api::files::gpu::{ConfidentialCompute, SimulatedGpu};

use crate::state::{Code, State};

/// Numbers of the fields that the probe asks for, as NVML's header has them.
const TOTAL_ENERGY: c_uint = 83;
const POWER_AVERAGE: c_uint = 185;
const POWER_INSTANT: c_uint = 186;

fn supported<T>(reading: Option<T>) -> Result<T, Code> {
    reading.ok_or(NVML_ERROR_NOT_SUPPORTED)
}

/// `13.0` is 13000 to NVML.
pub(crate) fn cuda_version(state: &State) -> Result<c_int, Code> {
    let (major, minor) = supported(state.file.cuda_version.split_once('.'))?;
    let number = |text: &str| text.parse::<c_int>().map_err(|_| NVML_ERROR_NOT_SUPPORTED);
    Ok(number(major)? * 1000 + number(minor)? * 10)
}

pub(crate) fn memory(gpu: &SimulatedGpu) -> Result<nvmlMemory_v2_t, Code> {
    let total = gpu.memory_total_mib << 20;
    Ok(nvmlMemory_v2_t { version: 0, total, reserved: 0, free: total, used: 0 })
}

pub(crate) fn power_limit(gpu: &SimulatedGpu) -> Result<c_uint, Code> {
    c_uint::try_from(gpu.power_limit_mw).map_err(|_| NVML_ERROR_NOT_SUPPORTED)
}

pub(crate) fn utilization(gpu: &SimulatedGpu) -> Result<nvmlUtilization_t, Code> {
    let (gpu, memory) = (supported(gpu.utilization_gpu_percent)?, supported(gpu.utilization_memory_percent)?);
    Ok(nvmlUtilization_t { gpu, memory })
}

pub(crate) fn clock(gpu: &SimulatedGpu, clock: c_uint) -> Result<c_uint, Code> {
    supported(match clock {
        GRAPHICS => gpu.clock_graphics_mhz,
        MEMORY => gpu.clock_memory_mhz,
        _ => None,
    })
}

pub(crate) fn temperature(gpu: &SimulatedGpu, _sensor: c_uint) -> Result<c_uint, Code> {
    supported(gpu.temperature_celsius)
}

pub(crate) fn throttle_reasons(gpu: &SimulatedGpu) -> Result<c_ulonglong, Code> {
    Ok(gpu.throttle_reasons)
}

pub(crate) fn field(gpu: &SimulatedGpu, value: &mut nvmlFieldValue_t) {
    let (reading, kind) = match value.fieldId {
        POWER_INSTANT => (gpu.power_instant_mw, UNSIGNED_INT),
        POWER_AVERAGE => (gpu.power_average_mw, UNSIGNED_INT),
        TOTAL_ENERGY => (gpu.energy_mj, UNSIGNED_LONG_LONG),
        _ => (None, UNSIGNED_INT),
    };
    value.valueType = kind;
    match reading {
        Some(reading) => (value.nvmlReturn, value.value) = (NVML_SUCCESS, nvmlValue_t { ullVal: reading }),
        None => value.nvmlReturn = NVML_ERROR_NOT_SUPPORTED,
    }
}

pub(crate) fn capabilities(cc: &ConfidentialCompute) -> nvmlConfComputeSystemCaps_t {
    nvmlConfComputeSystemCaps_t { cpuCaps: cc.cpu_capability, gpusCaps: cc.gpus_capability }
}

fn environment(cc: &ConfidentialCompute) -> c_uint {
    if cc.environment_production { NVML_CC_SYSTEM_ENVIRONMENT_PROD } else { NVML_CC_SYSTEM_ENVIRONMENT_UNAVAILABLE }
}

pub(crate) fn cc_state(cc: &ConfidentialCompute) -> nvmlConfComputeSystemState_t {
    nvmlConfComputeSystemState_t {
        environment: environment(cc),
        ccFeature: cc.feature_enabled.into(),
        devToolsMode: cc.dev_tools_enabled.into(),
    }
}

pub(crate) fn settings(cc: &ConfidentialCompute) -> nvmlSystemConfComputeSettings_t {
    nvmlSystemConfComputeSettings_t {
        version: 0,
        environment: environment(cc),
        ccFeature: cc.feature_enabled.into(),
        devToolsMode: cc.dev_tools_enabled.into(),
        multiGpuMode: 0,
    }
}

pub(crate) fn ready(cc: &ConfidentialCompute) -> c_uint {
    cc.gpus_ready.into()
}

pub(crate) fn protected_memory(cc: &ConfidentialCompute) -> nvmlConfComputeMemSizeInfo_t {
    nvmlConfComputeMemSizeInfo_t { protectedMemSizeKib: cc.protected_memory_mib << 10, unprotectedMemSizeKib: 0 }
}
