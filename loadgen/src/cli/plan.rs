//! From flags to a load and its results: all that can be wrong with the flags is found here, before anything is sent.

use std::num::NonZeroU32;
use std::sync::Arc;

use anyhow::{Context, anyhow, bail, ensure};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};
use teebench_api::campaign::dataset::Reuse;

use super::args::{Args, DatasetArgs, DatasetName, ResultArgs, TrafficArgs};
use crate::arrivals::{Arrivals, Burstiness};
use crate::client::{Backend, HttpOptions, HttpVersion, LoadSpec, Share, Target, Trust};
use crate::dataset::{
    JsonlSource, LineFormat, PromptForm, RandomSource, RandomSpec, RequestSource, ToolbenchSource, ToolbenchSpec,
    warmup_requests,
};
use crate::result_file::{ResultOptions, Slo};

/// The base URLs that the flags name.
pub(super) fn base_urls(args: &Args) -> Vec<String> {
    if args.base_url.is_empty() { vec![format!("http://{}:{}", args.host, args.port)] } else { args.base_url.clone() }
}

/// The load that the flags describe, of a model whose name is known.
pub(super) fn load(args: &Args, model: &str) -> anyhow::Result<LoadSpec> {
    let Args { dataset, traffic, .. } = args;
    let requests = requests(dataset, args.backend, traffic.seed)?;
    let max_in_flight = args
        .max_in_flight_per_server
        .map(|limit| NonZeroU32::new(limit).context("--max-in-flight-per-server: give 1 or more"))
        .transpose()?;
    ensure!(traffic.probe_request_rate >= 0.0, "--probe-request-rate: give 0 or more");
    Ok(LoadSpec {
        warmup: warmup_requests(&*requests, traffic.num_warmups, traffic.seed),
        requests,
        targets: base_urls(args).into_iter().map(|base_url| Target { base_url, max_in_flight }).collect(),
        model: model.to_owned(),
        backend: args.backend,
        endpoint: args.endpoint.clone(),
        http: http(args)?,
        arrivals: arrivals(traffic)?,
        max_concurrency: traffic.max_concurrency.and_then(NonZeroU32::new),
        // As vLLM's client: random prompts mean nothing, and a model would end its answer early by chance.
        ignore_eos: dataset.ignore_eos || dataset.dataset_name == DatasetName::Random,
        extra_body: extra_body(dataset)?,
        keep_texts: args.result.save_detailed,
        request_timeout: LoadSpec::REQUEST_TIMEOUT,
        probe_requests_per_s: (traffic.probe_request_rate > 0.0).then_some(traffic.probe_request_rate),
        seed: traffic.seed,
        share: Share::WHOLE,
        start_unix_ns: None,
        workers: args.workers.and_then(NonZeroU32::new),
    })
}

/// What the flags want said about the load.
pub(super) fn result_options(args: &Args, model: &str) -> anyhow::Result<ResultOptions> {
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
        arrivals: arrivals(&args.traffic)?,
        max_concurrency: args.traffic.max_concurrency,
        metrics: percentile_metrics.clone(),
        percentiles: metric_percentiles.clone(),
        slo: slo(goodput)?,
    })
}

fn requests(args: &DatasetArgs, backend: Backend, seed: u64) -> anyhow::Result<Arc<dyn RequestSource>> {
    let count = args.num_prompts as usize;
    match (args.dataset_name, &args.dataset_path) {
        (DatasetName::Random, None) => {
            let input_len = args.input_len.unwrap_or(args.random_input_len);
            let output_len = args.output_len.unwrap_or(args.random_output_len);
            let spec =
                RandomSpec::of_flags(count, args.random_prefix_len, input_len, output_len, args.random_range_ratio)?;
            let form = match backend {
                Backend::Openai | Backend::Vllm => PromptForm::TokenIds,
                Backend::OpenaiChat => PromptForm::Text,
            };
            Ok(Arc::new(RandomSource::new(spec, form, seed)))
        }
        (DatasetName::Random, Some(_)) => {
            bail!("--dataset-path: random prompts take no file; use another --dataset-name")
        }
        (DatasetName::Toolbench, None) => {
            ensure!(args.toolbench_zipf >= 0.0, "--toolbench-zipf: give 0 or more");
            ensure!(
                (0.0..=1.0).contains(&args.toolbench_duplicates),
                "--toolbench-duplicates: give a share from 0 to 1"
            );
            let spec = ToolbenchSpec {
                prompts: count,
                tools: args.toolbench_tools as usize,
                zipf_exponent: args.toolbench_zipf,
                reuse: if args.toolbench_no_reuse { Reuse::None } else { Reuse::Tools },
                exact_duplicates: args.toolbench_duplicates,
                output_tokens: args.output_len.unwrap_or(128),
            };
            Ok(Arc::new(ToolbenchSource::new(&spec, seed)))
        }
        (DatasetName::Toolbench, Some(path)) => {
            Ok(Arc::new(JsonlSource::open(path, LineFormat::Toolbench, count, args.output_len, seed)?))
        }
        (DatasetName::Custom, Some(path)) => {
            Ok(Arc::new(JsonlSource::open(path, LineFormat::Custom, count, args.output_len, seed)?))
        }
        (DatasetName::Custom, None) => bail!("--dataset-name custom: give its file with --dataset-path"),
    }
}

fn arrivals(args: &TrafficArgs) -> anyhow::Result<Arrivals> {
    let burstiness = Burstiness::new(args.burstiness).context("--burstiness: give a positive number or inf")?;
    let arrivals = match (args.ramp_up_strategy, args.ramp_up_start_rps, args.ramp_up_end_rps) {
        (Some(strategy), Some(start_rps), Some(end_rps)) => Arrivals::Ramp { strategy, start_rps, end_rps, burstiness },
        _ if args.request_rate == f64::INFINITY => Arrivals::AllAtOnce { burstiness },
        _ => Arrivals::Rate { requests_per_s: args.request_rate, burstiness },
    };
    // An empty schedule finds what is wrong with the rates before a server is asked for anything.
    arrivals.schedule(0, args.seed)?;
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
        let limit = |value: &str| value.parse().ok().filter(|limit: &f64| *limit >= 0.0);
        let parsed = pair.split_once(':').and_then(|(metric, value)| Some((metric, limit(value)?)));
        let (metric, limit_ms) =
            parsed.ok_or_else(|| anyhow!("--goodput {pair:?}: give METRIC:MS, such as ttft:2000"))?;
        let field = match metric {
            "ttft" => &mut slo.ttft_ms,
            "tpot" => &mut slo.tpot_ms,
            "e2el" => &mut slo.e2el_ms,
            other => bail!("--goodput {pair:?}: no metric {other:?}; give ttft, tpot or e2el"),
        };
        *field = Some(limit_ms);
    }
    Ok(slo)
}

fn key_value(flag: &str, pair: &str) -> anyhow::Result<(String, String)> {
    let (key, value) = pair.split_once('=').with_context(|| format!("{flag} {pair:?}: give KEY=VALUE"))?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use rstest::rstest;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    fn parse(flags: &str) -> Args {
        Command::parse_from(std::iter::once("loadgen").chain(flags.split_whitespace())).args
    }

    #[test]
    fn a_command_line_of_vllm_is_understood() {
        let args = parse(
            "--backend openai --base-url http://h:1 --endpoint /v1/completions --model org/m --dataset-name random \
             --random-input-len 16 --random-output-len 4 --num-prompts 8 --request-rate 10 --burstiness 0.5 \
             --max-concurrency 2 --seed 3 --temperature 0 --extra-body {\"top_p\":0.5} --goodput ttft:50 e2el:900 \
             --label l --metadata a=1 b=2 --percentile-metrics ttft,e2el --metric-percentiles 50,99.9 --num-warmups 2 \
             --save-result --save-detailed",
        );
        let spec = load(&args, "org/m").unwrap();
        assert_eq!((spec.requests.len(), spec.warmup.len(), spec.ignore_eos), (8, 2, true));
        assert_eq!(spec.arrivals, Arrivals::Rate { requests_per_s: 10.0, burstiness: Burstiness::new(0.5).unwrap() });
        assert_eq!(Value::Object(spec.extra_body), serde_json::json!({"temperature": 0.0, "top_p": 0.5}));
        let options = result_options(&args, "org/m").unwrap();
        assert_eq!(options.slo, Slo { ttft_ms: Some(50.0), tpot_ms: None, e2el_ms: Some(900.0) });
        assert_eq!(options.percentiles, [50.0, 99.9]);
        assert_eq!(options.metadata.len(), 2);
        assert_eq!(options.tokenizer_id.as_deref(), Some("org/m"));
    }

    #[test]
    fn a_ramp_takes_the_place_of_the_rate() {
        let args = parse("--ramp-up-strategy linear --ramp-up-start-rps 2 --ramp-up-end-rps 10");
        assert!(matches!(load(&args, "m").unwrap().arrivals, Arrivals::Ramp { start_rps: 2, end_rps: 10, .. }));
    }

    #[rstest]
    #[case("--burstiness 0", "--burstiness")]
    #[case("--request-rate 0", "request rate 0")]
    #[case("--ramp-up-strategy linear --ramp-up-start-rps 5 --ramp-up-end-rps 2", "ramp from 5 to 2")]
    #[case("--goodput itl:5", "no metric \"itl\"")]
    #[case("--goodput ttft", "METRIC:MS")]
    #[case("--metadata x", "KEY=VALUE")]
    #[case("--metric-percentiles 101", "--metric-percentiles")]
    #[case("--extra-body [1]", "--extra-body")]
    #[case("--dataset-name custom", "--dataset-path")]
    #[case("--dataset-path x", "random prompts take no file")]
    #[case("--dataset-name custom --dataset-path /nowhere/x", "cannot be read")]
    #[case("--random-range-ratio 1", "range ratio 1")]
    #[case("--max-in-flight-per-server 0", "--max-in-flight-per-server")]
    fn bad_flags_are_refused_by_name(#[case] flags: &str, #[case] words: &str) {
        let args = parse(flags);
        let error = load(&args, "m").map(|_| ()).and_then(|()| result_options(&args, "m").map(|_| ())).unwrap_err();
        assert!(format!("{error:#}").contains(words), "{error:#}");
    }
}
