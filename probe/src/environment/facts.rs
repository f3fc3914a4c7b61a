//! Kernel, operating system, CPU, memory and OpenSSL, from files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use teebench_api::files::evidence::Environment;

use super::openssl;

/// Where Linux shows the id that it drew when it booted.
pub const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Where the facts lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// The proc file system.
    pub proc: PathBuf,
    /// The kernel's boot id.
    pub boot_id: PathBuf,
    /// Description of the operating system.
    pub os_release: PathBuf,
    /// Folders in which OpenSSL's library may lie, the first match counts.
    pub libraries: Vec<PathBuf>,
}

impl Default for Paths {
    fn default() -> Self {
        let libraries =
            ["/usr/lib/x86_64-linux-gnu", "/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib"];
        Self {
            proc: PathBuf::from("/proc"),
            boot_id: PathBuf::from(BOOT_ID),
            os_release: PathBuf::from("/etc/os-release"),
            libraries: libraries.map(PathBuf::from).to_vec(),
        }
    }
}

/// Fills in what the files tell, and the reasons for what they do not.
pub(super) fn read(paths: &Paths, environment: &mut Environment) {
    let in_proc = |name: &str| text(&paths.proc.join(name));
    let unreadable = &mut environment.unreadable;
    environment.boot_id = note(unreadable, "boot_id", text(&paths.boot_id));
    environment.kernel = note(unreadable, "kernel", in_proc("sys/kernel/osrelease"));
    environment.os = note(unreadable, "os", text(&paths.os_release).and_then(|text| pretty_name(&text)));
    let cpu_model = in_proc("cpuinfo").and_then(|text| field(&text, "model name", ':'));
    environment.cpu_model = note(unreadable, "cpu_model", cpu_model);
    environment.cpu_count = note(unreadable, "cpu_count", cpu_count());
    let memory = in_proc("meminfo").and_then(|text| field(&text, "MemTotal", ':'));
    environment.memory_mib = note(unreadable, "memory", memory.and_then(|size| mebibytes(&size)));
    environment.openssl_version = note(unreadable, "openssl_version", openssl::version(&paths.libraries));
}

fn note<T>(unreadable: &mut BTreeMap<String, String>, name: &str, fact: Result<T, String>) -> Option<T> {
    fact.map_err(|reason| unreadable.insert(name.to_owned(), reason)).ok()
}

/// CPUs that this process may run on, which a container's quota and affinity narrow.
fn cpu_count() -> Result<u32, String> {
    let count = std::thread::available_parallelism().map_err(|error| error.to_string())?;
    u32::try_from(count.get()).map_err(|error| error.to_string())
}

fn text(path: &Path) -> Result<String, String> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

/// The first value of a `name : value` line.
fn field(text: &str, name: &str, separator: char) -> Result<String, String> {
    let mut lines = text.lines().filter_map(|line| line.split_once(separator));
    let found = lines.find(|(key, _)| key.trim() == name);
    found.map(|(_, value)| value.trim().to_owned()).ok_or_else(|| format!("there is no line {name:?}"))
}

fn pretty_name(text: &str) -> Result<String, String> {
    field(text, "PRETTY_NAME", '=').map(|name| name.trim_matches(['"', '\'']).to_owned())
}

/// MiB of a size as `/proc/meminfo` gives it: `263842236 kB`.
fn mebibytes(size: &str) -> Result<u64, String> {
    let kibibytes = size.strip_suffix(" kB").and_then(|number| number.parse::<u64>().ok());
    kibibytes.map(|size| size >> 10).ok_or_else(|| format!("{size:?} is not a size in kB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(folder: &Path) -> Paths {
        let put = |name: &str, text: &str| {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        put("proc/sys/kernel/random/boot_id", "6f1e6a0e-9d1b-4d0c-8f8e-0c9c0b7a1d2e\n");
        put("proc/sys/kernel/osrelease", "6.8.0-1030-azure\n");
        put("proc/cpuinfo", "processor\t: 0\nmodel name\t: AMD EPYC 9V84 96-Core Processor\nmodel name\t: other\n");
        put("proc/meminfo", "MemTotal:       330301440 kB\nMemFree: 1 kB\n");
        put("os-release", "NAME=\"Ubuntu\"\nPRETTY_NAME=\"Ubuntu 22.04.5 LTS\"\n");
        put("lib/libcrypto.so.3", "\u{7f}ELF\0OpenSSL 3.0.2 15 Mar 2022\0built on");
        Paths {
            proc: folder.join("proc"),
            boot_id: folder.join("proc/sys/kernel/random/boot_id"),
            os_release: folder.join("os-release"),
            libraries: vec![folder.join("none"), folder.join("lib")],
        }
    }

    #[test]
    fn facts_are_read_from_their_files() {
        let folder = tempfile::tempdir().unwrap();
        let mut found = Environment::default();
        read(&machine(folder.path()), &mut found);
        assert_eq!(found.boot_id.as_deref(), Some("6f1e6a0e-9d1b-4d0c-8f8e-0c9c0b7a1d2e"));
        assert_eq!(found.kernel.as_deref(), Some("6.8.0-1030-azure"));
        assert_eq!(found.os.as_deref(), Some("Ubuntu 22.04.5 LTS"));
        assert_eq!(found.cpu_model.as_deref(), Some("AMD EPYC 9V84 96-Core Processor"));
        assert_eq!(found.memory_mib, Some(322_560));
        assert_eq!(found.openssl_version.as_deref(), Some("OpenSSL 3.0.2 15 Mar 2022"));
        assert!(found.cpu_count.unwrap() > 0);
        assert!(found.unreadable.is_empty(), "{:?}", found.unreadable);
    }

    #[test]
    fn a_missing_file_is_named_and_the_rest_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let paths = machine(folder.path());
        std::fs::remove_file(paths.proc.join("sys/kernel/random/boot_id")).unwrap();
        std::fs::write(paths.proc.join("cpuinfo"), "processor: 0\n").unwrap();
        let mut found = Environment::default();
        read(&paths, &mut found);
        assert_eq!(found.boot_id, None);
        assert!(found.unreadable["boot_id"].contains("random/boot_id"), "{:?}", found.unreadable);
        assert!(found.unreadable["cpu_model"].contains("model name"), "{:?}", found.unreadable);
        assert!(found.kernel.is_some());
    }
}
