//! The command line of one server: typed settings to flags of `vllm serve` or of the simulator.

use std::{ffi::OsString, path::PathBuf};

use teebench_api::campaign::{EngineSettings, SimulatorProfile, engine::LoadFormat};

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
        /// A directory, or the repository with its revision.
        weights: Weights,
        /// The GPUs it may see, as `CUDA_VISIBLE_DEVICES` names them.
        gpus: Vec<String>,
    },
}

/// Where a real engine's weights come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Weights {
    /// A directory that the user named.
    Directory(PathBuf),
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
    /// SHA-256 of the settings that must be equal in all arms, in hex.
    pub flags_sha256: String,
}

/// Where one server listens and shows its GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// Port of the engine.
    pub port: u16,
    /// File of the simulated GPU.
    pub gpu_file: PathBuf,
    /// Name of the server's arm.
    pub arm: String,
    /// The server's ordinal in the arm.
    pub ordinal: u32,
}

/// Builds the command line of one server.
pub fn engine_command(
    program: &EngineProgram,
    model: &str,
    settings: &EngineSettings,
    place: &Placement,
) -> EngineCommand {
    let mut flags = setting_flags(settings);
    let mut environment = Vec::new();
    let mut argv: Vec<OsString> = Vec::new();
    match program {
        EngineProgram::Simulator { program, profile, confidential, seed, faults } => {
            argv.push(program.into());
            flags = simulator_flags(settings);
            flags.extend(["--profile".into(), profile.name().into()]);
            argv.extend(["mock-vllm", "--host", "127.0.0.1", "--port"].map(OsString::from));
            argv.push(place.port.to_string().into());
            argv.extend(["--model".into(), model.into()]);
            // One seed for all servers: their answers must not depend on the routing. Arm and ordinal tell GPUs apart.
            argv.extend(["--seed".into(), seed.to_string().into()]);
            argv.extend(["--arm".into(), place.arm.clone().into()]);
            argv.extend(["--ordinal".into(), place.ordinal.to_string().into()]);
            argv.push("--gpu-file".into());
            argv.push(place.gpu_file.clone().into());
            if *confidential {
                argv.push("--confidential".into());
            }
            argv.extend(faults.iter().flat_map(|fault| ["--fault".into(), fault.into()]));
        }
        EngineProgram::Vllm { program, weights, gpus } => {
            argv.push(program.into());
            argv.push("serve".into());
            match weights {
                Weights::Directory(path) => argv.push(path.into()),
                Weights::Repository { repository, revision } => {
                    argv.push(repository.into());
                    flags.extend(["--revision".into(), revision.clone()]);
                }
            }
            argv.extend(["--host", "127.0.0.1", "--port"].map(OsString::from));
            argv.push(place.port.to_string().into());
            argv.extend(["--served-model-name".into(), model.into()]);
            environment.push(("CUDA_VISIBLE_DEVICES".into(), gpus.join(",")));
            // CUDA's own order is by speed; the driver's, in which the probe counts, is by bus.
            environment.push(("CUDA_DEVICE_ORDER".into(), "PCI_BUS_ID".into()));
            // The development mode offers the reset of the prefix cache, which every run begins with.
            environment.push(("VLLM_SERVER_DEV_MODE".into(), "1".into()));
            environment.push(("VLLM_NO_USAGE_STATS".into(), "1".into()));
        }
    }
    argv.extend(flags.iter().map(OsString::from));
    EngineCommand { argv, environment, flags_sha256: sha256_hex(flags.join("\0").as_bytes()) }
}

/// Flags of `vllm serve`, in a fixed order; destructured so that no new setting is forgotten.
fn setting_flags(settings: &EngineSettings) -> Vec<String> {
    let EngineSettings {
        max_num_seqs,
        max_num_batched_tokens,
        max_model_len,
        tensor_parallel_size,
        pipeline_parallel_size,
        gpu_memory_utilization_percent,
        kv_cache_bytes,
        num_gpu_blocks,
        dtype,
        quantization,
        kv_cache_dtype,
        enable_prefix_caching,
        enable_chunked_prefill,
        enforce_eager,
        async_scheduling,
        load_format,
    } = settings;
    let mut flags = Flags::default();
    flags.value("max-num-seqs", *max_num_seqs);
    flags.value("max-num-batched-tokens", *max_num_batched_tokens);
    flags.value("max-model-len", *max_model_len);
    flags.value("tensor-parallel-size", *tensor_parallel_size);
    flags.value("pipeline-parallel-size", *pipeline_parallel_size);
    flags.value("gpu-memory-utilization", gpu_memory_utilization_percent.map(|percent| format!("0.{percent:02}")));
    flags.value("kv-cache-memory-bytes", *kv_cache_bytes);
    flags.value("num-gpu-blocks-override", *num_gpu_blocks);
    flags.value("dtype", dtype.map(|dtype| serialised(&dtype)));
    flags.value("quantization", quantization.map(|quantization| serialised(&quantization)));
    flags.value("kv-cache-dtype", kv_cache_dtype.map(|dtype| serialised(&dtype)));
    flags.switch("enable-prefix-caching", *enable_prefix_caching);
    flags.switch("enable-chunked-prefill", *enable_chunked_prefill);
    flags.switch("enforce-eager", *enforce_eager);
    flags.switch("async-scheduling", *async_scheduling);
    flags.value(
        "load-format",
        load_format.map(|format| match format {
            LoadFormat::Auto => "auto",
            LoadFormat::Dummy => "dummy",
        }),
    );
    flags.0
}

/// Flags of the simulator: those settings that shape what it simulates.
fn simulator_flags(settings: &EngineSettings) -> Vec<String> {
    let mut flags = Flags::default();
    flags.value("max-num-seqs", settings.max_num_seqs);
    flags.value("max-num-batched-tokens", settings.max_num_batched_tokens);
    flags.value("max-model-len", settings.max_model_len);
    flags.value("num-gpu-blocks", settings.num_gpu_blocks);
    if settings.enable_prefix_caching == Some(false) {
        flags.0.push("--no-enable-prefix-caching".into());
    }
    flags.0
}

#[derive(Default)]
struct Flags(Vec<String>);

impl Flags {
    fn value<T: ToString>(&mut self, name: &str, value: Option<T>) {
        if let Some(value) = value {
            self.0.push(format!("--{name}"));
            self.0.push(value.to_string());
        }
    }

    fn switch(&mut self, name: &str, on: Option<bool>) {
        match on {
            Some(true) => self.0.push(format!("--{name}")),
            Some(false) => self.0.push(format!("--no-{name}")),
            None => {}
        }
    }
}

fn serialised<T: serde::Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text,
        other => unreachable!("a unit variant serialises to a string, not to {other:?}"),
    }
}

/// GPUs of each server of an arm: dealt in turn over the visible ones. `Err` says why they do not suffice.
pub fn deal_gpus(
    visible: &[String],
    servers: u32,
    settings: &EngineSettings,
    already_taken: u32,
) -> Result<Vec<Vec<String>>, String> {
    let each = settings.gpus_per_server();
    let may_share = settings.kv_cache_bytes.is_some() || settings.num_gpu_blocks.is_some();
    let wanted = servers.saturating_mul(each).saturating_add(already_taken);
    if visible.is_empty() {
        return Err("no GPU is visible; install the driver, or use --simulate".into());
    }
    let available = u32::try_from(visible.len()).unwrap_or(u32::MAX);
    if each > available {
        return Err(format!("a server needs {each} GPUs and {available} are visible; lower tensorParallelSize"));
    }
    if wanted > available && !may_share {
        return Err(format!(
            "{wanted} GPUs are needed and {available} are visible; set kvCacheBytes or numGpuBlocks so that servers \
             may share a GPU, or run one arm at a time with --arm"
        ));
    }
    let at = |index: u32| visible[(index % available) as usize].clone();
    Ok((0..servers).map(|server| (0..each).map(|gpu| at(already_taken + server * each + gpu)).collect()).collect())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use teebench_api::campaign::engine::Dtype;

    use super::*;

    fn place() -> Placement {
        Placement { port: 8000, gpu_file: "/gpu".into(), arm: "cc-off".into(), ordinal: 3 }
    }

    fn words(command: &EngineCommand) -> Vec<String> {
        command.argv.iter().map(|word| word.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn every_setting_becomes_the_flag_that_vllm_knows() {
        let settings = EngineSettings {
            max_num_seqs: Some(4),
            gpu_memory_utilization_percent: Some(9),
            kv_cache_bytes: Some(1 << 30),
            num_gpu_blocks: Some(512),
            dtype: Some(Dtype::Bfloat16),
            enable_prefix_caching: Some(true),
            async_scheduling: Some(false),
            load_format: Some(LoadFormat::Dummy),
            ..EngineSettings::default()
        };

        assert_eq!(
            setting_flags(&settings).join(" "),
            "--max-num-seqs 4 --gpu-memory-utilization 0.09 --kv-cache-memory-bytes 1073741824 \
             --num-gpu-blocks-override 512 --dtype bfloat16 --enable-prefix-caching --no-async-scheduling \
             --load-format dummy"
        );
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

    #[rstest]
    #[case::one_each("01", 2, 1, None, 0, Ok("0|1"))]
    #[case::second_arm_goes_on_where_the_first_ended("0123", 2, 1, None, 2, Ok("2|3"))]
    #[case::two_each("4567", 2, 2, None, 0, Ok("4,5|6,7"))]
    #[case::sharing_needs_a_bounded_cache("0", 2, 1, None, 0, Err("kvCacheBytes"))]
    #[case::sharing_with_a_bounded_cache("0", 2, 1, Some(512), 0, Ok("0|0"))]
    #[case::too_few_for_one("0", 1, 2, Some(512), 0, Err("tensorParallelSize"))]
    #[case::none("", 1, 1, None, 0, Err("--simulate"))]
    fn gpus_are_dealt_in_turn(
        #[case] visible: &str,
        #[case] servers: u32,
        #[case] each: u32,
        #[case] blocks: Option<u32>,
        #[case] taken: u32,
        #[case] expected: Result<&str, &str>,
    ) {
        let visible: Vec<String> = visible.chars().map(String::from).collect();
        let settings =
            EngineSettings { tensor_parallel_size: Some(each), num_gpu_blocks: blocks, ..EngineSettings::default() };
        match (deal_gpus(&visible, servers, &settings, taken), expected) {
            (Ok(dealt), Ok(expected)) => {
                let dealt: Vec<String> = dealt.iter().map(|gpus| gpus.join(",")).collect();
                assert_eq!(dealt.join("|"), expected);
            }
            (Err(message), Err(word)) => assert!(message.contains(word), "{message}"),
            (found, expected) => panic!("{found:?} is not {expected:?}"),
        }
    }
}
