//! Loads of a few prompts, measured to their end or while they run.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use teebench_loadgen::client::{LoadError, LoadSpec, Progress, Target, measure};
use teebench_loadgen::dataset::{PlannedRequest, Prompt};
use teebench_loadgen::record::Measured;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

fn prompts(count: usize) -> Vec<PlannedRequest> {
    (0..count)
        .map(|index| PlannedRequest {
            prompt: Prompt::Text(format!("prompt {index}")),
            expected_prompt_tokens: 3,
            max_tokens: 4,
            temperature: None,
        })
        .collect()
}

pub fn load(count: usize, targets: Vec<Target>) -> LoadSpec {
    LoadSpec::new(Arc::new(prompts(count)), targets, "m")
}

pub async fn run(spec: &LoadSpec) -> Result<Measured, LoadError> {
    measure(spec, watch::Sender::new(Progress::default()), CancellationToken::new()).await
}

pub async fn measured(spec: &LoadSpec) -> Measured {
    run(spec).await.unwrap()
}

pub fn limit(number: u32) -> Option<NonZeroU32> {
    NonZeroU32::new(number)
}

/// A run under way.
pub struct Running {
    cancel: CancellationToken,
    pub seen: watch::Receiver<Progress>,
    measuring: tokio::task::JoinHandle<Result<Measured, LoadError>>,
}

impl Running {
    pub fn start(spec: LoadSpec) -> Running {
        let (progress, seen) = watch::channel(Progress::default());
        let cancel = CancellationToken::new();
        let token = cancel.clone();
        Running { cancel, seen, measuring: tokio::spawn(async move { measure(&spec, progress, token).await }) }
    }

    pub async fn reaches(&self, condition: impl FnMut(&Progress) -> bool) {
        let mut seen = self.seen.clone();
        let reached = tokio::time::timeout(Duration::from_secs(60), seen.wait_for(condition)).await;
        let reached = matches!(reached, Ok(Ok(_)));
        assert!(reached, "not reached in 60 s; last seen {:?}", *self.seen.borrow());
    }

    pub async fn cancel(self) -> Measured {
        self.cancel.cancel();
        self.measuring.await.unwrap().unwrap()
    }
}
