//! The other end of the probe's HTTP interface, for the executor and the load generator.

use std::time::{Duration, Instant};

use reqwest::{Response, Url};
use serde::de::DeserializeOwned;
use teebench_api::files::evidence::{Environment, Evidence, NonceDocument};

use crate::clock;
use crate::energy::ClockOffset;
use crate::http::wire::{Clock, CpuPackages, Engine, ErrorBody, Gpus, Health, LogFile, Logs};
use crate::sampler::Sample;

/// Most answers are small and immediate; the probe gives up the driver behind some after two seconds.
const TIMEOUT: Duration = Duration::from_secs(10);

/// For evidence the probe gives the GPUs 45 seconds to sign.
const EVIDENCE_TIMEOUT: Duration = Duration::from_secs(60);

/// An hour of samples has about ten megabytes.
const SAMPLES_TIMEOUT: Duration = Duration::from_secs(60);

/// Exchanges behind one clock offset; the fastest of them counts.
const CLOCK_EXCHANGES: usize = 20;

/// A probe, by its address.
#[derive(Clone, Debug)]
pub struct ProbeClient {
    base: Url,
    client: reqwest::Client,
}

/// A request that has no answer.
#[derive(thiserror::Error, Debug)]
pub enum ClientError {
    /// The address is none.
    #[error("probe {address:?}: is not an http address")]
    Address {
        /// As given.
        address: String,
    },
    /// No HTTP client can be made.
    #[error("probe: no http client can be made")]
    Client(#[source] reqwest::Error),
    /// The exchange failed.
    #[error("probe {url}: no answer")]
    Exchange {
        /// What was asked.
        url: Url,
        /// The cause.
        #[source]
        source: reqwest::Error,
    },
    /// The probe refused.
    #[error("probe {url}: {status}: {error}")]
    Refused {
        /// What was asked.
        url: Url,
        /// Its answer's status.
        status: u16,
        /// Its words.
        error: String,
    },
    /// The answer cannot be read.
    #[error("probe {url}: the answer cannot be read; is it another version?")]
    Answer {
        /// What was asked.
        url: Url,
        /// The cause.
        #[source]
        source: serde_json::Error,
    },
}

type Result<T> = std::result::Result<T, ClientError>;

impl ProbeClient {
    /// A probe at an address such as `http://127.0.0.1:9400`.
    ///
    /// # Errors
    /// When the address is none.
    pub fn new(address: &str) -> Result<Self> {
        let bad = || ClientError::Address { address: address.to_owned() };
        let base = Url::parse(address).map_err(|_| bad())?;
        if base.scheme() != "http" || base.cannot_be_a_base() {
            return Err(bad());
        }
        let client = reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build().map_err(ClientError::Client)?;
        Ok(Self { base, client })
    }

    /// What the engine is doing.
    ///
    /// # Errors
    /// When the probe does not answer; an engine that ended is an answer.
    pub async fn health(&self) -> Result<Health> {
        let url = self.url("/healthz", &[]);
        let response = self.exchange(&url, self.client.get(url.clone())).await?;
        // 503 is the answer of an engine that ended, and has the same body.
        let body = body(&url, response).await?;
        parse(&url, &body)
    }

    /// What the engine says of itself.
    ///
    /// # Errors
    /// When the probe does not answer; what the engine does not tell is named in the answer.
    pub async fn engine(&self) -> Result<Engine> {
        self.get("/engine", &[]).await
    }

    /// How far the probe's clock is ahead of this machine's: the exchange with the least round trip of 20.
    ///
    /// # Errors
    /// When an exchange fails.
    pub async fn clock_offset(&self) -> Result<ClockOffset> {
        let mut best: Option<ClockOffset> = None;
        for _ in 0..CLOCK_EXCHANGES {
            let offset = self.clock_exchange().await?;
            best = Some(match best {
                Some(best) if best.half_round_trip_ns <= offset.half_round_trip_ns => best,
                _ => offset,
            });
        }
        Ok(best.expect("there is at least one exchange"))
    }

    async fn clock_exchange(&self) -> Result<ClockOffset> {
        let (sent_unix_ns, sent) = (clock::unix_ns(), Instant::now());
        let Clock { unix_ns } = self.get("/clock", &[]).await?;
        let half_round_trip_ns = u64::try_from(sent.elapsed().as_nanos() / 2).unwrap_or(u64::MAX);
        let at_unix_ns = sent_unix_ns.saturating_add(half_round_trip_ns);
        // Both are nanoseconds of this century, which an i64 holds; a clock beyond it is far outside any bound anyway.
        let offset_ns = i64::try_from(i128::from(unix_ns) - i128::from(at_unix_ns)).unwrap_or(i64::MAX);
        Ok(ClockOffset { offset_ns, half_round_trip_ns, at_unix_ns })
    }

    /// The GPUs that the engine sees.
    ///
    /// # Errors
    /// When the probe does not answer.
    pub async fn gpus(&self) -> Result<Gpus> {
        self.get("/gpus", &[]).await
    }

    /// One GPU's samples from `from` until before `to`, in nanoseconds since the Unix epoch on the probe's clock.
    ///
    /// # Errors
    /// When the probe does not answer, does not sample that GPU, or a line cannot be read.
    pub async fn samples(&self, gpu: &str, from: u64, to: u64) -> Result<Vec<Sample>> {
        self.lines("/samples", &[("gpu", gpu), ("from", &from.to_string()), ("to", &to.to_string())]).await
    }

    async fn lines(&self, path: &str, query: &[(&str, &str)]) -> Result<Vec<Sample>> {
        let url = self.url(path, query);
        let request = self.client.get(url.clone()).timeout(SAMPLES_TIMEOUT);
        let response = accepted(&url, self.exchange(&url, request).await?).await?;
        let body = body(&url, response).await?;
        let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| parse(&url, line)).collect()
    }

    /// The CPU packages whose energy counters the probe reads.
    ///
    /// # Errors
    /// When the probe does not answer.
    pub async fn cpu_packages(&self) -> Result<CpuPackages> {
        self.get("/cpu", &[]).await
    }

    /// One CPU package's samples; see [`ProbeClient::samples`] for the times.
    ///
    /// # Errors
    /// When the probe does not answer, does not sample that package, or a line cannot be read.
    pub async fn cpu_samples(&self, package: &str, from: u64, to: u64) -> Result<Vec<Sample>> {
        self.lines("/cpu/samples", &[("package", package), ("from", &from.to_string()), ("to", &to.to_string())]).await
    }

    /// What the machine is.
    ///
    /// # Errors
    /// When the probe does not answer.
    pub async fn environment(&self) -> Result<Environment> {
        self.get("/environment", &[]).await
    }

    /// Evidence of this moment, bound to a nonce document.
    ///
    /// # Errors
    /// When the probe does not answer or refuses the document.
    pub async fn evidence(&self, nonce: &NonceDocument) -> Result<Evidence> {
        let url = self.url("/evidence", &[]);
        let request = self.client.post(url.clone()).timeout(EVIDENCE_TIMEOUT).json(nonce);
        let response = self.exchange(&url, request).await?;
        let body = body(&url, accepted(&url, response).await?).await?;
        parse(&url, &body)
    }

    /// The logs in the probe's log folder.
    ///
    /// # Errors
    /// When the probe does not answer.
    pub async fn logs(&self) -> Result<Vec<LogFile>> {
        let Logs { logs } = self.get("/logs", &[]).await?;
        Ok(logs)
    }

    /// At most 1 MiB of a log from a byte on.
    ///
    /// # Errors
    /// When the probe does not answer, or has no such log.
    pub async fn log_part(&self, name: &str, from: u64) -> Result<bytes::Bytes> {
        let mut url = self.url("/logs", &[("from", &from.to_string())]);
        url.path_segments_mut().expect("an http address is a base").push(name);
        let response = self.exchange(&url, self.client.get(url.clone())).await?;
        body(&url, accepted(&url, response).await?).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> Result<T> {
        let url = self.url(path, query);
        let response = self.exchange(&url, self.client.get(url.clone())).await?;
        let body = body(&url, accepted(&url, response).await?).await?;
        parse(&url, &body)
    }

    fn url(&self, path: &str, query: &[(&str, &str)]) -> Url {
        let mut url = self.base.clone();
        url.set_path(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    async fn exchange(&self, url: &Url, request: reqwest::RequestBuilder) -> Result<Response> {
        request.send().await.map_err(|source| ClientError::Exchange { url: url.clone(), source: source.without_url() })
    }
}

async fn accepted(url: &Url, response: Response) -> Result<Response> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let body = body(url, response).await?;
    let error = match serde_json::from_slice(&body) {
        Ok(ErrorBody { error }) => error,
        Err(_) => String::from_utf8_lossy(&body).into_owned(),
    };
    Err(ClientError::Refused { url: url.clone(), status: status.as_u16(), error })
}

async fn body(url: &Url, response: Response) -> Result<bytes::Bytes> {
    let body = response.bytes().await;
    body.map_err(|source| ClientError::Exchange { url: url.clone(), source: source.without_url() })
}

fn parse<T: DeserializeOwned>(url: &Url, body: &[u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|source| ClientError::Answer { url: url.clone(), source })
}
