//! The client against real servers: what it sends, what it records, what it calls a failure.

#![allow(clippy::unwrap_used, reason = "clippy knows test functions, not the functions that they call")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use rstest::rstest;
use serde_json::{Value, json};

use common::load::{limit, load, measured, run};
use common::server::{Reply, Server, completion, event, refused_url, usage};
use common::written;
use teebench_loadgen::arrivals::{Arrivals, Burstiness};
use teebench_loadgen::client::{Backend, HttpOptions, LoadSpec, Target, served_models};
use teebench_loadgen::client_file::client_file;
use teebench_loadgen::dataset::{PlannedRequest, Prompt, warmup_requests};
use teebench_loadgen::record::Usage;
use teebench_loadgen::result_file::{Format, Metric, ResultOptions, Slo};

#[tokio::test]
async fn a_completion_is_sent_and_recorded() {
    let server = Server::start(|_, _| Reply::Stream(completion(4))).await;
    let mut spec = load(1, vec![server.target()]);
    spec.keep_texts = true;
    spec.ignore_eos = true;
    spec.http.headers.insert("x-run", "r1".parse().unwrap());
    spec.extra_body.insert("top_p".to_owned(), json!(0.5));
    let measured = measured(&spec).await;

    let [seen] = &server.seen()[..] else { panic!("{:?}", server.seen()) };
    assert_eq!(seen.path, "/v1/completions");
    assert_eq!(seen.headers["x-run"], "r1");
    let body = json!({"prompt": "prompt 0", "max_tokens": 4, "model": "m", "stream": true,
        "stream_options": {"include_usage": true}, "ignore_eos": true, "top_p": 0.5});
    assert_eq!(seen.body, body);

    let [record] = &measured.records[..] else { panic!("{:?}", measured.records) };
    assert_eq!(record.error, None);
    assert_eq!(record.usage, Some(Usage { prompt_tokens: 7, completion_tokens: 4 }));
    assert_eq!((record.output_tokens(), record.itls_s.len(), record.text.as_str()), (4, 3, " t0 t1 t2 t3"));
    let decode_s: f64 = record.itls_s.iter().sum();
    assert!((record.ttft_s.unwrap() + decode_s - record.latency_s).abs() < 1e-9, "{record:?}");
    assert!(record.start_s + record.latency_s <= record.end_s);
    assert!(!measured.partial);
}

#[tokio::test]
async fn a_role_alone_is_a_first_chunk_but_no_output() {
    let server = Server::start(|_, _| {
        let mut events = vec![event(r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#)];
        events.extend((0..3).map(|_| event(r#"{"choices":[{"delta":{"content":"x"}}]}"#)));
        events.push(event(r#"{"choices":[{"delta":{},"finish_reason":"length"}]}"#));
        events.push(usage(3));
        Reply::Stream(events)
    })
    .await;
    let mut spec = load(1, vec![server.target()]);
    spec.backend = Backend::OpenaiChat;
    let measured = measured(&spec).await;
    let record = &measured.records[0];
    assert_eq!((record.error.as_deref(), record.output_chunks()), (None, 3));
    assert!(record.ttft_first_chunk_s <= record.ttft_s);
    assert_eq!(server.seen()[0].path, "/v1/chat/completions");
    assert_eq!(server.seen()[0].body["messages"], json!([{"role": "user", "content": "prompt 0"}]));
    assert_eq!(record.text, "", "texts are not kept unless asked for");
}

/// One token, then usage: however the bytes come, that is what was said.
#[rstest]
#[case::whole(|stream: String| vec![stream.into_bytes()])]
#[case::byte_by_byte(|stream: String| stream.bytes().map(|byte| vec![byte]).collect())]
#[case::inside_a_line_end(|stream: String| stream.replace('\n', "\r\n").split_inclusive('\r').map(Into::into).collect())]
#[case::comments_and_keep_alives(|stream: String| vec![format!(": hello\n\n{}", stream.replace("\n\n", "\n\n:\n\n")).into()])]
#[case::no_done(|stream: String| vec![stream.replace("data: [DONE]\n\n", "").into_bytes()])]
#[tokio::test]
async fn a_stream_is_understood_however_it_is_cut(#[case] cut: fn(String) -> Vec<Vec<u8>>) {
    let pieces = cut(String::from_utf8(completion(2).concat()).unwrap());
    let server = Server::start(move |_, _| Reply::Stream(pieces.clone())).await;
    let measured = measured(&load(1, vec![server.target()])).await;
    let record = &measured.records[0];
    assert_eq!((record.error.as_deref(), record.output_chunks(), record.output_tokens()), (None, 2, 2));
}

#[rstest]
#[case::status(|| Reply::Status(503, "overloaded"), "HTTP 503 Service Unavailable: overloaded")]
#[case::reported(
    || Reply::Stream(vec![completion(1)[0].clone(), event(r#"{"error":{"message":"boom"}}"#), event("[DONE]")]),
    "the server reported an error in the stream: boom"
)]
#[case::no_output(|| Reply::Stream(vec![usage(0), event("[DONE]")]), "the stream ended without output")]
#[case::empty(|| Reply::Stream(vec![]), "the stream ended without output")]
#[case::no_json(|| Reply::Stream(vec![event("oops")]), "is no JSON object of a completion")]
#[case::broken_off(|| Reply::BreakOff(vec![completion(1)[0].clone()]), "the response broke off")]
#[tokio::test]
async fn a_failure_is_recorded_and_not_retried(#[case] reply: fn() -> Reply, #[case] reason: &str) {
    let server = Server::start(move |_, _| reply()).await;
    let measured = measured(&load(2, vec![server.target()])).await;
    for record in &measured.records {
        let error = record.error.as_deref().unwrap();
        assert!(error.contains(reason), "{error}");
        assert_eq!((record.latency_s, record.output_tokens()), (0.0, 0));
    }
    assert_eq!((measured.records.len(), server.seen().len()), (2, 2));
}

#[tokio::test]
async fn a_refused_connection_is_a_failure() {
    let spec = load(3, vec![Target { base_url: refused_url(), max_in_flight: None }]);
    let measured = measured(&spec).await;
    assert!(measured.records.iter().all(|record| record.error.as_deref().unwrap().contains("cannot connect")));
    assert_eq!(client_file(&measured).sockets_opened, 0);
}

#[tokio::test]
async fn a_request_that_does_not_end_in_time_is_a_failure() {
    let server = Server::start(|_, _| Reply::Hang(vec![completion(1)[0].clone()])).await;
    let mut spec = load(1, vec![server.target()]);
    spec.request_timeout = Duration::from_millis(50);
    let measured = measured(&spec).await;
    let record = &measured.records[0];
    assert!(record.error.as_deref().unwrap().contains("not ended after 50ms"), "{record:?}");
}

#[tokio::test]
async fn targets_are_taken_in_turn() {
    let mut servers = Vec::new();
    for _ in 0..3 {
        servers.push(Server::start(|_, _| Reply::Stream(completion(1))).await);
    }
    let mut spec = load(8, servers.iter().map(Server::target).collect());
    spec.max_concurrency = limit(1);
    let measured = measured(&spec).await;
    for (number, server) in servers.iter().enumerate() {
        let prompts: Vec<Value> = server.seen().into_iter().map(|seen| seen.body["prompt"].clone()).collect();
        let expected: Vec<String> = (number..8).step_by(3).map(|index| format!("prompt {index}")).collect();
        assert_eq!(prompts, expected);
    }
    assert!(measured.records.iter().all(|record| record.target == record.index % 3));
}

#[tokio::test]
async fn warm_up_is_sent_before_and_not_measured() {
    let server = Server::start(|_, _| Reply::Stream(completion(1))).await;
    let mut spec = load(3, vec![server.target()]);
    spec.warmup = warmup_requests(&*spec.requests, 2, 0).unwrap();
    let measured = measured(&spec).await;
    let is_of_run = |body: &Value| body["prompt"].as_str().unwrap().starts_with("prompt ");
    let order: Vec<bool> = server.seen().iter().map(|seen| is_of_run(&seen.body)).collect();
    assert_eq!(order, [false, false, true, true, true]);
    assert_eq!(measured.records.len(), 3);
}

#[tokio::test]
async fn a_warm_up_without_any_answer_stops_the_run() {
    let server = Server::start(|_, _| Reply::Status(404, "no such model")).await;
    let mut spec = load(3, vec![server.target()]);
    spec.warmup = warmup_requests(&*spec.requests, 2, 0).unwrap();
    let error = run(&spec).await.unwrap_err();
    assert!(error.to_string().contains("no such model"), "{error}");
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn probe_requests_go_beside_the_load() {
    let server = Server::start(|_, seen| match &seen.body["prompt"] {
        Value::String(prompt) if prompt == "Hi" => Reply::Stream(completion(1)),
        _ => Reply::Stream(completion(3)),
    })
    .await;
    let mut spec = load(200, vec![server.target()]);
    spec.max_concurrency = limit(1);
    spec.probe_requests_per_s = Some(1000.0);
    let measured = measured(&spec).await;
    let probes: Vec<_> = server.seen().into_iter().filter(|seen| seen.body["prompt"] == "Hi").collect();
    let latencies = measured.probe.unwrap();
    assert_eq!((latencies.latencies_s.len(), latencies.failed), (probes.len(), 0));
    assert!(!probes.is_empty() && probes.iter().all(|probe| probe.body["max_tokens"] == 1));
    assert_eq!(measured.records.len(), 200);
}

#[rstest]
#[case::no_target(load(1, vec![]), "no target")]
#[case::no_request(load(0, vec![Target { base_url: "http://a".to_owned(), max_in_flight: None }]), "no request")]
#[case::no_http(load(1, vec![Target { base_url: "ftp://a".to_owned(), max_in_flight: None }]), "http://HOST:PORT")]
#[case::rate(
    LoadSpec {
        arrivals: Arrivals::Rate { requests_per_s: 0.0, burstiness: Burstiness::POISSON },
        ..load(1, vec![Target { base_url: "http://127.0.0.1:1".to_owned(), max_in_flight: None }])
    },
    "request rate 0"
)]
#[case::token_ids_in_chat(
    LoadSpec {
        backend: Backend::OpenaiChat,
        requests: Arc::new(vec![PlannedRequest {
            prompt: Prompt::TokenIds(vec![1]), expected_prompt_tokens: 1, max_tokens: 1, temperature: None
        }]),
        ..load(1, vec![Target { base_url: "http://127.0.0.1:1".to_owned(), max_in_flight: None }])
    },
    "chat API does not take"
)]
#[tokio::test]
async fn a_load_that_cannot_be_run_is_refused(#[case] spec: LoadSpec, #[case] words: &str) {
    let error = run(&spec).await.unwrap_err();
    assert!(error.to_string().contains(words), "{error}");
}

#[tokio::test]
async fn a_measured_run_has_the_keys_of_the_golden() {
    let server = Server::start(|number, _| match number {
        1 => Reply::Status(500, "scripted"),
        _ => Reply::Stream(completion(4)),
    })
    .await;
    let mut spec = load(5, vec![server.target()]);
    spec.max_concurrency = limit(1);
    let measured = measured(&spec).await;
    let options = ResultOptions {
        format: Format::Vllm032,
        detailed: true,
        backend: spec.backend,
        label: None,
        model_id: spec.model.clone(),
        tokenizer_id: Some("m".to_owned()),
        num_prompts: 5,
        metadata: vec![],
        arrivals: spec.arrivals,
        max_concurrency: Some(1),
        metrics: Metric::ALL.to_vec(),
        percentiles: ResultOptions::CAMPAIGN_PERCENTILES.to_vec(),
        slo: Slo::default(),
    };
    let file: serde_json::Map<String, Value> = serde_json::from_str(&written(&measured, &options)).unwrap();
    let golden = common::Golden::read("v0.32.0_openai_200req_conc32");
    assert!(file.keys().eq(golden.json.keys()), "{:?}", file.keys());
    assert_eq!((&file["completed"], &file["failed"]), (&json!(4), &json!(1)));
    assert_eq!((&file["input_lens"], &file["output_lens"]), (&json!([7, 3, 7, 7, 7]), &json!([4, 0, 4, 4, 4])));
    assert_eq!(client_file(&measured).peak_concurrency, 1);
}

#[tokio::test]
async fn the_served_models_are_listed() {
    let server = Server::start(|_, _| Reply::Stream(vec![br#"{"object":"list","data":[{"id":"m1"}]}"#.to_vec()])).await;
    assert_eq!(
        served_models(&server.base_url, &HttpOptions::default(), Duration::from_secs(30)).await.unwrap(),
        ["m1"]
    );
}
