//! A result file as it is written, checked for contradictions.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, SeqAccess, Visitor},
};

use super::{Account, BenchFile, Details};

#[derive(Deserialize)]
pub(super) struct RawBench {
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
    // Versions before 0.11 wrote a stray colon.
    #[serde(default, alias = "request_goodput:")]
    request_goodput: Option<f64>,
    output_throughput: f64,
    total_token_throughput: f64,
    #[serde(default)]
    model_id: Option<String>,
    #[serde(default)]
    date: Option<String>,
    #[serde(default)]
    burstiness: Option<f64>,
    #[serde(default)]
    max_concurrent_requests: Option<u64>,
    #[serde(default)]
    mean_tpot_ms: Option<f64>,
    #[serde(default)]
    median_ttft_ms: Option<f64>,
    #[serde(default)]
    median_itl_ms: Option<f64>,
    #[serde(default)]
    tee_mode: Option<String>,
    #[serde(default)]
    repetition: Option<Whole>,
    #[serde(default)]
    simulated: Flag,
    #[serde(default)]
    input_lens: Option<Vec<u64>>,
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
    pub(super) fn checked(self) -> Result<BenchFile, String> {
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
            model_id,
            date,
            burstiness,
            max_concurrent_requests,
            mean_tpot_ms,
            median_ttft_ms,
            median_itl_ms,
            tee_mode,
            repetition,
            simulated,
            input_lens,
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
        not_negative("duration", &[duration])?;
        not_negative("output_throughput", &[output_throughput])?;
        if let Some(details) = &details {
            same_lengths(details)?;
            not_negative("ttfts", &details.ttfts_s)?;
            not_negative("itls", &details.gaps_s)?;
            not_negative("latencies", details.latencies_s.as_deref().unwrap_or_default())?;
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
            account: Account {
                model_id,
                date,
                burstiness,
                max_concurrent_requests,
                mean_tpot_ms,
                median_ttft_ms,
                median_itl_ms,
                tee_mode,
                repetition: repetition.map(|Whole(number)| number),
                simulated: simulated.0,
                input_tokens: input_lens,
            },
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

fn not_negative(name: &str, values: &[f64]) -> Result<(), String> {
    match values.iter().position(|value| *value < 0.0) {
        Some(index) if values.len() > 1 => {
            Err(format!("{name} has {} at index {index}; a time cannot be negative", values[index]))
        }
        Some(index) => Err(format!("{name} is {}, which cannot be negative", values[index])),
        None => Ok(()),
    }
}

/// A whole number, or its text: `--metadata` writes text.
struct Whole(u32);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u32),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(number) => Ok(Self(number)),
            Written::Text(text) => text.parse().map(Self).map_err(D::Error::custom),
        }
    }
}

/// A truth value, or its text: `--metadata` writes text.
#[derive(Default)]
struct Flag(bool);

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Flag(bool),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Flag(flag) => Ok(Self(flag)),
            Written::Text(text) => text.parse().map(Self).map_err(D::Error::custom),
        }
    }
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

/// Whether a request's error is anything but the empty string or null.
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
            fn visit_unit<E: serde::de::Error>(self) -> Result<Failed, E> {
                Ok(Failed(false))
            }
        }
        deserializer.deserialize_any(FailedVisitor)
    }
}
