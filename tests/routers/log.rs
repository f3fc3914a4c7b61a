//! One router whose workers die under load, and what its access log says.

use std::path::Path;

use futures::StreamExt as _;
use reqwest::{Client, StatusCode};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    eventually,
    process::{Router, complete, engine, url},
    within,
};

fn lines(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["target"] == "teebench_router::access").map(|mut line| line["fields"].take()).collect()
}

#[tokio::test]
async fn a_worker_killed_under_load_costs_no_client_its_answer() {
    let mut engines = vec![engine(0).await, engine(0).await, engine(0).await];
    let urls: Vec<String> = engines.iter().map(url).collect();
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("log");
    let router = Router::logging(&file, &urls).await;

    let stop = CancellationToken::new();
    let mut clients = JoinSet::new();
    for number in 0..8 {
        let (stop, url) = (stop.clone(), router.data.clone());
        clients.spawn(async move {
            let client = Client::new();
            let mut served = 0;
            while !stop.is_cancelled() {
                let answer = complete(&client, &url, &format!("{number} {served}"), false).await.unwrap();
                let status = answer.status();
                let body = within("the answer", answer.text()).await.unwrap();
                assert_eq!(status, StatusCode::OK, "{body}");
                served += 1;
            }
            served
        });
    }
    let requests =
        async |worker: usize| router.get("/metrics.json").await["workers"][worker]["requests"].as_u64().unwrap();
    eventually("requests at the first", || requests(0), |requests| *requests > 20).await;
    engines.remove(0).kill().await;
    let others = requests(1).await;
    eventually("requests at the others", || requests(1), |requests| *requests > others + 50).await;
    let before = requests(0).await;
    let port = urls[0].rsplit_once(':').unwrap().1.parse().unwrap();
    engines.push(engine(port).await);
    eventually("requests at the one that came back", || requests(0), |requests| *requests > before + 10).await;
    stop.cancel();
    let served: usize = clients.join_all().await.into_iter().sum();

    let lines = eventually("a line for each", async || lines(&file), |lines| lines.len() == served).await;
    assert!(lines.iter().all(|line| line["status"] == 200 && line["outcome"] == "whole"));
    assert!(router.get("/metrics.json").await["retries"].as_u64().unwrap() > 0, "nothing was in flight to it");
}

#[tokio::test]
async fn the_access_log_has_one_line_for_each_request_however_it_ends() {
    let engine = engine(0).await;
    let worker = url(&engine);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("log");
    let router = Router::logging(&file, &[&worker]).await;
    let client = Client::new();
    let line = async |count: usize| {
        let lines = eventually("the line", async || lines(&file), |lines| lines.len() >= count).await;
        assert_eq!(lines.len(), count);
        lines[count - 1].clone()
    };

    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let request = client.post(format!("{}/v1/completions", router.data)).header("traceparent", trace);
    let body = r#"{"model": "tiny", "prompt": "hello", "max_tokens": 4}"#;
    let answer = request.header("content-type", "application/json").body(body).send().await.unwrap();
    let length = answer.bytes().await.unwrap().len();
    let whole = line(1).await;
    assert_eq!((&whole["method"], &whole["path"]), (&"POST".into(), &"/v1/completions".into()));
    assert_eq!((&whole["status"], &whole["outcome"]), (&200.into(), &"whole".into()));
    assert_eq!((&whole["worker"], &whole["trace"]), (&worker["http://".len()..].into(), &trace.into()));
    assert_eq!(whole["bytes"], length);
    assert!(whole["total_ms"].as_f64() >= whole["head_ms"].as_f64() && whole["head_ms"].is_f64(), "{whole}");

    client.post(format!("{}/sleep", router.data)).send().await.unwrap();
    let refused = line(2).await;
    assert_eq!((&refused["status"], &refused["outcome"]), (&404.into(), &"refused".into()));
    assert!(refused.get("worker").is_none() && refused.get("trace").is_none(), "{refused}");

    client.post(format!("{}/v1/completions", router.data)).body("no json").send().await.unwrap();
    let judged = line(3).await;
    assert_eq!((&judged["status"], &judged["outcome"]), (&400.into(), &"whole".into()));

    let long = r#"{"model": "tiny", "prompt": "hello", "max_tokens": 4000, "ignore_eos": true, "stream": true}"#;
    let begin = async || {
        let request = client.post(format!("{}/v1/completions", router.data)).header("content-type", "application/json");
        let mut stream = request.body(long).send().await.unwrap().bytes_stream();
        within("the first event", stream.next()).await.unwrap().unwrap();
        stream
    };
    drop(begin().await);
    let cancelled = line(4).await;
    assert_eq!((&cancelled["status"], &cancelled["outcome"]), (&200.into(), &"cancelled".into()));
    assert!(cancelled["bytes"].as_u64().unwrap() > 0, "{cancelled}");

    let mut stream = begin().await;
    engine.kill().await;
    while let Some(Ok(_)) = within("the end", stream.next()).await {}
    let broken = line(5).await;
    assert_eq!((&broken["status"], &broken["outcome"]), (&200.into(), &"broken".into()));

    client.post(format!("{}/v1/completions", router.data)).body(body).send().await.unwrap();
    let nobody = line(6).await;
    assert_eq!((&nobody["status"], &nobody["outcome"]), (&502.into(), &"refused".into()));
}
