//! From an attempt's inputs to the load that is sent and the result file that describes it.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use serde_json::Map;
use teebench_api::{
    campaign::Slo as SloSpec,
    files::inputs::RunInputs,
    plan::{LoadPoint, RouterTarget},
    policy::Topology,
};
use teebench_loadgen::{
    arrivals::{Arrivals, Burstiness},
    client::{Backend, LoadSpec, Share, Target},
    dataset::{self, DatasetError, FileInput, PlannedRequest, SourceParameters},
    result_file::{Format, Metric, ResultOptions, Slo},
};
use thiserror::Error;

use super::routers::RouterError;

/// An attempt's load could not be made from its inputs.
#[derive(Debug, Error)]
pub enum LoadInputError {
    /// The data set could not be read or drawn.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// A server without the router that the run goes through.
    #[error(transparent)]
    Router(#[from] RouterError),
    /// The burstiness is out of its bounds.
    #[error("load.burstinessMilli {0}: give at least 1")]
    Burstiness(u32),
    /// A cap of requests in flight leaves a load generator none.
    #[error(
        "direct.maxInFlightPerServer {0}: fewer than loadGenerator.replicas leave nothing for some of them; raise it, or use fewer"
    )]
    CapTooLow(u32),
}

/// The load and the options of its result file.
pub struct Prepared {
    /// What is sent.
    pub load: LoadSpec,
    /// What is sent before the window.
    pub warmup: Vec<PlannedRequest>,
    /// What the result file says beside the measurement.
    pub result: ResultOptions,
    /// SHA-256 of the file that the prompts come from, in hex.
    pub dataset_sha256: Option<String>,
}

/// Draws prompts and describes the load.
pub fn prepare(inputs: &RunInputs, share: Share) -> Result<Prepared, LoadInputError> {
    let parameters = SourceParameters {
        input_tokens: inputs.dataset.random.as_ref().and_then(|random| random.input_tokens.first().copied()),
        output_tokens: inputs.output_tokens,
        seed: inputs.seed,
        file: inputs.dataset_file.as_ref().map(|file| FileInput {
            path: file.path.clone().into(),
            sha256: file.sha256.clone(),
            seed: inputs.dataset_seed,
            part: u64::from(inputs.run.repetition.saturating_sub(1)),
        }),
    };
    let requests = dataset::requests(&inputs.dataset, &parameters)?;
    let dataset_sha256 = requests.file_sha256().map(ToOwned::to_owned);
    let warmup = dataset::warmup_requests(&*requests, inputs.warmup_requests as usize, inputs.seed)?;
    let LoadPoint { request_rate_milli, burstiness_milli, max_concurrency } = inputs.load;
    let burstiness =
        Burstiness::new(f64::from(burstiness_milli) / 1000.0).ok_or(LoadInputError::Burstiness(burstiness_milli))?;
    let arrivals = match request_rate_milli {
        Some(rate) => Arrivals::Rate { requests_per_s: f64::from(rate) / 1000.0, burstiness },
        None if inputs.dataset.trace.is_some() => Arrivals::Recorded,
        None => Arrivals::AllAtOnce { burstiness },
    };
    let num_prompts = requests.len() as u64;
    let load = LoadSpec {
        arrivals,
        max_concurrency: max_concurrency.and_then(NonZeroU32::new),
        // Every request of a run asks for the same work, whatever the model would say.
        ignore_eos: true,
        keep_texts: inputs.keep_texts,
        request_timeout: Duration::from_secs(inputs.deadline_seconds),
        extra_body: Map::from_iter([("temperature".to_owned(), 0.0.into())]),
        seed: inputs.seed,
        ..LoadSpec::new(requests, targets(inputs, share)?, inputs.served_model.clone())
    };
    let result = ResultOptions {
        format: Format::Vllm032,
        detailed: true,
        backend: Backend::Openai,
        label: Some(inputs.run.experiment.clone()),
        model_id: inputs.served_model.clone(),
        tokenizer_id: Some(inputs.served_model.clone()),
        num_prompts,
        metadata: metadata(inputs),
        arrivals,
        max_concurrency,
        metrics: vec![Metric::Ttft, Metric::Tpot, Metric::Itl, Metric::E2el],
        percentiles: ResultOptions::CAMPAIGN_PERCENTILES.to_vec(),
        slo: slo(inputs.slo),
    };
    Ok(Prepared { load, warmup, result, dataset_sha256 })
}

impl Prepared {
    /// The warm-up as a load of its own: a closed loop of so many requests at once.
    pub fn warmup_load(&self, at_once: NonZeroU32) -> LoadSpec {
        LoadSpec {
            requests: Arc::new(self.warmup.clone()),
            arrivals: Arrivals::AllAtOnce { burstiness: Burstiness::POISSON },
            max_concurrency: Some(at_once),
            ..self.load.clone()
        }
    }
}

fn metadata(inputs: &RunInputs) -> Vec<(String, String)> {
    let run = &inputs.run;
    vec![
        ("campaign".to_owned(), inputs.campaign.clone()),
        ("condition".to_owned(), run.condition.clone()),
        ("arm".to_owned(), run.arm.clone()),
        ("router".to_owned(), run.router.clone()),
        ("repetition".to_owned(), run.repetition.to_string()),
        ("tee".to_owned(), inputs.tee.name().to_owned()),
        ("simulated".to_owned(), inputs.simulated.to_string()),
    ]
}

fn slo(slo: Option<SloSpec>) -> Slo {
    let Some(SloSpec { ttft_milliseconds, itl_milliseconds, e2el_milliseconds }) = slo else { return Slo::default() };
    Slo {
        ttft_ms: ttft_milliseconds.map(f64::from),
        tpot_ms: itl_milliseconds.map(f64::from),
        e2el_ms: e2el_milliseconds.map(f64::from),
    }
}

/// Where requests enter: request i at the i-th entry, in turn.
fn targets(inputs: &RunInputs, share: Share) -> Result<Vec<Target>, LoadInputError> {
    let target = |base_url: String, cap: u32| Target { base_url, max_in_flight: NonZeroU32::new(cap) };
    match &inputs.target {
        RouterTarget::Direct { max_in_flight_per_server } => {
            let cap = share.of_limit(*max_in_flight_per_server);
            if cap == 0 && *max_in_flight_per_server > 0 {
                return Err(LoadInputError::CapTooLow(*max_in_flight_per_server));
            }
            Ok(inputs.servers.iter().map(|server| target(server.engine_url.clone(), cap)).collect())
        }
        RouterTarget::Foreign { url } => Ok(vec![target(url.clone(), 0)]),
        RouterTarget::Policy(policy) => {
            let replicas = policy.replicas.unwrap_or(1) as usize;
            let beside = |entries: usize| {
                let servers = inputs.servers.iter().take(entries);
                let urls = servers
                    .map(|server| server.router_url.clone().ok_or(RouterError::Missing { ordinal: server.ordinal }));
                urls.map(|url| Ok(target(url?, 0))).collect()
            };
            match policy.topology {
                Topology::Sidecar => beside(inputs.servers.len()),
                // A gateway is the same neutral router; only as many are entered as the policy has replicas.
                Topology::Gateway if inputs.gateways.is_empty() => beside(replicas.max(1)),
                Topology::Gateway => {
                    let gateways = inputs.gateways.iter().take(replicas.max(1));
                    Ok(gateways.map(|gateway| target(gateway.router_url.clone(), 0)).collect())
                }
            }
        }
    }
}
