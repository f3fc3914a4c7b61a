//! The engine's own HTTP server, asked for its version.

use std::time::Duration;

use serde::Deserialize;

/// An engine that is busy loading must not hold up the evidence.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Where the engine serves.
#[derive(Clone, Debug)]
pub struct Service {
    program: String,
    version_url: Option<String>,
    client: reqwest::Client,
}

#[derive(Deserialize)]
struct Version {
    version: String,
}

impl Service {
    /// The engine's program name, and where it serves if that is known.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(program: &str, url: Option<&str>) -> reqwest::Result<Self> {
        Ok(Self {
            program: program.to_owned(),
            version_url: url.map(|url| format!("{}/version", url.trim_end_matches('/'))),
            client: reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build()?,
        })
    }

    /// The program's name and the version that it answers at `/version`, as vLLM does; else why it is not known.
    pub(super) async fn version(&self) -> Result<String, String> {
        let Some(url) = &self.version_url else { return Err("no --engine-url was given".to_owned()) };
        let told = async { self.client.get(url).send().await?.error_for_status()?.json::<Version>().await };
        match told.await {
            Ok(Version { version }) => Ok(format!("{} {version}", self.program)),
            Err(error) => Err(format!("{url}: {}", error.without_url())),
        }
    }
}
