//! `/metrics` against the exposition of a real vLLM 0.25.1.

use std::collections::BTreeMap;

use serde_json::json;

use crate::harness::{Simulator, completion, config, sum_of, with};

/// Names and types of an exposition.
fn types(exposition: &str) -> BTreeMap<&str, &str> {
    exposition
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .filter(|(name, _)| name.starts_with("vllm:"))
        .collect()
}

/// Bounds of a histogram.
fn bounds(exposition: &str, name: &str) -> Vec<f64> {
    exposition
        .lines()
        .filter(|line| line.starts_with(&format!("{name}_bucket{{")))
        .map(|line| line.split("le=\"").nth(1).unwrap().split('"').next().unwrap())
        .map(|bound| bound.replace("+Inf", "inf").parse().unwrap())
        .collect()
}

#[tokio::test]
async fn names_types_and_bounds_are_those_of_vllm() {
    let simulator = Simulator::ready(config()).await;
    simulator.post("/v1/completions", &completion("abc", 20, 3)).await.bytes().await.unwrap();
    let ours = simulator.get("/metrics").await.text().await.unwrap();
    let theirs = include_str!("../data/vllm-0.25.1-metrics.txt");
    let known = types(theirs);
    let served = types(&ours);
    assert!(served.len() > 20);
    for (name, kind) in served {
        assert_eq!(known.get(name), Some(&kind), "{name}");
        if kind == "histogram" {
            assert_eq!(bounds(&ours, name), bounds(theirs, name), "{name}");
        }
    }
}

#[tokio::test]
async fn counters_and_histograms_agree_with_what_was_served() {
    let simulator = Simulator::ready(config()).await;
    for _ in 0..2 {
        simulator.post("/v1/completions", &completion("abc", 100, 5)).await.bytes().await.unwrap();
    }
    let text = simulator.get("/metrics").await.text().await.unwrap();
    for (name, expected) in [
        ("vllm:prompt_tokens_total", 200.0),
        ("vllm:generation_tokens_total", 10.0),
        ("vllm:prefix_cache_queries_total", 200.0),
        ("vllm:prefix_cache_hits_total", 96.0),
        ("vllm:prompt_tokens_cached_total", 96.0),
        ("vllm:num_preemptions_total", 0.0),
        ("vllm:request_success_total", 2.0),
        ("vllm:time_to_first_token_seconds_count", 2.0),
        ("vllm:inter_token_latency_seconds_count", 8.0),
        ("vllm:e2e_request_latency_seconds_count", 2.0),
        ("vllm:request_generation_tokens_sum", 10.0),
        ("vllm:iteration_tokens_total_count", 10.0),
        ("vllm:iteration_tokens_total_sum", 114.0),
        ("vllm:prompt_tokens_by_source_total", 200.0),
        ("vllm:num_requests_waiting_by_reason", 0.0),
        ("vllm:request_params_max_tokens_sum", 10.0),
        ("vllm:request_params_n_sum", 2.0),
        ("vllm:request_max_num_generation_tokens_sum", 10.0),
        ("vllm:request_prefill_kv_computed_tokens_sum", 104.0),
        ("vllm:num_requests_waiting", 0.0),
    ] {
        assert_eq!(sum_of(&text, name), Some(expected), "{name}");
    }
    let info = text.lines().find(|line| line.starts_with("vllm:cache_config_info{")).unwrap();
    assert!(info.contains(r#"block_size="16""#) && info.contains(r#"num_gpu_blocks="1024""#), "{info}");
    assert!(
        text.contains(r#"vllm:request_success_total{engine="0",finished_reason="length",model_name="tiny-model"} 2"#)
    );
    assert!(text.contains("teebench_mock:profile_info{"));
}

#[tokio::test]
async fn the_lateness_of_every_streamed_token_is_counted() {
    let simulator = Simulator::ready(config()).await;
    let request = with(completion("abc", 20, 9), &json!({"stream": true}));
    simulator.post("/v1/completions", &request).await.bytes().await.unwrap();
    assert_eq!(simulator.metric("teebench_mock:emission_lateness_seconds_count").await, 9.0);
}
