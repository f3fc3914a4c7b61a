//! From the file to NVML's answers.

use std::ffi::{c_int, c_uint, c_ulonglong};

use nvml_wrapper_sys::bindings::{
    NVML_CC_SYSTEM_ENVIRONMENT_PROD, NVML_CC_SYSTEM_ENVIRONMENT_UNAVAILABLE,
    nvmlClockType_enum_NVML_CLOCK_GRAPHICS as GRAPHICS, nvmlClockType_enum_NVML_CLOCK_MEM as MEMORY,
    nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_INT as UNSIGNED_INT,
    nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_LONG_LONG as UNSIGNED_LONG_LONG,
};
use nvml_wrapper_sys::bindings::{
    nvmlConfComputeGetKeyRotationThresholdInfo_t, nvmlConfComputeGpuAttestationReport_t,
    nvmlConfComputeGpuCertificate_t, nvmlConfComputeMemSizeInfo_t, nvmlConfComputeSystemCaps_t,
    nvmlConfComputeSystemState_t, nvmlFieldValue_t, nvmlMemory_t, nvmlMemory_v2_t,
    nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED as NVML_ERROR_NOT_SUPPORTED,
    nvmlReturn_enum_NVML_ERROR_UNKNOWN as NVML_ERROR_UNKNOWN, nvmlReturn_enum_NVML_SUCCESS as NVML_SUCCESS,
    nvmlSystemConfComputeSettings_t, nvmlUtilization_t, nvmlValue_t,
};
use teebench_api::files::gpu::{ConfidentialCompute, SimulatedGpu};

use crate::report::Signing;
use crate::state::{Code, Limits, State};

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

fn limits(state: &State) -> Result<Limits, Code> {
    supported(state.limits)
}

pub(crate) fn power_limit_default(state: &State) -> Result<c_uint, Code> {
    limits(state).map(|limits| limits.power_limit_default_mw)
}

pub(crate) fn clock_max(state: &State, clock: c_uint) -> Result<c_uint, Code> {
    let limits = limits(state)?;
    supported(match clock {
        GRAPHICS => Some(limits.clock_graphics_max_mhz),
        MEMORY => Some(limits.clock_memory_max_mhz),
        _ => None,
    })
}

pub(crate) fn protected_memory_used(state: &State) -> Result<nvmlMemory_t, Code> {
    let used = limits(state)?.protected_memory_used_mib << 20;
    let total = state.file.confidential_compute.protected_memory_mib << 20;
    Ok(nvmlMemory_t { total, free: total.saturating_sub(used), used })
}

pub(crate) fn key_rotation(state: &State) -> Result<nvmlConfComputeGetKeyRotationThresholdInfo_t, Code> {
    let attacker_advantage = limits(state)?.key_rotation_attacker_advantage;
    Ok(nvmlConfComputeGetKeyRotationThresholdInfo_t { version: 0, attackerAdvantage: attacker_advantage })
}

/// Fills the report that was asked for with the nonce in it; GPUs whose mode is off answer UNKNOWN, as an H200 does.
pub(crate) fn report(
    state: &State,
    gpu: &SimulatedGpu,
    asked: &mut nvmlConfComputeGpuAttestationReport_t,
) -> Result<(), Code> {
    let signing = signing(state)?;
    let driver_version = &state.file.driver_version;
    let report = signing.report(&asked.nonce, driver_version, &gpu.vbios_version).ok_or(NVML_ERROR_UNKNOWN)?;
    let buffer = asked.attestationReport.get_mut(..report.len()).ok_or(NVML_ERROR_UNKNOWN)?;
    buffer.copy_from_slice(&report);
    asked.attestationReportSize = u32::try_from(report.len()).map_err(|_| NVML_ERROR_UNKNOWN)?;
    Ok(())
}

pub(crate) fn certificates(state: &State, asked: &mut nvmlConfComputeGpuCertificate_t) -> Result<(), Code> {
    let chain = signing(state)?.chain_pem.as_bytes();
    let buffer = asked.attestationCertChain.get_mut(..chain.len()).ok_or(NVML_ERROR_UNKNOWN)?;
    buffer.copy_from_slice(chain);
    asked.attestationCertChainSize = u32::try_from(chain.len()).map_err(|_| NVML_ERROR_UNKNOWN)?;
    Ok(())
}

fn signing(state: &State) -> Result<&Signing, Code> {
    let is_on = state.file.confidential_compute.feature_enabled;
    state.signing.as_ref().filter(|_| is_on).ok_or(NVML_ERROR_UNKNOWN)
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
