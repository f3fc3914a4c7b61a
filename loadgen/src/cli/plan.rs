//! From flags to a load and its results: all that can be wrong with the flags is found here, before anything is sent.

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow, bail, ensure};
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::args::{Args, ResultArgs, SaturationArgs, TrafficArgs};
use crate::arrivals::{Arrivals, Burstiness};
use crate::client::{Backend, HttpOptions, HttpVersion, LoadSpec, Share, Target, Trust};
use crate::dataset::{DatasetArgs, DatasetName, PromptForm, ServerTokenizer, TokenCounter, warmup_requests};
use crate::result_file::{ResultOptions, Slo};
use crate::saturation::SearchOptions;

/// The base URLs that the flags name.
pub(super) fn base_urls(args: &Args) -> Vec<String> {
    if args.base_url.is_empty() { vec![format!("http://{}:{}", args.host, args.port)] } else { args.base_url.clone() }
}

/// One of the runs that the flags ask for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    /// Requests per second; infinite for all at once.
    pub(super) request_rate: f64,
    pub(super) max_concurrency: Option<u32>,
    /// Of prompts and arrivals: another for each run, so that none finds its prompts in a cache.
    pub(super) seed: u64,
}

/// Each rate with each limit, in the order of the flags.
pub(super) fn points(traffic: &TrafficArgs) -> Vec<Point> {
    let TrafficArgs { request_rate, max_concurrency, seed, .. } = traffic;
    let limits: Vec<Option<u32>> =
        if max_concurrency.is_empty() { vec![None] } else { max_concurrency.iter().copied().map(Some).collect() };
    let pairs = request_rate.iter().flat_map(|&rate| limits.iter().map(move |&limit| (rate, limit)));
    pairs
        .enumerate()
        .map(|(run, (request_rate, max_concurrency))| Point {
            request_rate,
            max_concurrency,
            seed: seed.wrapping_add(run as u64),
        })
        .collect()
}

/// The load that the flags describe for one run, of a model whose name is known.
pub(super) fn load(args: &Args, model: &str, point: Point) -> anyhow::Result<LoadSpec> {
    let Args { dataset, traffic, .. } = args;
    let form = match args.backend {
        Backend::Openai | Backend::Vllm => PromptForm::TokenIds,
        Backend::OpenaiChat => PromptForm::Text,
    };
    let requests = dataset.requests(form, &counter(args, model)?, point.seed)?;
    let max_in_flight = args
        .max_in_flight_per_server
        .map(|limit| NonZeroU32::new(limit).context("--max-in-flight-per-server: give 1 or more"))
        .transpose()?;
    ensure!(traffic.probe_request_rate >= 0.0, "--probe-request-rate: give 0 or more");
    Ok(LoadSpec {
        warmup: warmup_requests(&*requests, traffic.num_warmups, point.seed)?,
        requests,
        targets: base_urls(args).into_iter().map(|base_url| Target { base_url, max_in_flight }).collect(),
        model: model.to_owned(),
        backend: args.backend,
        endpoint: args.endpoint.clone(),
        http: http(args)?,
        arrivals: arrivals(args, point)?,
        max_concurrency: point.max_concurrency.and_then(NonZeroU32::new),
        // As vLLM's client does for random prompts.
        ignore_eos: dataset.ignore_eos || dataset.is_meaningless(),
        extra_body: extra_body(dataset)?,
        keep_texts: args.result.save_detailed,
        request_timeout: LoadSpec::REQUEST_TIMEOUT,
        probe_requests_per_s: (traffic.probe_request_rate > 0.0).then_some(traffic.probe_request_rate),
        seed: point.seed,
        share: args.share.share.as_deref().map_or(Ok(Share::WHOLE), share)?,
        start_unix_ns: args.share.start_at.map(start_unix_ns).transpose()?,
        workers: args.workers.and_then(NonZeroU32::new),
    })
}

/// What the flags want said about a run.
pub(super) fn result_options(args: &Args, model: &str, point: Point) -> anyhow::Result<ResultOptions> {
    let ResultArgs { goodput, percentile_metrics, metric_percentiles, label, metadata, format, save_detailed, .. } =
        &args.result;
    ensure!(
        metric_percentiles.iter().all(|percent| (0.0..=100.0).contains(percent)),
        "--metric-percentiles: give numbers from 0 to 100"
    );
    Ok(ResultOptions {
        format: *format,
        detailed: *save_detailed,
        backend: args.backend,
        label: label.clone(),
        model_id: model.to_owned(),
        tokenizer_id: (!args.skip_tokenizer_init).then(|| args.tokenizer.as_deref().unwrap_or(model).to_owned()),
        num_prompts: args.dataset.num_prompts.into(),
        metadata: metadata.iter().map(|pair| key_value("--metadata", pair)).collect::<anyhow::Result<_>>()?,
        arrivals: arrivals(args, point)?,
        max_concurrency: point.max_concurrency,
        metrics: percentile_metrics.clone(),
        percentiles: metric_percentiles.clone(),
        slo: slo(goodput)?,
    })
}

/// What counts the tokens of texts.
fn counter(args: &Args, model: &str) -> anyhow::Result<TokenCounter> {
    if args.dataset.tokenize_by_server {
        let base_url = base_urls(args).into_iter().next().context("--base-url: give a URL")?;
        return Ok(TokenCounter::Server(Arc::new(ServerTokenizer::start(&base_url, model, http(args)?)?)));
    }
    match args.tokenizer.as_ref().map(Path::new) {
        Some(path) if path.is_file() || path.join("tokenizer.json").is_file() => Ok(TokenCounter::from_path(path)?),
        Some(path) if path.is_absolute() || path.extension().is_some_and(|extension| extension == "json") => {
            bail!("--tokenizer {}: no such file; give a tokenizer.json or a directory with one", path.display())
        }
        // The name of a repository, which is not asked for.
        _ => Ok(TokenCounter::Estimate),
    }
}

fn arrivals(args: &Args, point: Point) -> anyhow::Result<Arrivals> {
    let Args { dataset, traffic, .. } = args;
    let burstiness = Burstiness::new(traffic.burstiness).context("--burstiness: give a positive number or inf")?;
    let arrivals = match (traffic.ramp_up_strategy, traffic.ramp_up_start_rps, traffic.ramp_up_end_rps) {
        (Some(strategy), Some(start_rps), Some(end_rps)) => Arrivals::Ramp { strategy, start_rps, end_rps, burstiness },
        _ if point.request_rate == f64::INFINITY && dataset.dataset_name == DatasetName::Trace => {
            return Ok(Arrivals::Recorded);
        }
        _ if point.request_rate == f64::INFINITY => Arrivals::AllAtOnce { burstiness },
        _ => Arrivals::Rate { requests_per_s: point.request_rate, burstiness },
    };
    // An empty schedule finds what is wrong with the rates before a server is asked for anything.
    arrivals.schedule(0, point.seed)?;
    Ok(arrivals)
}

fn extra_body(args: &DatasetArgs) -> anyhow::Result<Map<String, Value>> {
    let mut body = Map::new();
    if let Some(temperature) = args.temperature {
        body.insert("temperature".to_owned(), temperature.into());
    }
    if let Some(json) = &args.extra_body {
        let extra: Map<String, Value> = serde_json::from_str(json).context("--extra-body: give one JSON object")?;
        body.extend(extra);
    }
    Ok(body)
}

fn share(text: &str) -> anyhow::Result<Share> {
    let numbers = text.split_once('/').and_then(|(number, of)| Some((number.parse().ok()?, of.parse().ok()?)));
    numbers
        .and_then(|(number, of)| Share::new(number, of))
        .with_context(|| format!("--share {text:?}: give K/N with K from 0 and below N, such as 0/4"))
}

fn start_unix_ns(at: Timestamp) -> anyhow::Result<u64> {
    u64::try_from(at.as_nanosecond()).ok().with_context(|| format!("--start-at {at}: give a moment that is to come"))
}

/// How HTTP is spoken with the servers that the flags name.
pub(super) fn http(args: &Args) -> anyhow::Result<HttpOptions> {
    let Args { header, http2, insecure, ca_file, .. } = args;
    Ok(HttpOptions {
        headers: headers(header)?,
        version: if *http2 { HttpVersion::Http2 } else { HttpVersion::Http1 },
        trust: match (insecure, ca_file) {
            (true, _) => Trust::Anyone,
            (false, Some(path)) => Trust::Authorities(path.clone()),
            (false, None) => Trust::System,
        },
    })
}

fn headers(pairs: &[String]) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for pair in pairs {
        let (key, value) = key_value("--header", pair)?;
        let name: HeaderName = key.parse().with_context(|| format!("--header {pair:?}: no name of a header"))?;
        let value =
            HeaderValue::from_str(&value).with_context(|| format!("--header {pair:?}: no value of a header"))?;
        headers.insert(name, value);
    }
    Ok(headers)
}

fn slo(goodput: &[String]) -> anyhow::Result<Slo> {
    let mut slo = Slo::default();
    for pair in goodput {
        let (metric, value) = pair
            .split_once(':')
            .with_context(|| format!("--goodput {pair:?}: give METRIC:VALUE, such as ttft:2s or tpot:50ms"))?;
        let field = match metric {
            "ttft" => &mut slo.ttft_ms,
            "tpot" => &mut slo.tpot_ms,
            "e2el" => &mut slo.e2el_ms,
            other => bail!("--goodput {pair:?}: no metric {other:?}; give ttft, tpot or e2el"),
        };
        *field = Some(milliseconds(value).map_err(|reason| anyhow!("--goodput {pair:?}: {reason}"))?);
    }
    Ok(slo)
}

/// A time with its unit. Clients differ in what a bare number means, and a goodput by the wrong one looks plausible.
fn milliseconds(value: &str) -> Result<f64, &'static str> {
    let (number, unit_ms) = match (value.strip_suffix("ms"), value.strip_suffix('s')) {
        (Some(number), _) => (number, 1.0),
        (None, Some(number)) => (number, 1000.0),
        (None, None) => return Err("put the unit behind the number: ms, which vLLM takes without saying it, or s"),
    };
    let number: f64 = number.trim().parse().map_err(|_| "give a number with ms or s behind it")?;
    if !(number >= 0.0 && number.is_finite()) {
        return Err("give a number that is not negative");
    }
    Ok(number * unit_ms)
}

fn key_value(flag: &str, pair: &str) -> anyhow::Result<(String, String)> {
    let (key, value) = pair.split_once('=').with_context(|| format!("{flag} {pair:?}: give KEY=VALUE"))?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

/// How the flags want a saturation searched for.
pub(super) fn search_options(args: &Args) -> anyhow::Result<SearchOptions> {
    let SaturationArgs {
        saturation: _,
        saturation_attainment,
        saturation_resolution,
        saturation_half_width,
        saturation_repetitions,
        saturation_maximum_rate,
    } = args.saturation;
    let start_rps = match args.traffic.request_rate[..] {
        [rate] if rate == f64::INFINITY => 1.0,
        [rate] if rate > 0.0 => rate,
        _ => bail!("--request-rate: a saturation search begins at one positive rate"),
    };
    ensure!(args.traffic.max_concurrency.len() < 2, "--max-concurrency: give one for a saturation search");
    ensure!(
        saturation_attainment > 0.0 && saturation_attainment <= 1.0,
        "--saturation-attainment: give a share above 0, to 1"
    );
    ensure!(saturation_resolution > 0.001, "--saturation-resolution: give a share above 0.001");
    ensure!(saturation_half_width >= 0.0, "--saturation-half-width: give a share that is not negative");
    ensure!(saturation_maximum_rate >= start_rps, "--saturation-maximum-rate: give one that is not under the first");
    Ok(SearchOptions {
        start_rps,
        maximum_rps: saturation_maximum_rate,
        attainment: saturation_attainment,
        resolution: saturation_resolution,
        half_width: saturation_half_width,
        minimum_repetitions: 2,
        maximum_repetitions: saturation_repetitions as usize,
    })
}

#[cfg(test)]
mod tests;
