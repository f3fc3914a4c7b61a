//! Lists of workers that change while the router runs: a watched file, or a name that resolves to all of them.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use teebench_api::files::epoch::Worker;
use tokio::time::MissedTickBehavior;

use super::Control;

/// Time between two looks at a file. Whoever writes one waits for its effect.
const FILE_INTERVAL: Duration = Duration::from_secs(1);

/// Time between two resolutions of a name: the time that cluster DNS keeps an answer.
const DNS_INTERVAL: Duration = Duration::from_secs(5);

/// Finds the addresses of `host:port`.
pub type Resolve = fn(&str) -> io::Result<Vec<SocketAddr>>;

/// Where a list of workers comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A file with one URL on each line; empty lines and those that begin with `#` do not count.
    File(PathBuf),
    /// A name with one address for each worker.
    Dns {
        /// `host:port`.
        name: String,
        /// How it is resolved: [`by_system`] outside of tests.
        resolve: Resolve,
    },
}

/// Why a list of workers is not known.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The file cannot be read.
    #[error("--workers-file: cannot read {path}")]
    File {
        /// Its path.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The name does not resolve.
    #[error("--workers-dns: {name} does not resolve; give HOST:PORT")]
    Dns {
        /// The name.
        name: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// A worker whose address is its name, so that routers started alike agree on it in whatever order they list it.
pub fn named_by_address(url: &str) -> Worker {
    Worker { id: url.trim_end_matches('/').into(), url: url.into() }
}

/// Asks the system's resolver. Blocks.
pub fn by_system(name: &str) -> io::Result<Vec<SocketAddr>> {
    Ok(name.to_socket_addrs()?.collect())
}

impl Source {
    /// The workers now, sorted and without repetition. Blocks.
    pub fn read(&self) -> Result<Vec<Worker>, SourceError> {
        let mut urls: Vec<String> = match self {
            Self::File(path) => {
                let text =
                    std::fs::read_to_string(path).map_err(|source| SourceError::File { path: path.clone(), source })?;
                let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
                lines.map(ToOwned::to_owned).collect()
            }
            Self::Dns { name, resolve } => {
                let addresses = resolve(name).map_err(|source| SourceError::Dns { name: name.clone(), source })?;
                addresses.iter().map(|address| format!("http://{address}")).collect()
            }
        };
        urls.sort_unstable();
        urls.dedup();
        Ok(urls.iter().map(|url| named_by_address(url)).collect())
    }

    fn interval(&self) -> Duration {
        match self {
            Self::File(_) => FILE_INTERVAL,
            Self::Dns { .. } => DNS_INTERVAL,
        }
    }
}

/// Keeps a router's workers as their source lists them. A list that cannot be read, is empty or is wrong changes nothing:
/// a resolver that fails for a moment must not take all workers away.
pub async fn follow(control: Control, source: Source) {
    let mut ticks = tokio::time::interval(source.interval());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let reading = source.clone();
        let Ok(read) = tokio::task::spawn_blocking(move || reading.read()).await else { continue };
        match read {
            Ok(workers) if workers.is_empty() => {}
            Ok(workers) => {
                if let Err(error) = control.change_workers(&workers) {
                    tracing::warn!(error = &error as &dyn std::error::Error, "the new list of servers is wrong");
                }
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the list of servers cannot be read");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_lists_one_url_a_line() {
        let path = std::env::temp_dir().join(format!("teebench-workers-{}", std::process::id()));
        std::fs::write(&path, "# servers\nhttp://b:1\n\n  http://a:1/ \nhttp://b:1\n").unwrap();
        let workers = Source::File(path.clone()).read().unwrap();
        std::fs::remove_file(&path).unwrap();
        let names: Vec<&str> = workers.iter().map(|worker| worker.id.as_str()).collect();
        assert_eq!(names, ["http://a:1", "http://b:1"]);
    }

    #[test]
    fn a_name_lists_its_addresses() {
        let dns = |name: &str| Source::Dns { name: name.into(), resolve: by_system };
        assert_eq!(dns("127.0.0.1:8000").read().unwrap(), [named_by_address("http://127.0.0.1:8000")]);
        assert!(dns("127.0.0.1").read().is_err());
    }
}
