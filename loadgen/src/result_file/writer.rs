//! Writes the file, key after key in vLLM's order.

use std::io::{self, Write};
use std::path::Path;

use jiff::civil::DateTime;

use super::keep::{keep, refuges};
use super::py_json::{Object, Value};
use super::summary::input_tokens;
use super::{DATE_FORMAT, Format, LatencySummary, ProbeSummary, ResultFileError, ResultOptions, Summary};
use crate::arrivals::Arrivals;
use crate::record::{Measured, RateChange, RequestRecord};

/// Arrays that only `--save-detailed` keeps. (`latencies` and `queue_times` stay: vLLM 0.32 forgets to drop them.)
const DETAILED_KEYS: [&str; 7] =
    ["input_lens", "output_lens", "ttfts", "itls", "start_times", "generated_texts", "errors"];

/// Writes the result file of a run to `path`, or where there is room ([`keep`]).
///
/// # Errors
/// When the file is not at `path`; the error says where it is.
pub fn write_bench_json(measured: &Measured, options: &ResultOptions, path: &Path) -> Result<(), ResultFileError> {
    keep(path, &refuges(), |out| write_bench_json_to(measured, options, out))
}

/// Writes the result file of a run to any writer; one line, no newline at its end, as vLLM does.
///
/// # Errors
/// Those of the writer.
pub fn write_bench_json_to(measured: &Measured, options: &ResultOptions, mut out: &mut dyn Write) -> io::Result<()> {
    let summary = options.summarise(measured);
    let mut file = Object::default();
    set_identity(&mut file, options, measured.ended_at);
    for (key, value) in &options.metadata {
        file.set(key, Value::Text(value.clone()));
    }
    set_traffic(&mut file, options);
    set_totals(&mut file, &summary, options.format);
    set_requests(&mut file, &measured.records, options.format);
    set_busiest_second(&mut file, &summary, options.format);
    if let Some(probe) = &summary.probe {
        set_probe(&mut file, probe);
    }
    if !measured.rate_changes.is_empty() {
        file.set("rps_change_events", Value::Objects(measured.rate_changes.iter().map(rate_change).collect()));
    }
    for latency in &summary.latencies {
        set_latency(&mut file, latency);
    }
    if !options.detailed {
        for key in DETAILED_KEYS {
            file.remove(key);
        }
    }
    file.write(&mut out)
}

fn set_identity(file: &mut Object<'_>, options: &ResultOptions, ended_at: DateTime) {
    let text_or_null = |text: &Option<String>| text.clone().map_or(Value::Null, Value::Text);
    file.set("date", Value::Text(ended_at.strftime(DATE_FORMAT).to_string()));
    file.set("endpoint_type", Value::Text(options.backend.name().to_owned()));
    file.set("backend", Value::Text(options.backend.name().to_owned()));
    file.set("label", text_or_null(&options.label));
    file.set("model_id", Value::Text(options.model_id.clone()));
    file.set("tokenizer_id", text_or_null(&options.tokenizer_id));
    file.set("num_prompts", Value::Int(options.num_prompts));
}

fn set_traffic(file: &mut Object<'_>, options: &ResultOptions) {
    let rate = match options.arrivals {
        Arrivals::Rate { requests_per_s, burstiness: _ } => Value::Float(requests_per_s),
        Arrivals::AllAtOnce { burstiness: _ } | Arrivals::Recorded | Arrivals::Ramp { .. } => {
            Value::Text("inf".to_owned())
        }
    };
    file.set("request_rate", rate);
    file.set("burstiness", Value::Float(options.arrivals.burstiness().get()));
    file.set("max_concurrency", options.max_concurrency.map_or(Value::Null, |limit| Value::Int(limit.into())));
    if let Arrivals::Ramp { strategy, start_rps, end_rps, burstiness: _ } = options.arrivals {
        file.set("ramp_up_strategy", Value::Text(strategy.name().to_owned()));
        file.set("ramp_up_start_rps", Value::Int(start_rps.into()));
        file.set("ramp_up_end_rps", Value::Int(end_rps.into()));
    }
}

fn set_totals(file: &mut Object<'_>, summary: &Summary, format: Format) {
    file.set("duration", Value::Float(summary.duration_s));
    file.set("completed", Value::Int(summary.completed));
    if format == Format::Vllm032 {
        file.set("failed", Value::Int(summary.failed));
    }
    file.set("total_input_tokens", Value::Int(summary.total_input_tokens));
    file.set("total_output_tokens", Value::Int(summary.total_output_tokens));
    file.set("request_throughput", Value::Float(summary.request_throughput));
    file.set("request_goodput", summary.request_goodput.map_or(Value::Null, Value::Float));
    file.set("output_throughput", Value::Float(summary.output_throughput));
    file.set("total_token_throughput", Value::Float(summary.total_token_throughput));
}

fn set_requests<'a>(file: &mut Object<'a>, records: &'a [RequestRecord], format: Format) {
    let floats = |value: fn(&RequestRecord) -> f64| Value::Floats(records.iter().map(value).collect());
    let input_lens = records.iter().map(|record| input_tokens(record, format)).collect();
    file.set("input_lens", Value::Ints(input_lens));
    file.set("output_lens", Value::Ints(records.iter().map(RequestRecord::output_tokens).collect()));
    file.set("ttfts", floats(|record| record.ttft_s.unwrap_or(0.0)));
    file.set("itls", Value::FloatLists(records.iter().map(|record| record.itls_s.as_slice()).collect()));
    if format == Format::Vllm032 {
        file.set("latencies", floats(|record| record.latency_s));
        file.set("start_times", floats(|record| record.start_s));
        file.set("queue_times", floats(|record| record.queue_s));
    }
    file.set("generated_texts", Value::Texts(records.iter().map(|record| record.text.as_str()).collect()));
    let errors = records.iter().map(|record| record.error.as_deref().unwrap_or_default()).collect();
    file.set("errors", Value::Texts(errors));
}

fn set_busiest_second(file: &mut Object<'_>, summary: &Summary, format: Format) {
    file.set("max_output_tokens_per_s", Value::Float(summary.busiest_second.output_chunks as f64));
    file.set("max_concurrent_requests", Value::Int(summary.busiest_second.touching_requests));
    if format == Format::Vllm032 {
        // The inverse real-time factor is of speech; vLLM writes 0.0 for text.
        file.set("rtfx", Value::Float(0.0));
    }
}

fn set_probe(file: &mut Object<'_>, probe: &ProbeSummary) {
    let ProbeSummary { completed, failed, median_e2el_ms, p99_e2el_ms, max_e2el_ms } = *probe;
    file.set("probe_completed", Value::Int(completed));
    file.set("probe_failed", Value::Int(failed));
    file.set("probe_median_e2el_ms", Value::Float(median_e2el_ms));
    file.set("probe_p99_e2el_ms", Value::Float(p99_e2el_ms));
    file.set("probe_max_e2el_ms", Value::Float(max_e2el_ms));
}

fn rate_change(change: &RateChange) -> Object<'static> {
    let mut event = Object::default();
    event.set("rps", Value::Int(change.rps.into()));
    event.set("timestamp", Value::Text(python_isoformat(change.at)));
    event
}

/// Python's `datetime.isoformat()`: microseconds, left out altogether when they are zero.
fn python_isoformat(at: DateTime) -> String {
    let format = if at.subsec_nanosecond() / 1000 == 0 { "%Y-%m-%dT%H:%M:%S" } else { "%Y-%m-%dT%H:%M:%S.%6f" };
    at.strftime(format).to_string()
}

fn set_latency(file: &mut Object<'_>, latency: &LatencySummary) {
    let LatencySummary { metric, mean_ms, median_ms, std_ms, percentiles_ms } = latency;
    let metric = metric.key();
    file.set(format!("mean_{metric}_ms"), Value::Float(*mean_ms));
    file.set(format!("median_{metric}_ms"), Value::Float(*median_ms));
    file.set(format!("std_{metric}_ms"), Value::Float(*std_ms));
    for (percent, value_ms) in percentiles_ms {
        // `{percent}` writes 99.0 as 99 and 99.9 as 99.9, as vLLM names them.
        file.set(format!("p{percent}_{metric}_ms"), Value::Float(*value_ms));
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn whole_seconds_have_no_fraction_in_python() {
        let second = date(2026, 11, 22).at(2, 56, 9, 0);
        assert_eq!(python_isoformat(second), "2026-11-22T02:56:09");
        assert_eq!(python_isoformat(date(2026, 11, 22).at(2, 56, 9, 364_893_000)), "2026-11-22T02:56:09.364893");
    }
}
