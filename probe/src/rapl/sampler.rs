//! A thread that reads the packages' counters at a fixed pace, into a ring each.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Followed, Package};
use crate::clock;
use crate::gpu::Unanswered;
use crate::sampler::{Ring, Sample, Stop};

/// The rings of all packages, and the thread that fills them, which ends when this is dropped.
pub struct PackageSampler {
    rings: BTreeMap<String, Arc<Ring>>,
    /// Why there is none.
    absent: Option<String>,
    stop: Arc<Stop>,
}

impl PackageSampler {
    /// Samples nothing, for this reason.
    pub fn absent(reason: impl Into<String>) -> Self {
        Self { rings: BTreeMap::new(), absent: Some(reason.into()), stop: Arc::default() }
    }

    /// Starts sampling the packages, keeping the samples of a span.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn start(packages: Vec<Package>, interval: Duration, span: Duration) -> std::io::Result<Self> {
        let keep = span.as_nanos() / interval.as_nanos().max(1);
        let ring = || Arc::new(Ring::new(usize::try_from(keep).unwrap_or(usize::MAX)));
        let rings: BTreeMap<_, _> = packages.iter().map(|package| (package.name.clone(), ring())).collect();
        let stop = Arc::new(Stop::default());
        let mut followed: Vec<(Followed, Arc<Ring>)> = packages
            .into_iter()
            .map(|package| (Arc::clone(&rings[&package.name]), Followed::new(package)))
            .map(|(ring, followed)| (followed, ring))
            .collect();
        let stopped = Arc::clone(&stop);
        std::thread::Builder::new().name("rapl".to_owned()).spawn(move || {
            loop {
                for (counter, ring) in &mut followed {
                    ring.push(sample(counter));
                }
                if stopped.within(interval) {
                    return;
                }
            }
        })?;
        Ok(Self { rings, absent: None, stop })
    }

    /// Names of the packages that are sampled, or why there is none.
    ///
    /// # Errors
    /// Why no package is sampled.
    pub fn names(&self) -> Result<Vec<String>, String> {
        self.absent.clone().map_or_else(|| Ok(self.rings.keys().cloned().collect()), Err)
    }

    /// The ring of one package.
    pub fn ring(&self, name: &str) -> Option<Arc<Ring>> {
        self.rings.get(name).cloned()
    }
}

impl Drop for PackageSampler {
    fn drop(&mut self) {
        self.stop.now();
    }
}

fn sample(counter: &mut Followed) -> Sample {
    let (unix_ns, mono_ns) = (clock::unix_ns(), clock::mono_ns());
    let (energy_mj, gap) = match counter.energy_mj() {
        Ok(energy_mj) => (Some(energy_mj), None),
        Err(Unanswered::NotSupported) => (None, None),
        Err(Unanswered::Failed(reason)) => (None, Some(format!("energy: {reason}"))),
    };
    Sample { unix_ns, mono_ns, energy_mj, gap, ..Sample::default() }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::rapl::packages;
    use crate::rapl::tests::zone;

    #[test]
    fn the_counter_is_followed_in_the_ring_and_a_failed_read_is_a_gap() {
        let powercap = tempfile::tempdir().unwrap();
        let counter = zone(powercap.path(), "intel-rapl:0", "package-0", 1_000);
        let found = packages(powercap.path()).unwrap();
        let sampler = PackageSampler::start(found, Duration::from_millis(1), Duration::from_secs(100)).unwrap();
        assert_eq!(sampler.names(), Ok(vec!["package-0".to_owned()]));
        let ring = sampler.ring("package-0").unwrap();
        let until = |what: &str, condition: &dyn Fn() -> bool| {
            let deadline = Instant::now() + Duration::from_secs(20);
            while !condition() {
                assert!(Instant::now() < deadline, "{what}: not within 20 s, last {:?}", ring.totals());
                std::thread::yield_now();
            }
        };
        until("a first sample", &|| ring.totals().samples > 0);
        // Written beside and renamed: the thread must not see an empty file.
        let beside = powercap.path().join("new");
        std::fs::write(&beside, "9001000").unwrap();
        std::fs::rename(&beside, &counter).unwrap();
        until("nine joules", &|| ring.totals().latest.energy_mj == Some(9_000));
        std::fs::remove_file(&counter).unwrap();
        until("a gap", &|| ring.totals().gaps > 0);
    }
}
