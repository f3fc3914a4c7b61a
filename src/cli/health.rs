//! `teebench health`: asks a health address, for `helm test`.

use std::{process::ExitCode, time::Duration};

use anyhow::{Context, bail};
use reqwest::{Client, StatusCode};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{DONE, FAILED, print};

/// Ask whether a part of teebench is healthy.
#[derive(clap::Args, Debug)]
#[command(before_help = "Example: teebench health http://teebench-metrics.teebench-system.svc:9090/readyz")]
pub struct Args {
    /// Address to ask; anything but status 200 is a failure.
    url: String,
}

/// How long it may take until the address is healthy: a Service leads to a pod some seconds after the pod is ready.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(250);

/// Asks until the answer is good or patience ends, and says what was answered last.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let (status, text) = runtime.block_on(healthy(&args.url, PATIENCE))?;
    print(&format!("{status}: {}\n", text.trim()))?;
    Ok(ExitCode::from(if status == StatusCode::OK { DONE } else { FAILED }))
}

async fn healthy(url: &str, patience: Duration) -> anyhow::Result<(StatusCode, String)> {
    let http = Client::builder().no_proxy().timeout(ANSWER).build()?;
    let end = Instant::now() + patience;
    let mut looks = interval(PAUSE);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let asked = async {
            let answer = http.get(url).send().await?;
            Ok::<_, reqwest::Error>((answer.status(), answer.text().await?))
        };
        match asked.await {
            Ok(answer) if answer.0 == StatusCode::OK || Instant::now() >= end => return Ok(answer),
            Err(error) if error.is_builder() => bail!("{url}: no address that can be asked: {error}"),
            Err(error) if Instant::now() >= end => return Err(error.into()),
            Ok(_) | Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    };

    use axum::{Router, routing::get};
    use tokio::net::TcpListener;

    use super::*;

    /// An address that answers 503 so many times before it answers 200.
    async fn unhealthy_at_first(times: usize) -> String {
        let left = Arc::new(AtomicUsize::new(times));
        let answer = async move || match left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)) {
            Ok(_) => (StatusCode::SERVICE_UNAVAILABLE, "not yet"),
            Err(_) => (StatusCode::OK, "ok"),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/readyz", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, Router::new().route("/readyz", get(answer))).await });
        url
    }

    #[tokio::test]
    async fn what_is_not_yet_healthy_is_asked_again() {
        let url = unhealthy_at_first(2).await;
        assert_eq!(healthy(&url, PATIENCE).await.unwrap(), (StatusCode::OK, "ok".to_owned()));
    }

    #[tokio::test]
    async fn what_never_answers_is_an_error_when_patience_ends() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/readyz", listener.local_addr().unwrap());
        drop(listener);
        assert!(healthy(&url, Duration::ZERO).await.unwrap_err().is::<reqwest::Error>());
    }

    #[tokio::test]
    async fn what_is_no_address_is_told_at_once() {
        let error = healthy("no address", PATIENCE).await.unwrap_err();
        assert!(error.to_string().contains("no address"), "{error}");
    }
}
