//! One server: its engine under the probe's supervision, and the neutral router beside it.

use std::{
    ffi::OsString,
    fs,
    io::{self, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use nix::sys::signal::Signal;
use reqwest::Client;
use teebench_api::files::{inputs::ServerInput, run::Window};
use thiserror::Error;

use super::children::{ChildError, ChildSpec, Running, TERMINATION_GRACE};
use crate::{
    executor::EngineCommand,
    measure::{EngineClient, counter_milliseconds},
};

const LISTEN_PATIENCE: Duration = Duration::from_secs(20);
const READY_POLL: Duration = Duration::from_millis(100);
/// How long an engine may take to end before its probe kills it: less than the probe itself is given, so that it is
/// the probe that ends whatever the engine started.
const ENGINE_GRACE_SECONDS: u64 = TERMINATION_GRACE.as_secs() - 3;
/// Lines of a log that a failure shows.
const TAIL_LINES: usize = 15;

/// A server did not come up.
#[derive(Debug, Error)]
pub enum ServerError {
    /// The probe or the router did not start.
    #[error("server {name}: {source}")]
    Child {
        /// Arm and ordinal.
        name: String,
        /// What went wrong.
        #[source]
        source: ChildError,
    },
    /// A child said something else than where it listens.
    #[error("server {name}: {child} said \"{line}\" in place of where it listens")]
    Protocol {
        /// Arm and ordinal.
        name: String,
        /// Which child.
        child: &'static str,
        /// What it said.
        line: String,
    },
    /// The engine ended.
    #[error("server {name}: the engine ended{how} before it served a token")]
    Ended {
        /// Arm and ordinal.
        name: String,
        /// Exit code or signal.
        how: String,
    },
    /// The engine served no token in time.
    #[error(
        "server {name}: no token within {seconds} s; raise spec.engine.readyTimeoutSeconds or see its log ({last})"
    )]
    NotReady {
        /// Arm and ordinal.
        name: String,
        /// Seconds waited.
        seconds: u32,
        /// What the last try ended with.
        last: String,
    },
}

/// How a server is started.
#[derive(Debug)]
pub struct ServerSpec<'a> {
    /// This program.
    pub teebench: &'a Path,
    /// Name of the arm.
    pub arm: &'a str,
    /// Ordinal in the arm.
    pub ordinal: u32,
    /// The engine's command line.
    pub engine: EngineCommand,
    /// Port of the engine.
    pub port: u16,
    /// The probe's source of GPU readings.
    pub gpu_source: OsString,
    /// Milliseconds between two samples.
    pub sample_milliseconds: u32,
    /// Whether the engine and its GPU are simulated.
    pub simulated: bool,
    /// What the weights are, where the campaign file alone does not say it.
    pub weights: Option<String>,
    /// Whether a router is put beside it.
    pub with_router: bool,
    /// Directory for the logs.
    pub log_dir: PathBuf,
}

/// A server that was started.
#[derive(Debug)]
pub struct Server {
    name: String,
    ordinal: u32,
    uid: String,
    engine_url: String,
    probe: Running,
    probe_url: String,
    router: Option<Router>,
    log_dir: PathBuf,
    flags_sha256: String,
    weights: Option<String>,
    started: Instant,
    ready_seconds: Option<f64>,
    idle: Option<Window>,
}

#[derive(Debug)]
struct Router {
    child: Running,
    url: String,
    control_url: String,
}

impl Server {
    /// Starts the probe with the engine under it, and the router.
    pub async fn start(spec: ServerSpec<'_>) -> Result<Self, ServerError> {
        let ServerSpec {
            teebench,
            arm,
            ordinal,
            engine,
            port,
            gpu_source,
            sample_milliseconds,
            simulated,
            weights,
            with_router,
            log_dir,
        } = spec;
        let name = format!("{arm}/{ordinal}");
        let engine_url = format!("http://127.0.0.1:{port}");
        let mut argv: Vec<OsString> = vec![teebench.into()];
        argv.extend(["probe", "exec", "--host", "127.0.0.1", "--port", "0", "--exit-with-parent"].map(OsString::from));
        argv.extend(["--gpu".into(), gpu_source]);
        argv.extend(["--interval-ms".into(), sample_milliseconds.to_string().into()]);
        argv.extend(["--grace-seconds".into(), ENGINE_GRACE_SECONDS.to_string().into()]);
        argv.extend(["--counter-ms".into(), counter_milliseconds(sample_milliseconds, simulated).to_string().into()]);
        argv.extend(["--engine-url".into(), engine_url.clone().into()]);
        argv.extend(["--log-dir".into(), log_dir.clone().into(), "--".into()]);
        argv.extend(engine.argv);
        let child_error = |source| ServerError::Child { name: name.clone(), source };
        let started = Instant::now();
        let mut probe = ChildSpec {
            title: format!("probe of {name}"),
            argv,
            environment: engine.environment,
            log: log_dir.join("probe.log"),
            // The probe ends its engine first, and then itself.
            on_parent_death: Signal::SIGTERM,
        }
        .start()
        .map_err(child_error)?;
        let line = probe.listening_line(LISTEN_PATIENCE).await.map_err(child_error)?;
        let address = line.strip_prefix("listening ").ok_or_else(|| ServerError::Protocol {
            name: name.clone(),
            child: "the probe",
            line: line.clone(),
        })?;
        let probe_url = format!("http://{address}");
        let router = if with_router { Some(start_router(teebench, &name, &log_dir).await?) } else { None };
        let unix_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        let uid = format!("process-{}-{unix_ms}", probe.pid());
        Ok(Self {
            name,
            ordinal,
            uid,
            engine_url,
            probe,
            probe_url,
            router,
            log_dir,
            flags_sha256: engine.flags_sha256,
            weights,
            started,
            ready_seconds: None,
            idle: None,
        })
    }

    /// Waits until the engine serves a token.
    pub async fn ready(&mut self, http: &Client, model: &str, timeout_seconds: u32) -> Result<(), ServerError> {
        let engine = EngineClient::new(http.clone(), &self.engine_url, model);
        let mut last = "it answers nothing".to_owned();
        let mut look = tokio::time::interval(READY_POLL);
        loop {
            let asked = engine.serve_one_token("Are you ready?");
            tokio::pin!(asked);
            // Whoever has the port may take the request and never answer it, so the answer is not all that is waited for.
            let answer = loop {
                tokio::select! {
                    answer = &mut asked => break answer,
                    _ = look.tick() => {}
                }
                self.still_coming(timeout_seconds, &last)?;
            };
            match answer {
                Ok(()) => {
                    self.ready_seconds = Some(self.started.elapsed().as_secs_f64());
                    return Ok(());
                }
                Err(error) => last = error.to_string(),
            }
            look.tick().await;
            self.still_coming(timeout_seconds, &last)?;
        }
    }

    /// Whether there is reason to wait on: nothing has ended, and time is left.
    fn still_coming(&mut self, timeout_seconds: u32, last: &str) -> Result<(), ServerError> {
        if let Some(how) = self.ended() {
            return Err(ServerError::Ended { name: self.name.clone(), how });
        }
        if self.started.elapsed() > Duration::from_secs(timeout_seconds.into()) {
            let (name, last) = (self.name.clone(), last.to_owned());
            return Err(ServerError::NotReady { name, seconds: timeout_seconds, last });
        }
        Ok(())
    }

    /// Arm and ordinal.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Base address of the probe.
    pub fn probe_url(&self) -> &str {
        &self.probe_url
    }

    /// Base address of the engine.
    pub fn engine_url(&self) -> &str {
        &self.engine_url
    }

    /// Digest of the settings that must be equal in all arms.
    pub fn flags_sha256(&self) -> &str {
        &self.flags_sha256
    }

    /// Remembers when the engine idled with its model loaded.
    pub fn set_idle(&mut self, idle: Window) {
        self.idle = Some(idle);
    }

    /// How the engine, its probe or its router ended, when one has.
    pub fn ended(&mut self) -> Option<String> {
        self.probe.ended().or_else(|| {
            let router = self.router.as_mut()?;
            router.child.ended().map(|how| format!(" (its router did, {how})"))
        })
    }

    /// What an attempt needs to know of it.
    pub fn input(&self) -> ServerInput {
        ServerInput {
            ordinal: self.ordinal,
            uid: self.uid.clone(),
            engine_url: self.engine_url.clone(),
            probe_url: Some(self.probe_url.clone()),
            router_url: self.router.as_ref().map(|router| router.url.clone()),
            router_control_url: self.router.as_ref().map(|router| router.control_url.clone()),
            ready_seconds: self.ready_seconds,
            flags_sha256: Some(self.flags_sha256.clone()),
            weights: self.weights.clone(),
            idle: self.idle,
            cpu: None,
        }
    }

    /// Directory with its logs.
    pub fn log_dir(&self) -> &Path {
        &self.log_dir
    }

    /// The last lines of its logs, the engine's own last.
    pub fn log_tail(&self) -> Vec<String> {
        tail_of_dir(&self.log_dir)
    }

    /// Ends the router, the engine and the probe.
    pub async fn stop(self) {
        if let Some(router) = self.router {
            router.child.stop().await;
        }
        self.probe.stop().await;
    }
}

async fn start_router(teebench: &Path, name: &str, log_dir: &Path) -> Result<Router, ServerError> {
    let child_error = |source| ServerError::Child { name: name.to_owned(), source };
    let mut argv: Vec<OsString> = vec![teebench.into()];
    argv.extend(["router", "--host", "127.0.0.1", "--port", "0", "--control-port", "0"].map(OsString::from));
    let mut child = ChildSpec {
        title: format!("router of {name}"),
        argv,
        environment: Vec::new(),
        log: log_dir.join("router.log"),
        on_parent_death: Signal::SIGKILL,
    }
    .start()
    .map_err(child_error)?;
    let line = child.listening_line(LISTEN_PATIENCE).await.map_err(child_error)?;
    let (data, control) = parse_router_line(&line).ok_or_else(|| ServerError::Protocol {
        name: name.to_owned(),
        child: "the router",
        line: line.clone(),
    })?;
    Ok(Router { child, url: format!("http://{data}"), control_url: format!("http://{control}") })
}

fn parse_router_line(line: &str) -> Option<(&str, &str)> {
    let mut words = line.strip_prefix("listening ")?.split(' ');
    let data = words.next()?.strip_prefix("data=")?;
    let control = words.next()?.strip_prefix("control=")?;
    Some((data, control))
}

/// The last lines of every log of a directory, in name order.
pub fn tail_of_dir(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    files.iter().flat_map(|file| tail(file)).collect()
}

/// The last lines of a log, each with the file's name.
pub fn tail(file: &Path) -> Vec<String> {
    let Ok(content) = last_bytes(file) else { return Vec::new() };
    let text = String::from_utf8_lossy(&content);
    let lines: Vec<&str> = text.lines().collect();
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    lines[lines.len().saturating_sub(TAIL_LINES)..].iter().map(|line| format!("{name}: {line}")).collect()
}

/// The end of a file, however long the file is.
fn last_bytes(file: &Path) -> io::Result<Vec<u8>> {
    const TAIL_BYTES: u64 = 1 << 16;
    let mut log = fs::File::open(file)?;
    let length = log.metadata()?.len();
    log.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut content = Vec::new();
    log.take(TAIL_BYTES).read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_router_says_both_its_addresses() {
        assert_eq!(
            parse_router_line("listening data=127.0.0.1:1 control=127.0.0.1:2"),
            Some(("127.0.0.1:1", "127.0.0.1:2"))
        );
        assert_eq!(parse_router_line("error: port taken"), None);
    }

    #[test]
    fn a_tail_is_bounded_and_names_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let text: String = (0..100).map(|line| format!("line {line}\n")).collect();
        fs::write(dir.path().join("engine.log"), text).unwrap();

        let tail = tail_of_dir(dir.path());

        assert_eq!(tail.len(), TAIL_LINES);
        assert_eq!(tail.last().map(String::as_str), Some("engine.log: line 99"));
    }
}
