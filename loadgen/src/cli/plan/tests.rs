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

/// The load of the first run.
fn load_first(flags: &str) -> LoadSpec {
    let args = parse(flags);
    load(&args, "m", points(&args.traffic)[0]).unwrap()
}

#[test]
fn the_flags_of_vllm_are_understood() {
    let args = parse(
        "--backend openai --base-url http://h:1 --endpoint /v1/completions --model org/m --dataset-name random \
         --random-input-len 16 --random-output-len 4 --num-prompts 8 --request-rate 10 --burstiness 0.5 \
         --max-concurrency 2 --seed 3 --temperature 0 --extra-body {\"top_p\":0.5} --goodput ttft:50ms e2el:900ms \
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

#[rstest]
#[case::random("random --random-input-len 20 --random-output-len 5 --random-prefix-len 4", 24, 5)]
#[case::lengths_of_all("random --random-input-len 20 --input-len 30 --output-len 6", 30, 6)]
#[case::prefixes(
    "prefix_repetition --prefix-repetition-num-prefixes 2 --prefix-repetition-prefix-len 8 \
     --prefix-repetition-suffix-len 3 --prefix-repetition-output-len 7",
    11,
    7
)]
#[case::custom("custom --dataset-path PROMPTS", 3, 9)]
#[case::custom_with_its_own_cap("custom --dataset-path PROMPTS --custom-output-len -1", 3, 9)]
#[case::custom_with_another_cap("custom --dataset-path PROMPTS --custom-output-len 4", 3, 4)]
#[case::conversations("sharegpt --dataset-path TALK", 5, 4)]
#[case::conversations_with_a_cap("sharegpt --dataset-path TALK --sharegpt-output-len 8", 5, 8)]
fn data_sets_have_the_flags_of_vllm(#[case] flags: &str, #[case] input: u32, #[case] output: u32) {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let prompts = file("prompts.jsonl", "{\"prompt\": [1, 2, 3], \"output_tokens\": 9}\n".repeat(2).as_str());
    let turn = |tokens| format!("{{\"value\": \"{}\"}}", "abcd".repeat(tokens));
    let talk = file("talk.json", &format!("{{\"conversations\": [{}, {}]}}\n", turn(5), turn(4)).repeat(2));
    let flags = flags.replace("PROMPTS", &prompts).replace("TALK", &talk);
    let spec = load_first(&format!("--num-prompts 2 --dataset-name {flags}"));
    let request = spec.requests.request(1).unwrap();
    assert_eq!((spec.requests.len(), request.expected_prompt_tokens, request.max_tokens), (2, input, output));
}

#[test]
fn a_trace_brings_its_times_unless_a_rate_is_given() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let line = |timestamp| format!("{{\"timestamp\":{timestamp},\"input_length\":5,\"output_length\":2}}\n");
    std::fs::write(file.path(), line(100) + &line(1100)).unwrap();
    let flags = format!("--dataset-name trace --dataset-path {} --num-prompts 2", file.path().display());
    let spec = load_first(&format!("{flags} --trace-speed 4"));
    assert_eq!(spec.schedule().unwrap().offsets_s, [0.0, 0.25]);
    let spec = load_first(&format!("{flags} --request-rate 5 --burstiness inf"));
    assert_eq!(spec.schedule().unwrap().offsets_s, [0.2, 0.4]);
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
#[case("--goodput ttft:", "put the unit behind the number")]
#[case("--goodput ttft:500", "put the unit behind the number")]
#[case("--goodput ttft:0.5", "put the unit behind the number")]
#[case("--goodput ttft:5min", "put the unit behind the number")]
#[case("--goodput ttft:fives", "give a number with ms or s")]
#[case("--goodput ttft:-5ms", "not negative")]
#[case("--goodput ttft:nanms", "not negative")]
#[case("--saturation-attainment 0", "--saturation-attainment")]
#[case("--saturation-attainment nan", "--saturation-attainment")]
#[case("--saturation-resolution 0", "--saturation-resolution")]
#[case("--saturation-maximum-rate 0.5", "--saturation-maximum-rate")]
#[case("--share 4/4 --part-file p", "--share")]
#[case("--share 1 --part-file p", "--share")]
#[case("--start-at 1950-01-01T00:00:00Z", "--start-at")]
#[case("--request-rate 1,2 --saturation --goodput ttft:5ms", "begins at one positive rate")]
#[case("--metadata x", "KEY=VALUE")]
#[case("--metric-percentiles 101", "--metric-percentiles")]
#[case("--extra-body [1]", "--extra-body")]
#[case("--dataset-name custom", "--dataset-path")]
#[case("--dataset-path x", "random prompts take no file")]
#[case("--dataset-name custom --dataset-path /nowhere/x", "cannot be read")]
#[case("--random-range-ratio 1", "range ratio 1")]
#[case("--dataset-name sharegpt", "--dataset-name sharegpt: give its file")]
#[case("--dataset-name prefix_repetition --num-prompts 4", "10 prefixes for 4 prompts")]
#[case("--dataset-name trace --dataset-path x --trace-speed 0", "--trace-speed")]
#[case("--dataset-name custom --dataset-path x --custom-output-len 0", "--custom-output-len")]
#[case("--dataset-name toolbench --toolbench-no-reuse --toolbench-duplicates 0.5", "--toolbench-no-reuse")]
#[case("--tokenizer /nowhere/tokenizer.json", "no such file")]
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
fn objectives_have_units() {
    let args = parse("--goodput ttft:500ms tpot:25.5ms e2el:2s");
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

#[test]
fn a_sweep_of_a_trace_has_its_own_times_only_where_no_rate_is_given_and_prompts_of_its_own() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let line = |timestamp| format!("{{\"timestamp\":{timestamp},\"input_length\":5,\"output_length\":2}}\n");
    std::fs::write(file.path(), line(0) + &line(500)).unwrap();
    let args = parse(&format!(
        "--dataset-name trace --dataset-path {} --num-prompts 2 --request-rate inf,4 --burstiness inf",
        file.path().display()
    ));
    let loads: Vec<LoadSpec> =
        points(&args.traffic).into_iter().map(|point| load(&args, "m", point).unwrap()).collect();
    let offsets_s: Vec<Vec<f64>> = loads.iter().map(|spec| spec.schedule().unwrap().offsets_s).collect();
    assert_eq!(offsets_s, [[0.0, 0.5], [0.25, 0.5]]);
    assert_ne!(loads[0].requests.request(0).unwrap().prompt, loads[1].requests.request(0).unwrap().prompt);
}
