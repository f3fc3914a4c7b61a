//! NVML's answers on confidential computing, by the raw symbols.
//!
//! The wrapper knows the CPU capabilities 0 to 2 and errors on 3 (SEV-SNP) and 4 (SEV-SNP with vTOM), which is what
//! confidential machines of today report, and it folds several questions into one.

use std::mem::size_of;
use std::os::raw::c_uint;

use nvml_wrapper::Device;
use nvml_wrapper::error::{NvmlError, nvml_sym, nvml_try};
use nvml_wrapper_sys::bindings::{
    NVML_CC_SYSTEM_DEVTOOLS_MODE_ON, NVML_CC_SYSTEM_ENVIRONMENT_PROD, NVML_CC_SYSTEM_ENVIRONMENT_SIM,
    NVML_CC_SYSTEM_ENVIRONMENT_UNAVAILABLE, NVML_CC_SYSTEM_FEATURE_DISABLED, NVML_CC_SYSTEM_FEATURE_ENABLED,
    NVML_CC_SYSTEM_GPUS_CC_NOT_CAPABLE, NVML_CC_SYSTEM_MULTIGPU_PROTECTED_PCIE, NvmlLib,
    nvmlConfComputeGetKeyRotationThresholdInfo_t, nvmlConfComputeMemSizeInfo_t, nvmlConfComputeSystemCaps_t,
    nvmlConfComputeSystemState_t, nvmlMemory_t, nvmlReturn_t, nvmlSystemConfComputeSettings_t,
};

use super::nvml::answer;
use super::{Answer, ConfidentialAnswers, ConfidentialEnvironment, ConfidentialLink, ConfidentialMode, Unanswered};

/// Asks every question once.
pub(super) fn ask<'a>(lib: &NvmlLib, devices: impl Iterator<Item = &'a Device<'static>>) -> ConfidentialAnswers {
    let capabilities = capabilities(lib);
    let state = state(lib);
    let settings = settings(lib);
    ConfidentialAnswers {
        cpu_capability: capabilities.clone().map(|said| said.cpuCaps),
        gpus_capable: capabilities.map(|said| said.gpusCaps != NVML_CC_SYSTEM_GPUS_CC_NOT_CAPABLE),
        mode: state.clone().and_then(|said| mode(said.ccFeature, settings.ok().map(|settings| settings.multiGpuMode))),
        environment: state.clone().and_then(|said| environment(said.environment)),
        dev_tools: state.map(|said| said.devToolsMode == NVML_CC_SYSTEM_DEVTOOLS_MODE_ON),
        gpus_ready: gpus_ready(lib),
        protected_memory_mib: protected_memory_kib(lib, devices).map(|kib| kib >> 10),
    }
}

fn mode(feature: c_uint, multi_gpu: Option<c_uint>) -> Answer<ConfidentialMode> {
    match (feature, multi_gpu) {
        // Under protected PCIe the driver reports the single-GPU feature as off.
        (_, Some(NVML_CC_SYSTEM_MULTIGPU_PROTECTED_PCIE)) => Ok(ConfidentialMode::ProtectedPcie),
        (NVML_CC_SYSTEM_FEATURE_ENABLED, _) => Ok(ConfidentialMode::On),
        (NVML_CC_SYSTEM_FEATURE_DISABLED, _) => Ok(ConfidentialMode::Off),
        (other, _) => Err(Unanswered::Failed(format!("nvml: unknown feature state {other}"))),
    }
}

fn environment(code: c_uint) -> Answer<ConfidentialEnvironment> {
    match code {
        NVML_CC_SYSTEM_ENVIRONMENT_UNAVAILABLE => Ok(ConfidentialEnvironment::Unavailable),
        NVML_CC_SYSTEM_ENVIRONMENT_SIM => Ok(ConfidentialEnvironment::Simulation),
        NVML_CC_SYSTEM_ENVIRONMENT_PROD => Ok(ConfidentialEnvironment::Production),
        other => Err(Unanswered::Failed(format!("nvml: unknown environment {other}"))),
    }
}

/// Lets NVML fill a struct of plain numbers.
pub(super) fn fill<T>(mut empty: T, call: impl FnOnce(&mut T) -> Result<nvmlReturn_t, NvmlError>) -> Answer<T> {
    answer(call(&mut empty).and_then(nvml_try))?;
    Ok(empty)
}

fn capabilities(lib: &NvmlLib) -> Answer<nvmlConfComputeSystemCaps_t> {
    fill(nvmlConfComputeSystemCaps_t { cpuCaps: 0, gpusCaps: 0 }, |said| {
        let symbol = nvml_sym(lib.nvmlSystemGetConfComputeCapabilities.as_ref())?;
        // SAFETY: the symbol comes from the initialised library, and `said` is the struct that it fills.
        Ok(unsafe { symbol(said) })
    })
}

fn state(lib: &NvmlLib) -> Answer<nvmlConfComputeSystemState_t> {
    fill(nvmlConfComputeSystemState_t { environment: 0, ccFeature: 0, devToolsMode: 0 }, |said| {
        let symbol = nvml_sym(lib.nvmlSystemGetConfComputeState.as_ref())?;
        // SAFETY: the symbol comes from the initialised library, and `said` is the struct that it fills.
        Ok(unsafe { symbol(said) })
    })
}

fn settings(lib: &NvmlLib) -> Answer<nvmlSystemConfComputeSettings_t> {
    // NVML's versioned structs carry their size and, in the top byte, their version.
    let size = u32::try_from(size_of::<nvmlSystemConfComputeSettings_t>()).expect("the struct has five words");
    let empty = nvmlSystemConfComputeSettings_t {
        version: size | (1 << 24),
        environment: 0,
        ccFeature: 0,
        devToolsMode: 0,
        multiGpuMode: 0,
    };
    fill(empty, |said| {
        let symbol = nvml_sym(lib.nvmlSystemGetConfComputeSettings.as_ref())?;
        // SAFETY: the symbol comes from the initialised library, and `said` carries the version of its layout.
        Ok(unsafe { symbol(said) })
    })
}

fn gpus_ready(lib: &NvmlLib) -> Answer<bool> {
    let accepting: c_uint = fill(0, |said| {
        let symbol = nvml_sym(lib.nvmlSystemGetConfComputeGpusReadyState.as_ref())?;
        // SAFETY: the symbol comes from the initialised library, and `said` is the number that it fills.
        Ok(unsafe { symbol(said) })
    })?;
    Ok(accepting != 0)
}

fn protected_memory_kib<'a>(lib: &NvmlLib, devices: impl Iterator<Item = &'a Device<'static>>) -> Answer<u64> {
    devices
        .map(|device| {
            let empty = nvmlConfComputeMemSizeInfo_t { protectedMemSizeKib: 0, unprotectedMemSizeKib: 0 };
            let info = fill(empty, |said| {
                let symbol = nvml_sym(lib.nvmlDeviceGetConfComputeMemSizeInfo.as_ref())?;
                // SAFETY: the handle is one that this library gave, and `said` is the struct that the symbol fills.
                Ok(unsafe { symbol(device.handle(), said) })
            })?;
            Ok(info.protectedMemSizeKib)
        })
        .sum()
}

/// Figures of the encrypted link.
pub(super) fn link<'a>(lib: &NvmlLib, devices: impl Iterator<Item = &'a Device<'static>>) -> ConfidentialLink {
    let used = devices.map(|device| {
        let said = fill(nvmlMemory_t { total: 0, free: 0, used: 0 }, |said| {
            let symbol = nvml_sym(lib.nvmlDeviceGetConfComputeProtectedMemoryUsage.as_ref())?;
            // SAFETY: the handle is one that this library gave, and `said` is the struct that the symbol fills.
            Ok(unsafe { symbol(device.handle(), said) })
        })?;
        Ok(said.used >> 20)
    });
    let size = u32::try_from(size_of::<nvmlConfComputeGetKeyRotationThresholdInfo_t>()).expect("two numbers");
    let empty = nvmlConfComputeGetKeyRotationThresholdInfo_t { version: size | (1 << 24), attackerAdvantage: 0 };
    let threshold = fill(empty, |said| {
        let symbol = nvml_sym(lib.nvmlSystemGetConfComputeKeyRotationThresholdInfo.as_ref())?;
        // SAFETY: the symbol comes from the initialised library, and `said` carries the version of its layout.
        Ok(unsafe { symbol(said) })
    });
    ConfidentialLink {
        protected_memory_used_mib: used.sum(),
        key_rotation_attacker_advantage: threshold.map(|said| said.attackerAdvantage),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(0, None, Ok(ConfidentialMode::Off))]
    #[case(0, Some(0), Ok(ConfidentialMode::Off))]
    #[case(1, None, Ok(ConfidentialMode::On))]
    #[case(1, Some(2), Ok(ConfidentialMode::On))]
    #[case(0, Some(1), Ok(ConfidentialMode::ProtectedPcie))]
    #[case(7, Some(0), Err(()))]
    fn the_mode_joins_the_feature_and_the_multi_gpu_setting(
        #[case] feature: u32,
        #[case] multi_gpu: Option<u32>,
        #[case] expected: Result<ConfidentialMode, ()>,
    ) {
        assert_eq!(mode(feature, multi_gpu).map_err(|_| ()), expected);
    }

    #[rstest]
    #[case(0, Ok(ConfidentialEnvironment::Unavailable))]
    #[case(1, Ok(ConfidentialEnvironment::Simulation))]
    #[case(2, Ok(ConfidentialEnvironment::Production))]
    #[case(3, Err(()))]
    fn an_environment_that_is_not_known_is_not_production(
        #[case] code: u32,
        #[case] expected: Result<ConfidentialEnvironment, ()>,
    ) {
        assert_eq!(environment(code).map_err(|_| ()), expected);
    }
}
