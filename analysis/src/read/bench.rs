//! `bench.json`: a result file of `vllm bench serve --save-result --save-detailed`, of which only what the analysis
//! needs is kept.
//!
//! The file is parsed in one pass into flat arrays: the gaps between tokens of all requests stand in one vector, and
//! generated texts are skipped without a copy. No tree of values is built.

use std::{fmt, path::Path};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, SeqAccess, Visitor},
};

use super::{ReadError, json::read_json};

/// A result file. Times are seconds, rates per second.
#[derive(Clone, Debug, PartialEq)]
pub struct BenchFile {
    /// Requests that were to be sent.
    pub num_prompts: u64,
    /// Mean arrival rate; `None` is as fast as concurrency allows (`"inf"` in the file).
    pub request_rate: Option<f64>,
    /// Most requests in flight.
    pub max_concurrency: Option<u64>,
    /// First dispatch to last completion, failed requests too.
    pub duration: f64,
    /// Requests that completed.
    pub completed: u64,
    /// Requests that did not; older versions do not say.
    pub failed: Option<u64>,
    /// Prompt tokens of completed requests.
    pub total_input_tokens: u64,
    /// Output tokens of completed requests.
    pub total_output_tokens: u64,
    /// Completed requests per second.
    pub request_throughput: f64,
    /// Completed requests within the objectives per second.
    pub request_goodput: Option<f64>,
    /// Output tokens per second.
    pub output_throughput: f64,
    /// Prompt and output tokens per second.
    pub total_token_throughput: f64,
    /// Figures per request, of a detailed file.
    pub details: Option<Details>,
}

/// Figures per request, failed ones too; all arrays but the gaps have one entry a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Details {
    /// Output tokens.
    pub output_tokens: Vec<u64>,
    /// Time to the first token.
    pub ttfts_s: Vec<f64>,
    /// Gaps between tokens of all requests, one request after the other.
    pub gaps_s: Vec<f64>,
    /// Where each request's gaps end in `gaps_s`.
    pub gap_ends: Vec<usize>,
    /// End-to-end latencies; older versions leave them out.
    pub latencies_s: Option<Vec<f64>>,
    /// When each request was sent, on some clock; older versions leave them out.
    pub starts_s: Option<Vec<f64>>,
    /// Whether each request failed.
    pub failed: Vec<bool>,
}

/// One request's figures, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Request<'a> {
    /// Output tokens.
    pub output_tokens: u64,
    /// Time to the first token.
    pub ttft_s: f64,
    /// Gaps between tokens.
    pub gaps_s: &'a [f64],
    /// End-to-end latency; time to first token and all gaps where the file does not say.
    pub latency_s: f64,
    /// When it was sent.
    pub start_s: Option<f64>,
    /// Whether it failed.
    pub failed: bool,
}

impl Details {
    /// Number of requests.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ttfts_s.len()
    }

    /// Whether there is no request.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ttfts_s.is_empty()
    }

    /// The requests in the file's order.
    pub fn requests(&self) -> impl Iterator<Item = Request<'_>> {
        (0..self.len()).map(|index| {
            let begin = index.checked_sub(1).map_or(0, |previous| self.gap_ends[previous]);
            let gaps_s = &self.gaps_s[begin..self.gap_ends[index]];
            let ttft_s = self.ttfts_s[index];
            let latency_s = self
                .latencies_s
                .as_ref()
                .map_or_else(|| ttft_s + gaps_s.iter().sum::<f64>(), |latencies| latencies[index]);
            Request {
                output_tokens: self.output_tokens[index],
                ttft_s,
                gaps_s,
                latency_s,
                start_s: self.starts_s.as_ref().map(|starts| starts[index]),
                failed: self.failed[index],
            }
        })
    }
}

/// Reads a result file.
///
/// # Errors
/// When it cannot be read, is no result file, or its arrays differ in length.
pub fn read_bench(path: &Path) -> Result<BenchFile, ReadError> {
    let raw: RawBench = read_json(path, "result file")?;
    raw.checked().map_err(|reason| ReadError::Contradiction { path: path.to_owned(), reason })
}

#[derive(Deserialize)]
struct RawBench {
    num_prompts: u64,
    request_rate: Rate,
    #[serde(default)]
    max_concurrency: Option<u64>,
    duration: f64,
    completed: u64,
    #[serde(default)]
    failed: Option<u64>,
    total_input_tokens: u64,
    total_output_tokens: u64,
    request_throughput: f64,
    #[serde(default)]
    request_goodput: Option<f64>,
    output_throughput: f64,
    total_token_throughput: f64,
    #[serde(default)]
    output_lens: Option<Vec<u64>>,
    #[serde(default)]
    ttfts: Option<Vec<f64>>,
    #[serde(default)]
    itls: Option<Gaps>,
    #[serde(default)]
    latencies: Option<Vec<f64>>,
    #[serde(default)]
    start_times: Option<Vec<f64>>,
    #[serde(default)]
    errors: Option<Vec<Failed>>,
}

impl RawBench {
    fn checked(self) -> Result<BenchFile, String> {
        let Self {
            num_prompts,
            request_rate: Rate(request_rate),
            max_concurrency,
            duration,
            completed,
            failed,
            total_input_tokens,
            total_output_tokens,
            request_throughput,
            request_goodput,
            output_throughput,
            total_token_throughput,
            output_lens,
            ttfts,
            itls,
            latencies,
            start_times,
            errors,
        } = self;
        let details = match (ttfts, itls, output_lens, errors) {
            (Some(ttfts_s), Some(Gaps { gaps_s, ends }), Some(output_tokens), Some(errors)) => Some(Details {
                output_tokens,
                ttfts_s,
                gaps_s,
                gap_ends: ends,
                latencies_s: latencies,
                starts_s: start_times,
                failed: errors.into_iter().map(|Failed(failed)| failed).collect(),
            }),
            (None, None, None, None) => None,
            _ => return Err("has some of ttfts, itls, output_lens and errors, but not all four".to_owned()),
        };
        if let Some(details) = &details {
            same_lengths(details)?;
            let answered = details.failed.iter().filter(|failed| !**failed).count();
            if answered as u64 != completed {
                return Err(format!("completed is {completed}, but {answered} requests have an empty error"));
            }
        }
        Ok(BenchFile {
            num_prompts,
            request_rate,
            max_concurrency,
            duration,
            completed,
            failed,
            total_input_tokens,
            total_output_tokens,
            request_throughput,
            request_goodput,
            output_throughput,
            total_token_throughput,
            details,
        })
    }
}

fn same_lengths(details: &Details) -> Result<(), String> {
    let Details { output_tokens, ttfts_s, gaps_s: _, gap_ends, latencies_s, starts_s, failed } = details;
    let expected = ttfts_s.len();
    [
        ("itls", Some(gap_ends.len())),
        ("output_lens", Some(output_tokens.len())),
        ("errors", Some(failed.len())),
        ("latencies", latencies_s.as_ref().map(Vec::len)),
        ("start_times", starts_s.as_ref().map(Vec::len)),
    ]
    .into_iter()
    .find_map(|(name, found)| found.filter(|found| *found != expected).map(|found| (name, found)))
    .map_or(Ok(()), |(name, found)| Err(format!("ttfts has {expected} entries and {name} has {found}")))
}

/// A rate: a number, or `"inf"`.
struct Rate(Option<f64>);

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RateVisitor;
        impl Visitor<'_> for RateVisitor {
            type Value = Rate;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a rate in requests per second, or \"inf\"")
            }
            fn visit_f64<E: serde::de::Error>(self, rate: f64) -> Result<Rate, E> {
                Ok(Rate(Some(rate)))
            }
            fn visit_u64<E: serde::de::Error>(self, rate: u64) -> Result<Rate, E> {
                Ok(Rate(Some(rate as f64)))
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Rate, E> {
                if text == "inf" {
                    Ok(Rate(None))
                } else {
                    Err(E::invalid_value(serde::de::Unexpected::Str(text), &self))
                }
            }
        }
        deserializer.deserialize_any(RateVisitor)
    }
}

/// All requests' gaps, one after the other, and where each one's end.
struct Gaps {
    gaps_s: Vec<f64>,
    ends: Vec<usize>,
}

impl<'de> Deserialize<'de> for Gaps {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct GapsVisitor;
        impl<'de> Visitor<'de> for GapsVisitor {
            type Value = Gaps;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of gaps for each request")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut requests: A) -> Result<Gaps, A::Error> {
                let mut gaps = Gaps { gaps_s: Vec::new(), ends: Vec::new() };
                while requests.next_element_seed(Append(&mut gaps.gaps_s))?.is_some() {
                    gaps.ends.push(gaps.gaps_s.len());
                }
                Ok(gaps)
            }
        }
        deserializer.deserialize_seq(GapsVisitor)
    }
}

/// Appends one request's gaps to those before.
struct Append<'a>(&'a mut Vec<f64>);

impl<'de> serde::de::DeserializeSeed<'de> for Append<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Append<'_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of seconds")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut gaps: A) -> Result<(), A::Error> {
        while let Some(gap) = gaps.next_element()? {
            self.0.push(gap);
        }
        Ok(())
    }
}

/// Whether a request's error is anything but the empty string.
struct Failed(bool);

impl<'de> Deserialize<'de> for Failed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FailedVisitor;
        impl Visitor<'_> for FailedVisitor {
            type Value = Failed;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an error's text")
            }
            fn visit_str<E: serde::de::Error>(self, error: &str) -> Result<Failed, E> {
                Ok(Failed(!error.is_empty()))
            }
        }
        deserializer.deserialize_str(FailedVisitor).map_err(D::Error::custom)
    }
}
