//! The file that drives the library, beside it.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_void};
use std::mem::MaybeUninit;

use nvml_wrapper_sys::bindings::{
    nvmlReturn_enum_NVML_ERROR_DRIVER_NOT_LOADED as NVML_ERROR_DRIVER_NOT_LOADED, nvmlReturn_t,
};
use serde::Deserialize;
use teebench_api::files::gpu::GpuFile;

use crate::report::Signing;

/// NVML's code of a failure.
pub(crate) type Code = nvmlReturn_t;

/// What the library answers from.
#[derive(Deserialize)]
pub(crate) struct State {
    /// The machine.
    #[serde(flatten)]
    pub(crate) file: GpuFile,
    /// What every GPU signs with; absent for GPUs that sign nothing.
    #[serde(default)]
    pub(crate) signing: Option<Signing>,
    /// The limits that every GPU runs within, and its encrypted link; absent for those that do not say.
    #[serde(default)]
    pub(crate) limits: Option<Limits>,
    /// What goes wrong, by symbol.
    #[serde(default)]
    faults: BTreeMap<String, Fault>,
}

/// Figures that a simulated GPU does not have.
#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Limits {
    pub(crate) power_limit_default_mw: u32,
    pub(crate) clock_graphics_max_mhz: u32,
    pub(crate) clock_memory_max_mhz: u32,
    pub(crate) protected_memory_used_mib: u64,
    pub(crate) key_rotation_attacker_advantage: u64,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(untagged)]
enum Fault {
    Code(Code),
    Word(Word),
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Word {
    Hang,
}

impl State {
    /// The file as it is at this call; one that is absent or unreadable is a driver that is not loaded.
    pub(crate) fn for_call(symbol: &str) -> Result<Self, Code> {
        let text = own_path().and_then(|path| std::fs::read(format!("{path}.json")).ok());
        let state: Option<Self> = text.and_then(|text| serde_json::from_slice(&text).ok());
        let state = state.ok_or(NVML_ERROR_DRIVER_NOT_LOADED)?;
        match state.faults.get(symbol) {
            None => Ok(state),
            Some(Fault::Code(code)) => Err(*code),
            Some(Fault::Word(Word::Hang)) => loop {
                std::thread::park();
            },
        }
    }
}

/// Where this library was loaded from.
fn own_path() -> Option<String> {
    let mut found = MaybeUninit::<libc::Dl_info>::uninit();
    let own: *const c_void = (State::for_call as *const ()).cast();
    // SAFETY: the address is one of this library's, and `found` takes what the loader tells of it.
    let told = unsafe { libc::dladdr(own, found.as_mut_ptr()) };
    if told == 0 {
        return None;
    }
    // SAFETY: the loader filled it, and the path lives as long as the library is loaded.
    let path = unsafe { CStr::from_ptr(found.assume_init().dli_fname) };
    Some(path.to_str().ok()?.to_owned())
}
