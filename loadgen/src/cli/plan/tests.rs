//! What flags become, and which are refused by name.

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
    let [point] = points(&args.traffic)[..] else { panic!("{:?}", points(&args.traffic)) };
    let spec = load(&args, "org/m", point).unwrap();
    assert_eq!((spec.requests.len(), spec.warmup.len(), spec.ignore_eos), (8, 2, true));
    assert_eq!(spec.arrivals, Arrivals::Rate { requests_per_s: 10.0, burstiness: Burstiness::new(0.5).unwrap() });
    assert_eq!(Value::Object(spec.extra_body), serde_json::json!({"temperature": 0.0, "top_p": 0.5}));
    let options = result_options(&args, "org/m", point).unwrap();
    assert_eq!(options.slo, Slo { ttft_ms: Some(50.0), tpot_ms: None, e2el_ms: Some(900.0) });
    assert_eq!(options.percentiles, [50.0, 99.9]);
    assert_eq!(options.metadata.len(), 2);
    assert_eq!(options.tokenizer_id.as_deref(), Some("org/m"));
}

#[test]
fn a_ramp_takes_the_place_of_the_rate() {
    let args = parse("--ramp-up-strategy linear --ramp-up-start-rps 2 --ramp-up-end-rps 10");
    assert!(matches!(
        load(&args, "m", points(&args.traffic)[0]).unwrap().arrivals,
        Arrivals::Ramp { start_rps: 2, end_rps: 10, .. }
    ));
}

#[rstest]
#[case("--burstiness 0", "--burstiness")]
#[case("--request-rate 0", "request rate 0")]
#[case("--ramp-up-strategy linear --ramp-up-start-rps 5 --ramp-up-end-rps 2", "ramp from 5 to 2")]
#[case("--goodput itl:5", "no metric \"itl\"")]
#[case("--request-rate -1", "request rate -1")]
#[case("--request-rate nan", "request rate NaN")]
#[case("--burstiness -1", "--burstiness")]
#[case("--goodput ttft", "METRIC:VALUE")]
#[case("--goodput ttft:", "give a number with ms or s")]
#[case("--goodput ttft:0.5", "put ms or s behind it")]
#[case("--goodput ttft:5min", "give a number with ms or s")]
#[case("--goodput ttft:-5ms", "not negative")]
#[case("--goodput ttft:nan", "not negative")]
#[case("--saturation-attainment 0", "--saturation-attainment")]
#[case("--saturation-attainment nan", "--saturation-attainment")]
#[case("--saturation-resolution 0", "--saturation-resolution")]
#[case("--saturation-maximum-rate 0.5", "--saturation-maximum-rate")]
#[case("--share 4/4 --part-file p", "--share")]
#[case("--share 1 --part-file p", "--share")]
#[case("--start-at 1950-01-01T00:00:00Z", "--start-at")]
#[case("--request-rate 1,2 --saturation --goodput ttft:5", "begins at one positive rate")]
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
    let point = points(&args.traffic)[0];
    let refused = load(&args, "m", point).map(|_| ());
    let refused = refused.and_then(|()| result_options(&args, "m", point).map(|_| ()));
    let error = refused.and_then(|()| search_options(&args).map(|_| ())).unwrap_err();
    assert!(format!("{error:#}").contains(words), "{error:#}");
}

#[test]
fn objectives_have_units_or_are_milliseconds() {
    let args = parse("--goodput ttft:500 tpot:25.5ms e2el:2s");
    let options = result_options(&args, "m", points(&args.traffic)[0]).unwrap();
    assert_eq!(options.slo, Slo { ttft_ms: Some(500.0), tpot_ms: Some(25.5), e2el_ms: Some(2000.0) });
}

#[test]
fn a_sweep_runs_each_rate_with_each_limit_and_prompts_of_its_own() {
    let points = points(&parse("--request-rate 1,inf --max-concurrency 2,4 --seed 7").traffic);
    let found: Vec<_> = points.iter().map(|point| (point.request_rate, point.max_concurrency, point.seed)).collect();
    let inf = f64::INFINITY;
    assert_eq!(found, [(1.0, Some(2), 7), (1.0, Some(4), 8), (inf, Some(2), 9), (inf, Some(4), 10)]);
}
