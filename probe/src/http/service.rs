//! The engine's own HTTP server, asked for its version, its KV blocks and one token.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use teebench_api::with_causes;

/// An engine that is busy loading must not hold up the evidence.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The first token may wait for kernels to be compiled; an answer that takes longer than this is asked for anew.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(120);

/// The series whose labels tell how the KV cache is configured.
const CACHE_CONFIG: &str = "vllm:cache_config_info{";

/// Where the engine serves, and what.
#[derive(Clone, Debug)]
pub struct Service {
    program: String,
    base_url: Option<String>,
    served_model: Option<String>,
    client: reqwest::Client,
}

#[derive(Deserialize)]
struct Version {
    version: String,
}

impl Service {
    /// The engine's program name, where it serves and the name of its model, as far as these are known.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(program: &str, url: Option<&str>, served_model: Option<&str>) -> reqwest::Result<Self> {
        Ok(Self {
            program: program.to_owned(),
            base_url: url.map(|url| url.trim_end_matches('/').to_owned()),
            served_model: served_model.map(str::to_owned),
            client: reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build()?,
        })
    }

    /// Whether enough is known to ask for a token.
    pub(crate) const fn can_be_asked(&self) -> bool {
        self.base_url.is_some() && self.served_model.is_some()
    }

    /// The name by which the engine serves its model.
    pub(super) fn served_model(&self) -> Option<&str> {
        self.served_model.as_deref()
    }

    /// The program's name and the version that it answers at `/version`, as vLLM does; else why it is not known.
    pub(super) async fn version(&self) -> Result<String, String> {
        let url = self.url("/version")?;
        let told = async { self.client.get(&url).send().await?.error_for_status()?.json::<Version>().await };
        match told.await {
            Ok(Version { version }) => Ok(format!("{} {version}", self.program)),
            Err(error) => Err(format!("{url}: {}", error.without_url())),
        }
    }

    /// The KV blocks of its pool, as its metrics tell; else why they are not known.
    pub(super) async fn num_gpu_blocks(&self) -> Result<u64, String> {
        let url = self.url("/metrics")?;
        let told = async { self.client.get(&url).send().await?.error_for_status()?.text().await };
        let text = told.await.map_err(|error| format!("{url}: {}", error.without_url()))?;
        num_gpu_blocks(&text).ok_or_else(|| format!("{url}: no label num_gpu_blocks of {CACHE_CONFIG}...}}"))
    }

    /// Has the engine serve one token, which only one that is truly ready can; else why it did not.
    pub(crate) async fn serve_one_token(&self) -> Result<(), String> {
        let url = self.url("/v1/completions")?;
        let model = self.served_model.as_deref().unwrap_or_default();
        let body = json!({"model": model, "prompt": "Are you ready?", "max_tokens": 1, "temperature": 0.0});
        let answer = self.client.post(&url).timeout(TOKEN_TIMEOUT).json(&body).send().await;
        let told = |error: reqwest::Error| format!("{url}: {}", with_causes(&error.without_url()));
        let answer = answer.map_err(told)?;
        let status = answer.status();
        let text = answer.text().await.map_err(told)?;
        if status.is_success() {
            return Ok(());
        }
        Err(format!("{url}: {status}: {}", text.chars().take(200).collect::<String>()))
    }

    fn url(&self, path: &str) -> Result<String, String> {
        let base = self.base_url.as_ref().ok_or_else(|| "no --engine-url was given".to_owned())?;
        Ok(format!("{base}{path}"))
    }
}

fn num_gpu_blocks(metrics: &str) -> Option<u64> {
    let labels = metrics.lines().find_map(|line| line.strip_prefix(CACHE_CONFIG))?;
    let (_, value) = labels.split_once("num_gpu_blocks=\"")?;
    value.split_once('"')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kv_blocks_stand_in_a_label() {
        let line = |labels: &str| format!("# TYPE x gauge\nvllm:cache_config_info{{{labels}}} 1.0\n");
        assert_eq!(num_gpu_blocks(&line(r#"block_size="16",num_gpu_blocks="7000",x="y""#)), Some(7000));
        assert_eq!(num_gpu_blocks(&line(r#"block_size="16",num_gpu_blocks="None""#)), None);
        assert_eq!(num_gpu_blocks(""), None);
    }
}
