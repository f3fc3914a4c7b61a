//! The command line of one server: typed settings to flags of `vllm serve` or of the simulator.

mod flags;

use std::{ffi::OsString, path::PathBuf};

use teebench_api::campaign::{EngineSettings, SimulatorProfile};

use self::flags::{setting_flags, simulator_flags};
use crate::store::sha256_hex;

/// What a server runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineProgram {
    /// The simulator inside this program.
    Simulator {
        /// This program.
        program: PathBuf,
        /// What is simulated.
        profile: SimulatorProfile,
        /// Whether confidential computing is simulated as on.
        confidential: bool,
        /// Seed of what the simulator draws.
        seed: u64,
        /// Faults on demand.
        faults: Vec<String>,
    },
    /// A real vLLM.
    Vllm {
        /// The `vllm` program.
        program: PathBuf,
        /// Where its weights come from.
        weights: Weights,
        /// The GPUs it may see, as `CUDA_VISIBLE_DEVICES` names them; absent where its container has no others.
        gpus: Option<Vec<String>>,
    },
}

/// Where a real engine's weights come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Weights {
    /// A directory that the user named.
    Directory(PathBuf),
    /// A directory that holds what was downloaded from the hub.
    Downloaded {
        /// The directory.
        directory: PathBuf,
        /// The commit it was downloaded from.
        revision: String,
    },
    /// The hub.
    Repository {
        /// `owner/name`.
        repository: String,
        /// The commit.
        revision: String,
    },
}

/// One server's command line and environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineCommand {
    /// Program and arguments.
    pub argv: Vec<OsString>,
    /// Additional environment.
    pub environment: Vec<(String, String)>,
    /// SHA-256 of the settings that must be equal in all arms, in hex. Addresses, ports and paths are none of them.
    pub flags_sha256: String,
}

/// Where one server listens and shows its GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// Address that the engine listens on.
    pub host: String,
    /// Port of the engine.
    pub port: u16,
    /// File of the simulated GPU.
    pub gpu_file: PathBuf,
    /// Name of the server's arm.
    pub arm: String,
    /// The server's ordinal in the arm; in a pod, the reference that the kubelet replaces by it.
    pub ordinal: String,
}

/// Builds the command line of one server.
pub fn engine_command(
    program: &EngineProgram,
    model: &str,
    settings: &EngineSettings,
    place: &Placement,
) -> EngineCommand {
    let Placement { host, port, gpu_file, arm, ordinal } = place;
    let mut environment = Vec::new();
    let mut argv: Vec<OsString> = Vec::new();
    let listen = ["--host".into(), host.into(), "--port".into(), port.to_string().into()];
    let (flags, compared) = match program {
        EngineProgram::Simulator { program, profile, confidential, seed, faults } => {
            argv.push(program.into());
            argv.push("mock-vllm".into());
            argv.extend(listen);
            argv.extend(["--model".into(), model.into()]);
            // One seed for all servers: their answers must not depend on the routing. Arm and ordinal tell GPUs apart.
            argv.extend(["--seed".into(), seed.to_string().into()]);
            argv.extend(["--arm".into(), arm.into()]);
            argv.extend(["--ordinal".into(), ordinal.into()]);
            argv.push("--gpu-file".into());
            argv.push(gpu_file.into());
            if *confidential {
                argv.push("--confidential".into());
            }
            argv.extend(faults.iter().flat_map(|fault| ["--fault".into(), fault.into()]));
            let mut flags = simulator_flags(settings);
            flags.extend(["--profile".into(), profile.name().into()]);
            (flags.clone(), flags)
        }
        EngineProgram::Vllm { program, weights, gpus } => {
            argv.push(program.into());
            argv.push("serve".into());
            let mut flags = setting_flags(settings);
            let with_revision = |revision: &String| {
                let mut flags = flags.clone();
                flags.extend(["--revision".into(), revision.clone()]);
                flags
            };
            let compared = match weights {
                Weights::Directory(path) => {
                    argv.push(path.into());
                    flags.clone()
                }
                Weights::Downloaded { directory, revision } => {
                    argv.push(directory.into());
                    with_revision(revision)
                }
                Weights::Repository { repository, revision } => {
                    argv.push(repository.into());
                    flags = with_revision(revision);
                    flags.clone()
                }
            };
            argv.extend(listen);
            argv.extend(["--served-model-name".into(), model.into()]);
            if let Some(gpus) = gpus {
                environment.push(("CUDA_VISIBLE_DEVICES".into(), gpus.join(",")));
            }
            // CUDA's own order is by speed; the driver's, in which the probe counts, is by bus.
            environment.push(("CUDA_DEVICE_ORDER".into(), "PCI_BUS_ID".into()));
            // The development mode offers the reset of the prefix cache, which every run begins with.
            environment.push(("VLLM_SERVER_DEV_MODE".into(), "1".into()));
            environment.push(("VLLM_NO_USAGE_STATS".into(), "1".into()));
            (flags, compared)
        }
    };
    argv.extend(flags.iter().map(OsString::from));
    EngineCommand { argv, environment, flags_sha256: sha256_hex(compared.join("\0").as_bytes()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Placement {
        Placement {
            host: "127.0.0.1".into(),
            port: 8000,
            gpu_file: "/gpu".into(),
            arm: "cc-off".into(),
            ordinal: "3".into(),
        }
    }

    fn words(command: &EngineCommand) -> Vec<String> {
        command.argv.iter().map(|word| word.to_string_lossy().into_owned()).collect()
    }

    fn vllm(weights: Weights) -> EngineCommand {
        let program = EngineProgram::Vllm { program: "vllm".into(), weights, gpus: None };
        engine_command(&program, "m", &EngineSettings::default(), &place())
    }

    #[test]
    fn arms_of_one_setting_have_one_digest_whatever_their_ports_and_tee() {
        let settings = EngineSettings { max_num_seqs: Some(4), ..EngineSettings::default() };
        let program = |confidential| EngineProgram::Simulator {
            program: "teebench".into(),
            profile: SimulatorProfile::Tiny,
            confidential,
            seed: 1,
            faults: Vec::new(),
        };
        let off = engine_command(&program(false), "tiny", &settings, &place());
        let on = engine_command(&program(true), "tiny", &settings, &Placement { port: 9000, ..place() });

        assert_eq!(off.flags_sha256, on.flags_sha256);
        assert!(words(&on).contains(&"--confidential".to_owned()));
        assert!(!words(&off).contains(&"--confidential".to_owned()));
    }

    #[test]
    fn the_digest_is_of_the_revision_and_of_no_path() {
        let downloaded = |directory: &str, revision: &str| {
            vllm(Weights::Downloaded { directory: directory.into(), revision: revision.into() })
        };
        let hub = vllm(Weights::Repository { repository: "o/m".into(), revision: "ab".into() });

        assert_eq!(downloaded("/models/a", "ab").flags_sha256, downloaded("/weights/b", "ab").flags_sha256);
        assert_eq!(downloaded("/models/a", "ab").flags_sha256, hub.flags_sha256);
        assert_ne!(downloaded("/models/a", "ab").flags_sha256, downloaded("/models/a", "cd").flags_sha256);
        assert!(words(&hub).contains(&"--revision".to_owned()));
        assert!(!words(&downloaded("/models/a", "ab")).contains(&"--revision".to_owned()));
    }
}
