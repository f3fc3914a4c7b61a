//! Single-token requests sent beside the load, one after the other, to see how it stalls others.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::LoadError;
use super::progress::Counters;
use super::recorder::Dispatch;
use super::request::{Shared, perform};
use crate::dataset::{PlannedRequest, Prompt};
use crate::record::ProbeLatencies;

/// The requests under way.
pub(super) struct ProbeLoop {
    stop: CancellationToken,
    task: AbortOnDropHandle<ProbeLatencies>,
}

impl ProbeLoop {
    /// Starts sending `requests_per_s`, taking the targets in turn.
    pub(super) fn start(shared: &Arc<Shared>, requests_per_s: f64) -> Result<ProbeLoop, LoadError> {
        let interval = Duration::try_from_secs_f64(1.0 / requests_per_s)
            .ok()
            .filter(|interval| !interval.is_zero())
            .ok_or(LoadError::ProbeRate(requests_per_s))?;
        let request = PlannedRequest {
            prompt: Prompt::Text("Hi".to_owned()),
            expected_prompt_tokens: 1,
            max_tokens: 1,
            temperature: None,
        };
        let payload = shared.template.render(&request)?;
        let stop = CancellationToken::new();
        let task = tokio::spawn({
            let (shared, stop) = (Arc::clone(shared), stop.clone());
            let counters = Arc::new(Counters::default());
            async move {
                let mut latencies = ProbeLatencies::default();
                for index in 0.. {
                    let now_ns = shared.clock.now_ns();
                    let dispatch = Dispatch {
                        index,
                        target: index % shared.targets.len(),
                        expected_prompt_tokens: request.expected_prompt_tokens,
                        intended_ns: now_ns,
                        arrived_ns: now_ns,
                        admitted_ns: now_ns,
                    };
                    let exchange = perform(
                        Arc::clone(&shared),
                        Arc::clone(&counters),
                        dispatch,
                        payload.clone(),
                        request.max_tokens,
                    );
                    let record = exchange.await;
                    match record.error {
                        None => latencies.latencies_s.push(record.latency_s),
                        Some(_) => latencies.failed += 1,
                    }
                    // Between two requests, not from start to start: as vLLM's client paces them.
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => break,
                        () = tokio::time::sleep(interval) => {}
                    }
                }
                latencies
            }
        });
        Ok(ProbeLoop { stop, task: AbortOnDropHandle::new(task) })
    }

    /// Lets the request under way end and returns what was measured.
    pub(super) async fn stop(self) -> Result<ProbeLatencies, LoadError> {
        self.stop.cancel();
        Ok(self.task.await?)
    }
}
