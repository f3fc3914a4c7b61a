//! The results service over real TLS and HTTP, on a real directory; the API server's part is played over HTTP.

mod commits;
mod reads;
mod refusals;
mod robustness;

use super::Limits;
use crate::{
    store::campaigns::run_json,
    testing::{Answer, Lab, bench_json, run_file, start, valid_run},
};

/// Uploads a valid attempt of pod `number`; the files to commit.
async fn uploaded(lab: &Lab, number: usize) -> Vec<(&'static str, String)> {
    let token = format!("token-{number}");
    let run = valid_run(&lab.plan, &start(&lab.plan, number - 1, number as u64));
    let run = lab.put(&token, &run_json(&run)).await;
    let bench = lab.put(&token, bench_json()).await;
    vec![("bench.json", bench), ("run.json", run)]
}

/// Asks for the commit of these files.
async fn commit(lab: &Lab, token: &str, files: &[(&'static str, String)]) -> Answer {
    let files: Vec<(&str, &str)> = files.iter().map(|(path, sum)| (*path, sum.as_str())).collect();
    lab.commit(token, &files).await
}

/// The refusal's one word.
fn code(answer: &Answer) -> &str {
    answer.body["code"].as_str().unwrap_or_default()
}

/// Number of uploaded files that are not committed.
async fn staged(lab: &Lab, number: usize) -> usize {
    let start = start(&lab.plan, number - 1, number as u64);
    lab.campaign().staging(&start.run, start.attempt).held().await.unwrap().0
}
