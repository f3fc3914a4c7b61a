//! What several test files need: goldens as measurements, loads, and a server that says what it is told to.

#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::unwrap_used, reason = "clippy knows test functions, not the functions that they call")]

pub mod load;
pub mod raw;
pub mod server;
pub mod tls;

use std::path::PathBuf;

use jiff::civil::{DateTime, date};
use serde_json::{Map, Value};
use teebench_loadgen::arrivals::{Arrivals, Burstiness, RampStrategy};
use teebench_loadgen::client::Backend;
use teebench_loadgen::record::{
    ClientUsage, Measured, Offered, ProbeLatencies, RateChange, RequestRecord, Usage, Window,
};
use teebench_loadgen::result_file::{Format, Metric, ResultOptions, Slo, write_bench_json_to};

pub fn read(path: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub fn written(measured: &Measured, options: &ResultOptions) -> String {
    let mut out = Vec::new();
    write_bench_json_to(measured, options, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// A result file read back into what it was written from.
pub struct Golden {
    pub name: &'static str,
    pub text: String,
    pub json: Map<String, Value>,
}

impl Golden {
    pub fn read(name: &'static str) -> Golden {
        let text = read(&format!("data/{name}.json"));
        Golden { name, json: serde_json::from_str(&text).unwrap(), text }
    }

    pub fn detailed(&self) -> bool {
        self.json.contains_key("itls")
    }

    fn number(&self, key: &str) -> f64 {
        self.json[key].as_f64().unwrap_or_else(|| panic!("{}: {key} is no number", self.name))
    }

    fn count(&self, key: &str) -> u64 {
        self.json[key].as_u64().unwrap_or_else(|| panic!("{}: {key} is no count", self.name))
    }

    fn text_of(&self, key: &str) -> Option<String> {
        self.json[key].as_str().map(str::to_owned)
    }

    pub fn options(&self) -> ResultOptions {
        let keys: Vec<&String> = self.json.keys().collect();
        let place = |key: &str| keys.iter().position(|present| *present == key).unwrap();
        let backend = match self.json["backend"].as_str().unwrap() {
            "openai" => Backend::Openai,
            "openai-chat" => Backend::OpenaiChat,
            other => panic!("backend {other}"),
        };
        let lenient = Slo { ttft_ms: Some(1e6), tpot_ms: Some(1e6), e2el_ms: Some(1e6) };
        ResultOptions {
            format: if self.name.starts_with("v0.11") { Format::Vllm011 } else { Format::Vllm032 },
            detailed: self.detailed(),
            backend,
            label: self.text_of("label"),
            model_id: self.text_of("model_id").unwrap(),
            tokenizer_id: self.text_of("tokenizer_id"),
            num_prompts: self.count("num_prompts"),
            metadata: keys[place("num_prompts") + 1..place("request_rate")]
                .iter()
                .map(|key| (key.to_string(), self.text_of(key).unwrap()))
                .collect(),
            arrivals: self.arrivals(),
            max_concurrency: self.json["max_concurrency"].as_u64().map(|limit| limit as u32),
            metrics: Metric::ALL
                .into_iter()
                // Without a tokeniser the file lacks what was asked for; the default flags ask for all but E2EL.
                .filter(|metric| {
                    self.json["tokenizer_id"].is_null() || keys.contains(&&format!("mean_{}_ms", metric.key()))
                })
                .collect(),
            percentiles: keys.iter().filter_map(|key| key.strip_prefix('p')?.split('_').next()?.parse().ok()).fold(
                Vec::new(),
                |mut unique, percent| {
                    if !unique.contains(&percent) {
                        unique.push(percent);
                    }
                    unique
                },
            ),
            slo: if self.json["request_goodput"].is_null() { Slo::default() } else { lenient },
        }
    }

    fn arrivals(&self) -> Arrivals {
        let burstiness = Burstiness::new(self.number("burstiness")).unwrap();
        match (self.json.get("ramp_up_strategy"), self.json["request_rate"].as_f64()) {
            (Some(strategy), _) => Arrivals::Ramp {
                strategy: if strategy == "linear" { RampStrategy::Linear } else { RampStrategy::Exponential },
                start_rps: self.count("ramp_up_start_rps") as u32,
                end_rps: self.count("ramp_up_end_rps") as u32,
                burstiness,
            },
            (None, Some(requests_per_s)) => Arrivals::Rate { requests_per_s, burstiness },
            (None, None) => Arrivals::AllAtOnce { burstiness },
        }
    }

    /// The measurement, from the file's arrays; `start_s` gives the starts that a file of 0.11 lacks.
    pub fn measured(&self, start_s: impl Fn(usize) -> f64) -> Measured {
        let records = if self.detailed() { self.records(start_s) } else { self.records_of_two() };
        let rate_changes = self.json.get("rps_change_events").map(rate_changes).unwrap_or_default();
        Measured {
            offered: Offered { planned_requests: records.len(), timed: false, max_concurrency: None },
            records,
            window: Window { start_s: 0.0, end_s: self.number("duration"), start_unix_ns: 0, end_unix_ns: 0 },
            ended_at: DateTime::strptime("%Y%m%d-%H%M%S", self.json["date"].as_str().unwrap()).unwrap(),
            rate_changes,
            probe: self.probe(),
            client: ClientUsage { cpu_share: 0.0, sockets_opened: 0 },
            partial: false,
        }
    }

    fn records(&self, start_s: impl Fn(usize) -> f64) -> Vec<RequestRecord> {
        let number = |key: &str, index: usize| Some(self.json.get(key)?[index].as_f64().unwrap());
        let list = |key: &str| self.json[key].as_array().unwrap();
        (0..list("errors").len())
            .map(|index| {
                let error = list("errors")[index].as_str().unwrap();
                let ttft_s = number("ttfts", index).unwrap();
                let itls_s: Vec<f64> =
                    list("itls")[index].as_array().unwrap().iter().map(|itl| itl.as_f64().unwrap()).collect();
                let input = list("input_lens")[index].as_u64().unwrap() as u32;
                let output = list("output_lens")[index].as_u64().unwrap() as u32;
                record(RecordParts {
                    index,
                    input,
                    output,
                    latency_s: number("latencies", index).unwrap_or_else(|| ttft_s + itls_s.iter().sum::<f64>()),
                    ttft_s,
                    itls_s,
                    start_s: number("start_times", index).unwrap_or_else(|| start_s(index)),
                    queue_s: number("queue_times", index).unwrap_or(0.0),
                    text: self.json.get("generated_texts").map_or("", |texts| texts[index].as_str().unwrap()),
                    error,
                })
            })
            .collect()
    }

    /// Two requests, from a file without details: the mean and deviation of two numbers give the numbers, and the mean gap
    /// gives how many gaps fit into each latency.
    fn records_of_two(&self) -> Vec<RequestRecord> {
        assert_eq!(self.count("completed"), 2, "{}", self.name);
        let latencies: Vec<f64> = (0..2).map(|index| self.json["latencies"][index].as_f64().unwrap()).collect();
        let (mean_ms, std_ms) = (self.number("mean_ttft_ms"), self.number("std_ttft_ms"));
        (0..2)
            .map(|index| {
                let ttft_s = (mean_ms + if index == 0 { -std_ms } else { std_ms }) / 1e3;
                let decode_s = latencies[index] - ttft_s;
                let gaps = (decode_s * 1e3 / self.number("mean_itl_ms")).round() as u32;
                record(RecordParts {
                    index,
                    input: (self.count("total_input_tokens") / 2) as u32,
                    output: gaps + 1,
                    ttft_s,
                    itls_s: vec![decode_s / f64::from(gaps); gaps as usize],
                    latency_s: latencies[index],
                    start_s: 100.0,
                    queue_s: self.json["queue_times"][index].as_f64().unwrap(),
                    text: "",
                    error: "",
                })
            })
            .collect()
    }

    /// Five latencies with the file's median, 99th percentile and maximum.
    fn probe(&self) -> Option<ProbeLatencies> {
        let completed = self.json.get("probe_completed")?;
        assert_eq!(completed, 5, "{}", self.name);
        let [median, p99, max] =
            ["median", "p99", "max"].map(|figure| self.number(&format!("probe_{figure}_e2el_ms")) / 1e3);
        // The 99th of five lies at 0.96 between the last two.
        let fourth = max - (max - p99) / 0.04;
        Some(ProbeLatencies { latencies_s: vec![max, median, median, fourth, median], failed: 0 })
    }
}

pub struct RecordParts<'a> {
    pub index: usize,
    pub input: u32,
    pub output: u32,
    pub ttft_s: f64,
    pub itls_s: Vec<f64>,
    pub latency_s: f64,
    pub start_s: f64,
    pub queue_s: f64,
    pub text: &'a str,
    pub error: &'a str,
}

pub fn record(parts: RecordParts<'_>) -> RequestRecord {
    let RecordParts { index, input, output, ttft_s, itls_s, latency_s, start_s, queue_s, text, error } = parts;
    let succeeded = error.is_empty();
    RequestRecord {
        index,
        target: 0,
        expected_prompt_tokens: input,
        usage: succeeded.then_some(Usage { prompt_tokens: input, completion_tokens: output }),
        intended_s: start_s,
        start_s,
        queue_s,
        lateness_s: 0.0,
        ttft_first_chunk_s: succeeded.then_some(ttft_s),
        ttft_s: succeeded.then_some(ttft_s),
        itls_s,
        latency_s,
        end_s: start_s + latency_s,
        text: text.to_owned(),
        error: (!succeeded).then(|| error.to_owned()),
    }
}

fn rate_changes(events: &Value) -> Vec<RateChange> {
    events
        .as_array()
        .unwrap()
        .iter()
        .map(|event| RateChange {
            rps: event["rps"].as_u64().unwrap() as u32,
            at: event["timestamp"].as_str().unwrap().parse().unwrap(),
        })
        .collect()
}

/// A measurement without requests, to be filled.
pub fn empty_measured(duration_s: f64) -> Measured {
    Measured {
        records: Vec::new(),
        window: Window { start_s: 0.0, end_s: duration_s, start_unix_ns: 0, end_unix_ns: 0 },
        ended_at: date(2026, 1, 1).at(0, 0, 0, 0),
        offered: Offered { planned_requests: 0, timed: false, max_concurrency: None },
        rate_changes: Vec::new(),
        probe: None,
        client: ClientUsage { cpu_share: 0.0, sockets_opened: 0 },
        partial: false,
    }
}
