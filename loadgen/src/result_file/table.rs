//! The summary table that `vllm bench serve` prints.

use std::fmt::{self, Display, Formatter};

use super::{LatencySummary, Metric, ProbeSummary, ResultOptions, Summary};
use crate::arrivals::Arrivals;

/// The printed summary, in vLLM's layout: 50 columns, values after the 41st.
pub fn summary_table<'a>(summary: &'a Summary, options: &'a ResultOptions) -> impl Display + 'a {
    Table { summary, options }
}

struct Table<'a> {
    summary: &'a Summary,
    options: &'a ResultOptions,
}

impl Display for Table<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let Table { summary, options } = self;
        let has_tokenizer = options.tokenizer_id.is_some();
        writeln!(out, "{:=^50}", " Serving Benchmark Result ")?;
        count(out, "Successful requests:", summary.completed)?;
        count(out, "Failed requests:", summary.failed)?;
        if let Some(limit) = options.max_concurrency {
            count(out, "Maximum request concurrency:", limit.into())?;
        }
        if let Arrivals::Rate { requests_per_s, burstiness: _ } = options.arrivals {
            number(out, "Request rate configured (RPS):", requests_per_s)?;
        }
        number(out, "Benchmark duration (s):", summary.duration_s)?;
        count(out, "Total input tokens:", summary.total_input_tokens)?;
        if has_tokenizer {
            count(out, "Total generated tokens:", summary.total_output_tokens)?;
        }
        number(out, "Request throughput (req/s):", summary.request_throughput)?;
        if let Some(goodput) = summary.request_goodput {
            number(out, "Request goodput (req/s):", goodput)?;
        }
        if has_tokenizer {
            number(out, "Output token throughput (tok/s):", summary.output_throughput)?;
            number(out, "Peak output token throughput (tok/s):", summary.busiest_second.output_chunks as f64)?;
        }
        number(out, "Peak concurrent requests:", summary.busiest_second.touching_requests as f64)?;
        if has_tokenizer {
            number(out, "Total token throughput (tok/s):", summary.total_token_throughput)?;
        }
        if let Some(probe) = &summary.probe {
            write_probe(out, probe)?;
        }
        for latency in &summary.latencies {
            write_latency(out, latency)?;
        }
        writeln!(out, "{:=^50}", "")
    }
}

fn count(out: &mut Formatter<'_>, label: &str, value: u64) -> fmt::Result {
    writeln!(out, "{label:<40} {value:<10}")
}

fn number(out: &mut Formatter<'_>, label: &str, value: f64) -> fmt::Result {
    writeln!(out, "{label:<40} {value:<10.2}")
}

fn write_probe(out: &mut Formatter<'_>, probe: &ProbeSummary) -> fmt::Result {
    let ProbeSummary { completed, failed, median_e2el_ms, p99_e2el_ms, max_e2el_ms } = *probe;
    writeln!(out, "{:-^50}", "Probe Requests")?;
    count(out, "Probe requests completed:", completed)?;
    count(out, "Probe requests failed:", failed)?;
    number(out, "Median probe E2EL (ms):", median_e2el_ms)?;
    number(out, "P99 probe E2EL (ms):", p99_e2el_ms)?;
    number(out, "Max probe E2EL (ms):", max_e2el_ms)
}

fn write_latency(out: &mut Formatter<'_>, latency: &LatencySummary) -> fmt::Result {
    let LatencySummary { metric, mean_ms, median_ms, std_ms: _, percentiles_ms } = latency;
    let (name, heading) = match metric {
        Metric::Ttft => ("TTFT", "Time to First Token"),
        Metric::Tpot => ("TPOT", "Time per Output Token (excl. 1st token)"),
        Metric::Itl => ("ITL", "Inter-token Latency"),
        Metric::E2el => ("E2EL", "End-to-end Latency"),
    };
    writeln!(out, "{heading:-^50}")?;
    number(out, &format!("Mean {name} (ms):"), *mean_ms)?;
    number(out, &format!("Median {name} (ms):"), *median_ms)?;
    for (percent, value_ms) in percentiles_ms {
        number(out, &format!("P{percent} {name} (ms):"), *value_ms)?;
    }
    Ok(())
}
