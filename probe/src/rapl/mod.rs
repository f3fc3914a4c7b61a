//! Energy of the CPU's packages, from the counters that Linux shows under `/sys/class/powercap` (RAPL, on Intel and AMD).
//!
//! Only root may read them on most machines, and guests have none: then nothing is measured, for a reason that is told.
//! A counter starts again at zero from its range; what is kept here never does.

mod sampler;

use std::fs;
use std::path::{Path, PathBuf};

pub use sampler::PackageSampler;

use crate::gpu::{Answer, Unanswered};

/// Where Linux shows the counters.
pub const POWERCAP: &str = "/sys/class/powercap";

/// One CPU package's counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// As the kernel names it, for instance `package-0`.
    pub name: String,
    counter: PathBuf,
    range_uj: u64,
}

/// The packages whose counters can be read.
///
/// # Errors
/// Why there are none.
pub fn packages(powercap: &Path) -> Result<Vec<Package>, String> {
    let told = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(powercap).map_err(|error| told(powercap, error))? {
        let zone = entry.map_err(|error| told(powercap, error))?.path();
        let Ok(name) = fs::read_to_string(zone.join("name")) else { continue };
        let name = name.trim();
        // Cores, memory and the whole platform are zones of their own; only packages are counted, so nothing is twice.
        // The name becomes part of a file's name.
        let is_package = name.strip_prefix("package-").is_some_and(|number| number.parse::<u32>().is_ok());
        if !is_package {
            continue;
        }
        let package = Package {
            name: name.to_owned(),
            range_uj: number(&zone.join("max_energy_range_uj"))?,
            counter: zone.join("energy_uj"),
        };
        package.read_uj()?;
        found.push(package);
    }
    found.sort_by(|one, other| one.name.cmp(&other.name));
    // The same counters may be shown by two interfaces (MSR and MMIO).
    found.dedup_by(|one, other| one.name == other.name);
    if found.is_empty() { Err(format!("{}: shows no cpu package", powercap.display())) } else { Ok(found) }
}

impl Package {
    fn read_uj(&self) -> Result<u64, String> {
        number(&self.counter)
    }
}

fn number(path: &Path) -> Result<u64, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    text.trim().parse().map_err(|_| format!("{}: {:?} is not a number", path.display(), text.trim()))
}

/// A counter followed over its wraps. It must be read at least once within the time that it takes to wrap, which is
/// minutes at full power.
#[derive(Debug)]
struct Followed {
    package: Package,
    last_uj: Option<u64>,
    total_uj: u64,
}

impl Followed {
    const fn new(package: Package) -> Self {
        Self { package, last_uj: None, total_uj: 0 }
    }

    /// Energy since the first read, in millijoules.
    fn energy_mj(&mut self) -> Answer<u64> {
        let now_uj = self.package.read_uj().map_err(Unanswered::Failed)?;
        let rise_uj = match self.last_uj {
            None => 0,
            Some(last_uj) if now_uj >= last_uj => now_uj - last_uj,
            Some(last_uj) => self.package.range_uj.saturating_sub(last_uj).saturating_add(now_uj),
        };
        self.last_uj = Some(now_uj);
        self.total_uj = self.total_uj.saturating_add(rise_uj);
        Ok(self.total_uj / 1000)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Writes the zone of one package as Linux shows it, and gives the path of its counter.
    pub(crate) fn zone(powercap: &Path, directory: &str, name: &str, energy_uj: u64) -> PathBuf {
        let zone = powercap.join(directory);
        fs::create_dir_all(&zone).unwrap();
        fs::write(zone.join("name"), format!("{name}\n")).unwrap();
        fs::write(zone.join("max_energy_range_uj"), "262143328850\n").unwrap();
        fs::write(zone.join("energy_uj"), format!("{energy_uj}\n")).unwrap();
        zone.join("energy_uj")
    }

    #[test]
    fn packages_are_found_once_each_and_their_parts_are_not_counted() {
        let powercap = tempfile::tempdir().unwrap();
        for (directory, name) in [
            ("intel-rapl:1", "package-1"),
            ("intel-rapl:0", "package-0"),
            ("intel-rapl:0:0", "core"),
            ("intel-rapl:0:1", "dram"),
            ("intel-rapl-mmio:0", "package-0"),
            ("intel-rapl:2", "psys"),
            ("other", "package-0/../x"),
        ] {
            zone(powercap.path(), directory, name, 5);
        }
        let names: Vec<String> = packages(powercap.path()).unwrap().into_iter().map(|package| package.name).collect();
        assert_eq!(names, ["package-0", "package-1"]);
    }

    #[test]
    fn a_counter_that_wraps_goes_on() {
        let powercap = tempfile::tempdir().unwrap();
        let counter = zone(powercap.path(), "intel-rapl:0", "package-0", 262_143_328_000);
        let mut followed = Followed::new(packages(powercap.path()).unwrap().remove(0));
        assert_eq!(followed.energy_mj(), Ok(0));
        fs::write(&counter, "262143328850").unwrap();
        assert_eq!(followed.energy_mj(), Ok(0));
        fs::write(&counter, "5000150").unwrap();
        assert_eq!(followed.energy_mj(), Ok(5_001));
        fs::write(&counter, "nonsense").unwrap();
        assert!(followed.energy_mj().unwrap_err().to_string().contains("is not a number"));
        fs::write(&counter, "6000150").unwrap();
        assert_eq!(followed.energy_mj(), Ok(6_001));
    }

    #[test]
    fn a_machine_without_counters_says_why() {
        let powercap = tempfile::tempdir().unwrap();
        let reason = packages(&powercap.path().join("none")).unwrap_err();
        assert!(reason.contains("No such file"), "{reason}");
        assert!(packages(powercap.path()).unwrap_err().contains("shows no cpu package"));
        let counter = zone(powercap.path(), "intel-rapl:0", "package-0", 5);
        fs::remove_file(counter).unwrap();
        assert!(packages(powercap.path()).unwrap_err().contains("energy_uj"));
    }
}
