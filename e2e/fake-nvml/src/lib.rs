//! A `libnvidia-ml.so` for tests: the symbols that the probe calls, answered from a file.
//!
//! The file lies beside the library under the library's name with `.json` added, and is read anew at every call. It is
//! the file of a simulated GPU, and may hold `limits`, `signing` (a key and certificates, for reports), and `faults`: by
//! symbol, the code that a call returns, or `"hang"` for one that never returns. A reading that the file gives as null
//! is one that NVML does not support.
//!
//! ```text
//! answer   from a file to an answer, without a pointer
//! report   the report that a GPU signs
//! state    the file, and where it lies
//! ```

mod answer;
mod report;
mod state;

use std::ffi::{c_char, c_int, c_uint, c_ulonglong};

use nvml_wrapper_sys::bindings::{
    nvmlConfComputeGetKeyRotationThresholdInfo_t, nvmlConfComputeGpuAttestationReport_t,
    nvmlConfComputeGpuCertificate_t, nvmlConfComputeMemSizeInfo_t, nvmlConfComputeSystemCaps_t,
    nvmlConfComputeSystemState_t, nvmlDevice_t, nvmlFieldValue_t, nvmlMemory_t, nvmlMemory_v2_t,
    nvmlReturn_enum_NVML_ERROR_INSUFFICIENT_SIZE as NVML_ERROR_INSUFFICIENT_SIZE,
    nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT as NVML_ERROR_INVALID_ARGUMENT,
    nvmlReturn_enum_NVML_SUCCESS as NVML_SUCCESS, nvmlReturn_t, nvmlSystemConfComputeSettings_t, nvmlUtilization_t,
};
use teebench_api::files::gpu::SimulatedGpu;

use state::{Code, State};

/// Answers a call from the file, into the caller's memory.
///
/// # Safety
/// `out` points to memory that holds a `T`.
unsafe fn give<T>(symbol: &str, out: *mut T, answer: impl FnOnce(&State) -> Result<T, Code>) -> nvmlReturn_t {
    let given = State::for_call(symbol).and_then(|state| answer(&state));
    match given {
        Ok(_) if out.is_null() => NVML_ERROR_INVALID_ARGUMENT,
        Ok(value) => {
            // SAFETY: by this function's contract.
            unsafe { out.write(value) };
            NVML_SUCCESS
        }
        Err(code) => code,
    }
}

/// Writes a text and its end into the caller's buffer of `length` bytes.
///
/// # Safety
/// `out` points to `length` bytes.
unsafe fn give_text(
    symbol: &str,
    out: *mut c_char,
    length: c_uint,
    answer: impl FnOnce(&State) -> Result<String, Code>,
) -> nvmlReturn_t {
    match State::for_call(symbol).and_then(|state| answer(&state)) {
        Ok(text) if text.len() >= length as usize => NVML_ERROR_INSUFFICIENT_SIZE,
        Ok(text) => {
            // SAFETY: the text and its end fit the buffer, by the arm above and this function's contract.
            unsafe {
                out.cast::<u8>().copy_from_nonoverlapping(text.as_ptr(), text.len());
                out.add(text.len()).write(0);
            }
            NVML_SUCCESS
        }
        Err(code) => code,
    }
}

/// The GPU of a handle: handles are ordinals from 1, so that none is null.
fn gpu(state: &State, device: nvmlDevice_t) -> Result<&SimulatedGpu, Code> {
    device.addr().checked_sub(1).and_then(|index| state.file.gpus.get(index)).ok_or(NVML_ERROR_INVALID_ARGUMENT)
}

#[unsafe(no_mangle)]
extern "C" fn nvmlInit_v2() -> nvmlReturn_t {
    State::for_call("nvmlInit_v2").map_or_else(|code| code, |_| NVML_SUCCESS)
}

#[unsafe(no_mangle)]
extern "C" fn nvmlShutdown() -> nvmlReturn_t {
    NVML_SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetCount_v2(count: *mut c_uint) -> nvmlReturn_t {
    // SAFETY: as NVML's.
    unsafe { give("nvmlDeviceGetCount_v2", count, |state| Ok(state.file.gpus.len() as c_uint)) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetHandleByIndex_v2(index: c_uint, device: *mut nvmlDevice_t) -> nvmlReturn_t {
    let handle = std::ptr::without_provenance_mut(index as usize + 1);
    // SAFETY: as NVML's.
    unsafe { give("nvmlDeviceGetHandleByIndex_v2", device, |state| gpu(state, handle).map(|_| handle)) }
}

/// Functions that write a text of a GPU.
macro_rules! text_of_gpu {
    ($($symbol:ident: $field:ident),*) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $symbol(device: nvmlDevice_t, text: *mut c_char, length: c_uint) -> nvmlReturn_t {
            // SAFETY: as NVML's.
            unsafe { give_text(stringify!($symbol), text, length, |state| Ok(gpu(state, device)?.$field.clone())) }
        }
    )*};
}

text_of_gpu!(nvmlDeviceGetUUID: uuid, nvmlDeviceGetName: name, nvmlDeviceGetVbiosVersion: vbios_version);

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlSystemGetDriverVersion(text: *mut c_char, length: c_uint) -> nvmlReturn_t {
    // SAFETY: as NVML's.
    unsafe { give_text("nvmlSystemGetDriverVersion", text, length, |state| Ok(state.file.driver_version.clone())) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlSystemGetCudaDriverVersion_v2(version: *mut c_int) -> nvmlReturn_t {
    // SAFETY: as NVML's.
    unsafe { give("nvmlSystemGetCudaDriverVersion_v2", version, answer::cuda_version) }
}

/// Functions that answer for a GPU with one value.
macro_rules! of_gpu {
    ($($symbol:ident($($argument:ident: $kind:ty),*) -> $type:ty: $answer:expr;)*) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $symbol(device: nvmlDevice_t, $($argument: $kind,)* out: *mut $type) -> nvmlReturn_t {
            // SAFETY: as NVML's.
            unsafe { give(stringify!($symbol), out, |state| ($answer)(gpu(state, device)?, $($argument),*)) }
        }
    )*};
}

of_gpu! {
    nvmlDeviceGetMemoryInfo_v2() -> nvmlMemory_v2_t: answer::memory;
    nvmlDeviceGetEnforcedPowerLimit() -> c_uint: answer::power_limit;
    nvmlDeviceGetUtilizationRates() -> nvmlUtilization_t: answer::utilization;
    nvmlDeviceGetClockInfo(clock: c_uint) -> c_uint: answer::clock;
    nvmlDeviceGetTemperature(sensor: c_uint) -> c_uint: answer::temperature;
    nvmlDeviceGetCurrentClocksThrottleReasons() -> c_ulonglong: answer::throttle_reasons;
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetFieldValues(
    device: nvmlDevice_t,
    count: c_int,
    values: *mut nvmlFieldValue_t,
) -> nvmlReturn_t {
    let state = match State::for_call("nvmlDeviceGetFieldValues") {
        Ok(state) => state,
        Err(code) => return code,
    };
    let (Ok(gpu), Ok(count)) = (gpu(&state, device), usize::try_from(count)) else {
        return NVML_ERROR_INVALID_ARGUMENT;
    };
    // SAFETY: as NVML's, the caller passes so many values, each with its field's id.
    let values = unsafe { std::slice::from_raw_parts_mut(values, count) };
    values.iter_mut().for_each(|value| answer::field(gpu, value));
    NVML_SUCCESS
}

/// Functions that answer for the machine with one value.
macro_rules! of_machine {
    ($($symbol:ident -> $type:ty: $answer:expr;)*) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $symbol(out: *mut $type) -> nvmlReturn_t {
            // SAFETY: as NVML's.
            unsafe { give(stringify!($symbol), out, |state| Ok($answer(&state.file.confidential_compute))) }
        }
    )*};
}

of_machine! {
    nvmlSystemGetConfComputeCapabilities -> nvmlConfComputeSystemCaps_t: answer::capabilities;
    nvmlSystemGetConfComputeState -> nvmlConfComputeSystemState_t: answer::cc_state;
    nvmlSystemGetConfComputeSettings -> nvmlSystemConfComputeSettings_t: answer::settings;
    nvmlSystemGetConfComputeGpusReadyState -> c_uint: answer::ready;
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetConfComputeMemSizeInfo(
    device: nvmlDevice_t,
    info: *mut nvmlConfComputeMemSizeInfo_t,
) -> nvmlReturn_t {
    // SAFETY: as NVML's.
    unsafe {
        give("nvmlDeviceGetConfComputeMemSizeInfo", info, |state| {
            gpu(state, device)?;
            Ok(answer::protected_memory(&state.file.confidential_compute))
        })
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetPowerManagementDefaultLimit(
    device: nvmlDevice_t,
    limit: *mut c_uint,
) -> nvmlReturn_t {
    // SAFETY: as NVML's.
    unsafe {
        give("nvmlDeviceGetPowerManagementDefaultLimit", limit, |state| {
            gpu(state, device)?;
            answer::power_limit_default(state)
        })
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetMaxClockInfo(device: nvmlDevice_t, kind: c_uint, clock: *mut c_uint) -> nvmlReturn_t {
    // SAFETY: as NVML's.
    unsafe {
        give("nvmlDeviceGetMaxClockInfo", clock, |state| {
            gpu(state, device)?;
            answer::clock_max(state, kind)
        })
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetConfComputeProtectedMemoryUsage(
    device: nvmlDevice_t,
    memory: *mut nvmlMemory_t,
) -> nvmlReturn_t {
    // SAFETY: as NVML's.
    unsafe {
        give("nvmlDeviceGetConfComputeProtectedMemoryUsage", memory, |state| {
            gpu(state, device)?;
            answer::protected_memory_used(state)
        })
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlSystemGetConfComputeKeyRotationThresholdInfo(
    info: *mut nvmlConfComputeGetKeyRotationThresholdInfo_t,
) -> nvmlReturn_t {
    // SAFETY: as NVML's.
    unsafe { give("nvmlSystemGetConfComputeKeyRotationThresholdInfo", info, answer::key_rotation) }
}

/// Changes what the caller passed, from the file.
///
/// # Safety
/// `out` is null or points to a `T` that the caller has filled as NVML demands.
unsafe fn complete<T>(
    symbol: &str,
    out: *mut T,
    answer: impl FnOnce(&State, &mut T) -> Result<(), Code>,
) -> nvmlReturn_t {
    // SAFETY: by this function's contract.
    let Some(out) = (unsafe { out.as_mut() }) else { return NVML_ERROR_INVALID_ARGUMENT };
    State::for_call(symbol).and_then(|state| answer(&state, out)).map_or_else(|code| code, |()| NVML_SUCCESS)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetConfComputeGpuAttestationReport(
    device: nvmlDevice_t,
    report: *mut nvmlConfComputeGpuAttestationReport_t,
) -> nvmlReturn_t {
    // SAFETY: as NVML's.
    unsafe {
        complete("nvmlDeviceGetConfComputeGpuAttestationReport", report, |state, asked| {
            answer::report(state, gpu(state, device)?, asked)
        })
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetConfComputeGpuCertificate(
    device: nvmlDevice_t,
    certificates: *mut nvmlConfComputeGpuCertificate_t,
) -> nvmlReturn_t {
    // SAFETY: as NVML's.
    unsafe {
        complete("nvmlDeviceGetConfComputeGpuCertificate", certificates, |state, asked| {
            gpu(state, device)?;
            answer::certificates(state, asked)
        })
    }
}
