//! Typed settings as flags, in a fixed order.

use teebench_api::campaign::{EngineSettings, engine::LoadFormat};

/// Flags of `vllm serve`, in a fixed order; destructured so that no new setting is forgotten.
pub(super) fn setting_flags(settings: &EngineSettings) -> Vec<String> {
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
    if kv_cache_bytes.is_some() && gpu_memory_utilization_percent.is_none() {
        // With a cache of given size vLLM reserves no share of memory, yet it refuses to start where the share's default,
        // 92 %, is not free: a second server would never share a GPU.
        flags.value("gpu-memory-utilization", Some("0.01"));
    }
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
pub(super) fn simulator_flags(settings: &EngineSettings) -> Vec<String> {
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

#[cfg(test)]
mod tests {
    use teebench_api::campaign::engine::Dtype;

    use super::*;

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
    fn a_server_with_a_cache_of_given_size_starts_beside_others_on_its_gpu() {
        let settings = EngineSettings { kv_cache_bytes: Some(6 << 30), ..EngineSettings::default() };

        assert_eq!(
            setting_flags(&settings).join(" "),
            "--kv-cache-memory-bytes 6442450944 --gpu-memory-utilization 0.01"
        );
    }
}
