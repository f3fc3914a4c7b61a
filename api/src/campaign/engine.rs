//! The engine of a campaign: vLLM or the simulator, with typed settings only.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The engine every server runs; give exactly one of `vllm` and `simulator`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("has(self.vllm) != has(self.simulator)",
        "spec.engine: give exactly one of vllm and simulator; remove the other")
)]
pub struct Engine {
    /// A real vLLM server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vllm: Option<Vllm>,
    /// The simulator of a vLLM server: no GPU is used, and every figure says that it is simulated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub simulator: Option<Simulator>,
    /// When servers are started anew.
    #[serde(default)]
    pub restart: Restart,
    /// Longest time in seconds from starting a server to its first served token.
    #[serde(default = "Engine::default_ready_timeout_seconds")]
    #[schemars(range(min = 1, max = 86400))]
    pub ready_timeout_seconds: u32,
}

impl Engine {
    const fn default_ready_timeout_seconds() -> u32 {
        1800
    }
}

/// When servers are started anew.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Restart {
    /// For every repetition of every (model, engine settings): the boot is part of what is replicated.
    #[default]
    Repetition,
    /// Once for every (model, engine settings): quicker, but boots are not replicated, and the report says so.
    Campaign,
    /// Before every run.
    Run,
}

/// A real vLLM server.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("self.image.matches('^[a-z0-9][a-zA-Z0-9._:/-]*@sha256:[0-9a-f]{64}$')",
        "spec.engine.vllm.image: name the image by digest, as in vllm/vllm-openai@sha256:<64 hex digits>")
)]
pub struct Vllm {
    /// Image by digest, so that all boots of a campaign run the same bytes.
    #[schemars(length(min = 1, max = 512))]
    pub image: String,
    /// Servers of each arm.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 64))]
    pub replicas: u32,
    /// Typed vLLM settings, which models, arms and points may override.
    #[serde(flatten)]
    pub settings: EngineSettings,
    /// CPU and memory of each server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ServerResources>,
    /// User and group id that the server runs as.
    #[serde(default = "Vllm::default_run_as_user")]
    #[schemars(range(min = 1, max = 65535))]
    pub run_as_user: u32,
}

impl Vllm {
    const fn default_run_as_user() -> u32 {
        2000
    }
}

const fn one() -> u32 {
    1
}

/// CPU and memory of a server, as Kubernetes quantities.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ServerResources {
    /// CPUs, for instance `8` or `500m`.
    #[schemars(length(min = 1, max = 32), regex(pattern = r"^[0-9]+(\.[0-9]+)?m?$"))]
    pub cpu: String,
    /// Memory, for instance `64Gi`.
    #[schemars(length(min = 1, max = 32), regex(pattern = r"^[0-9]+(\.[0-9]+)?(Ki|Mi|Gi|Ti|k|M|G|T)?$"))]
    pub memory: String,
    /// Size of /dev/shm, for instance `8Gi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), regex(pattern = r"^[0-9]+(\.[0-9]+)?(Ki|Mi|Gi|Ti|k|M|G|T)?$"))]
    pub shared_memory: Option<String>,
}

/// The simulator of a vLLM server.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("!(has(self.tensorParallelSize) || has(self.pipelineParallelSize) || has(self.gpuMemoryUtilizationPercent) || has(self.kvCacheBytes) || has(self.dtype) || has(self.quantization) || has(self.kvCacheDtype) || has(self.enableChunkedPrefill) || has(self.enforceEager) || has(self.asyncScheduling) || has(self.loadFormat))",
        "spec.engine.simulator: it obeys maxNumSeqs, maxNumBatchedTokens, maxModelLen, numGpuBlocks and enablePrefixCaching alone; remove the others")
)]
pub struct Simulator {
    /// Servers of each arm.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 64))]
    pub replicas: u32,
    /// The GPU and model that are simulated.
    pub profile: SimulatorProfile,
    /// Typed vLLM settings; the simulator obeys some, and the others are refused.
    #[serde(flatten)]
    pub settings: EngineSettings,
}

/// The GPU and model that are simulated.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SimulatorProfile {
    /// A fictional fast server for quick samples and tests.
    Tiny,
    /// An 8B model on an H100 NVL, after published figures.
    H100Nvl,
    /// An 8B model on an H200, fitted to measured data.
    H200,
}

impl SimulatorProfile {
    /// The name, as in the file and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tiny => "Tiny",
            Self::H100Nvl => "H100Nvl",
            Self::H200 => "H200",
        }
    }
}

/// Typed vLLM settings; a field that is absent leaves vLLM's own default. Later ones override earlier ones:
/// engine, model, arm, point.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("!has(self.kvCacheBytes) || !has(self.numGpuBlocks)",
        "kvCacheBytes and numGpuBlocks both set the size of the KV cache; keep one"),
    validation = ("!has(self.kvCacheBytes) || !has(self.gpuMemoryUtilizationPercent)",
        "kvCacheBytes takes the place of gpuMemoryUtilizationPercent; keep one"),
    validation = ("!has(self.maxNumBatchedTokens) || !has(self.maxNumSeqs) || self.maxNumBatchedTokens >= self.maxNumSeqs",
        "maxNumBatchedTokens must not be under maxNumSeqs; raise the first or lower the second")
)]
pub struct EngineSettings {
    /// Most sequences that are decoded at once (`--max-num-seqs`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65536))]
    pub max_num_seqs: Option<u32>,
    /// Most tokens of one step (`--max-num-batched-tokens`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_048_576))]
    pub max_num_batched_tokens: Option<u32>,
    /// Longest sequence in tokens (`--max-model-len`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_485_760))]
    pub max_model_len: Option<u32>,
    /// GPUs that share each layer (`--tensor-parallel-size`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub tensor_parallel_size: Option<u32>,
    /// GPUs among which layers are dealt (`--pipeline-parallel-size`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub pipeline_parallel_size: Option<u32>,
    /// Share of GPU memory that vLLM may use, in percent (`--gpu-memory-utilization`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 99))]
    pub gpu_memory_utilization_percent: Option<u32>,
    /// Bytes of KV cache on each GPU, in place of a share of memory (`--kv-cache-memory-bytes`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1_048_576, max = 1_125_899_906_842_624_i64))]
    pub kv_cache_bytes: Option<i64>,
    /// KV blocks, in place of what fits (`--num-gpu-blocks-override`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000_000))]
    pub num_gpu_blocks: Option<u32>,
    /// Number format of weights and activations (`--dtype`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dtype: Option<Dtype>,
    /// Quantisation of the weights (`--quantization`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantization: Option<Quantization>,
    /// Number format of the KV cache (`--kv-cache-dtype`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_cache_dtype: Option<KvCacheDtype>,
    /// Whether prompts share the KV blocks of equal prefixes (`--enable-prefix-caching`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_prefix_caching: Option<bool>,
    /// Whether long prompts are prefilled in chunks (`--enable-chunked-prefill`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_chunked_prefill: Option<bool>,
    /// Whether CUDA graphs are left out (`--enforce-eager`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enforce_eager: Option<bool>,
    /// Whether scheduling overlaps with the GPU's work (`--async-scheduling`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub async_scheduling: Option<bool>,
    /// Whether weights are read from files or made up (`--load-format`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_format: Option<LoadFormat>,
}

/// Number format of weights and activations.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// As the model's configuration says.
    Auto,
    /// 16 bits with 8 bits of exponent.
    Bfloat16,
    /// 16 bits with 5 bits of exponent.
    Float16,
    /// 32 bits.
    Float32,
}

/// Quantisation of the weights.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
pub enum Quantization {
    /// Activation-aware 4 bits.
    Awq,
    /// 8-bit floating point.
    Fp8,
    /// Post-training 4 bits.
    Gptq,
    /// Formats of the compressed-tensors library.
    #[serde(rename = "compressed-tensors")]
    CompressedTensors,
}

/// Number format of the KV cache.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[serde(rename_all = "snake_case")]
pub enum KvCacheDtype {
    /// As the weights.
    Auto,
    /// 8-bit floating point.
    Fp8,
    /// 8 bits with 4 of exponent.
    #[serde(rename = "fp8_e4m3")]
    Fp8E4m3,
    /// 8 bits with 5 of exponent.
    #[serde(rename = "fp8_e5m2")]
    Fp8E5m2,
}

/// Whether weights are read or made up.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LoadFormat {
    /// Read from the model's files.
    Auto,
    /// Random weights of the right shape: for tests of the machinery.
    Dummy,
}

impl EngineSettings {
    /// These settings with every field that `over` gives replaced.
    #[must_use]
    pub fn overridden_by(&self, over: &Self) -> Self {
        Self {
            max_num_seqs: over.max_num_seqs.or(self.max_num_seqs),
            max_num_batched_tokens: over.max_num_batched_tokens.or(self.max_num_batched_tokens),
            max_model_len: over.max_model_len.or(self.max_model_len),
            tensor_parallel_size: over.tensor_parallel_size.or(self.tensor_parallel_size),
            pipeline_parallel_size: over.pipeline_parallel_size.or(self.pipeline_parallel_size),
            gpu_memory_utilization_percent: over.gpu_memory_utilization_percent.or(self.gpu_memory_utilization_percent),
            kv_cache_bytes: over.kv_cache_bytes.or(self.kv_cache_bytes),
            num_gpu_blocks: over.num_gpu_blocks.or(self.num_gpu_blocks),
            dtype: over.dtype.or(self.dtype),
            quantization: over.quantization.or(self.quantization),
            kv_cache_dtype: over.kv_cache_dtype.or(self.kv_cache_dtype),
            enable_prefix_caching: over.enable_prefix_caching.or(self.enable_prefix_caching),
            enable_chunked_prefill: over.enable_chunked_prefill.or(self.enable_chunked_prefill),
            enforce_eager: over.enforce_eager.or(self.enforce_eager),
            async_scheduling: over.async_scheduling.or(self.async_scheduling),
            load_format: over.load_format.or(self.load_format),
        }
    }

    /// GPUs of one server: tensor times pipeline parallel size.
    #[must_use]
    pub fn gpus_per_server(&self) -> u32 {
        self.tensor_parallel_size.unwrap_or(1).saturating_mul(self.pipeline_parallel_size.unwrap_or(1))
    }
}
