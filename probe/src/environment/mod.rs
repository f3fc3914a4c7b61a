//! What the machine is: kernel, CPU, memory, driver, GPUs. What cannot be read is named with its reason.

mod cpuid;
mod facts;
mod openssl;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use teebench_api::files::evidence::Environment;

pub use facts::{BOOT_ID, Paths};

use crate::attestation::{Root, Verifier};
use crate::gpu::{Answer, ConfidentialAnswers, ConfidentialLink, GpuSource, Unanswered};

/// The machine that the probe runs on.
#[derive(Clone)]
pub struct Machine {
    /// Its GPUs.
    pub gpu: Arc<dyn GpuSource>,
    /// Where its files lie.
    pub paths: Paths,
    /// How the CPU is asked for its isolation type.
    pub cpu_isolation: fn() -> Answer<u32>,
    /// What its GPUs' signed reports are verified with.
    pub verifier: Arc<Verifier>,
}

impl Machine {
    /// This machine, with its GPUs read from the source; what they sign is held against the root.
    pub fn new(gpu: Arc<dyn GpuSource>, root: Root) -> Self {
        let verifier = Arc::new(Verifier::new(root));
        Self { gpu, paths: Paths::default(), cpu_isolation: cpuid::isolation_type, verifier }
    }

    /// The same machine, whose boot id stands in this file.
    #[must_use]
    pub fn with_boot_id_in(mut self, file: &Path) -> Self {
        file.clone_into(&mut self.paths.boot_id);
        self
    }

    /// The CPU's isolation type inside the guest (leaf 0x4000000C), or the one that a simulator stands in for.
    pub fn isolation_type(&self) -> Answer<u32> {
        self.gpu.simulated_isolation_type().unwrap_or_else(self.cpu_isolation)
    }

    /// Reads everything at this moment. Blocks for the driver's calls and a few small files.
    pub fn environment(
        &self,
        confidential: &ConfidentialAnswers,
        isolation_type: &Answer<u32>,
        engine: Result<String, String>,
    ) -> Environment {
        let mut environment = Environment::default();
        facts::read(&self.paths, &mut environment);

        let inventory = self.gpu.inventory();
        environment.driver_version = inventory.driver_version;
        environment.cuda_version = inventory.cuda_version;
        environment.gpus = inventory.gpus;
        environment.unreadable.extend(inventory.unreadable);

        // The file has no place for a CPU that does not say; `cpuid_isolation_type` tells that from "none".
        environment.confidential_compute = confidential.complete(isolation_type.clone().unwrap_or(0));
        environment.unreadable.extend(unanswered(confidential));
        let ConfidentialLink { protected_memory_used_mib, key_rotation_attacker_advantage } =
            self.gpu.confidential_link();
        let mut note = |name: &str, figure: Answer<u64>| match figure {
            Ok(figure) => Some(figure),
            Err(Unanswered::NotSupported) => None,
            Err(Unanswered::Failed(reason)) => {
                environment.unreadable.insert(name.to_owned(), reason);
                None
            }
        };
        let used = note("protected_memory_used", protected_memory_used_mib);
        let advantage = note("key_rotation_attacker_advantage", key_rotation_attacker_advantage);
        environment.protected_memory_used_mib = used;
        environment.key_rotation_attacker_advantage = advantage;
        match isolation_type {
            Ok(kind) => environment.cpuid_isolation_type = Some(*kind),
            Err(reason) => {
                environment.unreadable.insert("cpuid_isolation_type".to_owned(), reason.to_string());
            }
        }
        match engine {
            Ok(engine) => environment.engine = Some(engine),
            Err(reason) => {
                environment.unreadable.insert("engine".to_owned(), reason);
            }
        }
        environment
    }
}

/// Questions without an answer, by name; one entry where nothing was answered, for one reason.
fn unanswered(confidential: &ConfidentialAnswers) -> BTreeMap<String, String> {
    const NAME: &str = "confidential_compute";
    let open = confidential.unanswered();
    if let Some(reason) = open.values().next()
        && *confidential == ConfidentialAnswers::failed(reason)
    {
        return BTreeMap::from([(NAME.to_owned(), reason.to_string())]);
    }
    open.into_iter().map(|(question, reason)| (format!("{NAME}: {question}"), reason.to_string())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{Absent, Simulated, fixture};

    fn environment(machine: &Machine) -> Environment {
        let answers = machine.gpu.confidential_compute();
        machine.environment(&answers, &machine.isolation_type(), Err("not asked".to_owned()))
    }

    #[test]
    fn a_simulated_machine_answers_for_its_cpu_too() {
        let folder = tempfile::tempdir().unwrap();
        let source = Simulated::new(fixture::write(folder.path(), &fixture::gpu_file()));
        let found = environment(&Machine::new(Arc::new(source), Root::Vendor));
        assert_eq!(found.cpuid_isolation_type, Some(2));
        assert_eq!(found.gpus.len(), 1);
        assert_eq!(found.confidential_compute, Some(fixture::gpu_file().confidential_compute));
    }

    #[test]
    fn without_a_gpu_each_open_question_has_its_reason() {
        let found = environment(&Machine::new(Arc::new(Absent::new("no driver")), Root::Vendor));
        assert_eq!((found.confidential_compute, found.driver_version), (None, None));
        assert_eq!(found.unreadable["gpu"], "no driver");
        assert_eq!(found.unreadable["engine"], "not asked");
        assert_eq!(found.unreadable["confidential_compute"], "gpu absent");
    }

    #[test]
    fn a_single_question_without_an_answer_is_named() {
        let mut answers = ConfidentialAnswers::failed(&Unanswered::NotSupported);
        answers.dev_tools = Ok(false);
        answers.gpus_ready = Err(Unanswered::Failed("timed out".to_owned()));
        let open = unanswered(&answers);
        assert_eq!((open.len(), open["confidential_compute: gpus ready"].as_str()), (6, "timed out"));
    }
}
