//! The `router` subcommand: flags, signals and exit codes.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;
use teebench_api::files::epoch::{EpochRequest, Peer};
use teebench_api::policy::{
    Chunking, HashRadixTree, LoadBalancing, RouterMode, RouterPolicySpec, RouterQueue, Topology,
};
use tokio::signal::unix::{SignalKind, signal};

use crate::control::members::{Source, by_system, named_by_address};
use crate::limits::Limits;
use crate::serve::{Config, StartError, start};

/// Routes requests to vLLM servers by the prompt prefixes that each holds.
///
/// Without --worker-urls the router is neutral: it answers 503 until an epoch begins on its control port.
#[derive(clap::Args, Clone, Debug)]
#[command(before_help = "Example: teebench router --port 8080 --policy hash_radix_tree \
    --worker-urls http://10.0.0.1:8000 http://10.0.0.2:8000")]
pub struct Args {
    /// Host that all ports listen on.
    #[arg(long, default_value = "127.0.0.1")]
    pub host: String,
    /// Port for clients; 0 takes a free one.
    #[arg(long, default_value_t = 8080)]
    pub port: u16,
    /// Servers to route to.
    #[arg(long, value_name = "URL", num_args = 1..)]
    pub worker_urls: Vec<String>,
    /// File with a server's URL on each line, read again when it changes; instead of --worker-urls.
    #[arg(long, value_name = "FILE", conflicts_with = "worker_urls")]
    pub workers_file: Option<PathBuf>,
    /// Name that resolves to all servers, such as a headless Service's, and their port; resolved anew every few seconds.
    #[arg(long, value_name = "HOST:PORT", conflicts_with_all = ["worker_urls", "workers_file"])]
    pub workers_dns: Option<String>,
    /// How a server is chosen.
    #[arg(long, value_enum, default_value_t = Policy::HashRadixTree)]
    pub policy: Policy,
    /// How load decides among the holders of a prefix; with --policy hash_radix_tree.
    #[arg(long, value_enum)]
    pub load_balancing: Option<Balancing>,
    /// Bytes of a prompt's chunks; with --policy hash_radix_tree.
    #[arg(long, value_name = "BYTES")]
    pub chunk_bytes: Option<u32>,
    /// Bits kept of each chunk's hash, 8 to 64; with --policy hash_radix_tree.
    #[arg(long, value_name = "BITS")]
    pub hash_bits: Option<u32>,
    /// Most requests in flight to one server; 0 means unbounded.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub max_in_flight_per_server: u32,
    /// Port for epochs, other routers and metrics; 0 takes a free one.
    #[arg(long, default_value_t = 8081)]
    pub control_port: u16,
    /// Control ports of the other routers of the same servers.
    #[arg(long, value_name = "URL", num_args = 1..)]
    pub peer_urls: Vec<String>,
    /// This router's own control port as its peers name it, so that routers know their order: then
    /// `--max-in-flight-per-server` holds for all of them together.
    #[arg(long, value_name = "URL", requires = "peer_urls")]
    pub own_url: Option<String>,
    /// A further port for metrics alone.
    #[arg(long)]
    pub prometheus_port: Option<u16>,
    /// Serve `/debug/tree` on the control port: the prefixes with the most traffic, as hashes.
    #[arg(long)]
    pub debug_tree: bool,
    /// Write a line to the log for every request: its method, path, status, worker, outcome, times, bytes and trace context.
    #[arg(long)]
    pub access_log: bool,
    /// I/O threads of the data port; one serves tens of thousands of requests per second.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: u16,
    /// Most bytes of a request's body.
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().body_bytes)]
    pub max_body_bytes: usize,
    /// Most bytes of all requests' bodies together; beyond it requests get 503 and are asked to come again.
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().bodies_bytes)]
    pub max_bodies_bytes: usize,
    /// Most connections of clients; who comes beyond waits until another leaves.
    #[arg(long, value_name = "N", default_value_t = Limits::default().connections)]
    pub max_connections: usize,
    /// Longest time that requests in flight may take to end after SIGTERM.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub drain_seconds: u64,
}

/// The values of `--policy`.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
#[value(rename_all = "snake_case")]
pub enum Policy {
    /// Each server in its turn.
    RoundRobin,
    /// The server with the fewest requests in flight.
    LeastLoaded,
    /// The server that holds the longest prefix of the prompt.
    HashRadixTree,
}

/// The values of `--load-balancing`.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
#[value(rename_all = "snake_case")]
pub enum Balancing {
    /// The deepest holder, whatever its load.
    None,
    /// Latency times queue over capacity, as in the paper.
    LatencyFactor,
    /// The least expected time to the first token.
    ExpectedCost,
}

const BAD_INPUT: u8 = 2;
const INTERRUPTED: u8 = 130;

/// Runs a router until SIGTERM (exit code 0, after draining) or SIGINT (130). Exit code 2 means that it could not start:
/// a flag is wrong or a port is taken.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let config = match args.config() {
        Ok(config) => config,
        Err(message) => return Ok(refuse(&message)),
    };
    let running = match start(&config) {
        Ok(running) => running,
        Err(error @ StartError::Thread(_)) => return Err(error).context("the router did not start"),
        Err(error) => return Ok(refuse(&format!("{:#}", anyhow::Error::from(error)))),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut terminate, mut interrupt) = {
        let _context = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
    };
    // Whoever started the router waits for this line to learn its ports.
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "listening data={} control={}", running.data, running.control)?;
    stdout.flush()?;
    drop(stdout);

    let must_drain = runtime.block_on(async {
        tokio::select! {
            _ = terminate.recv() => true,
            _ = interrupt.recv() => false,
        }
    });
    if !must_drain {
        running.abort();
        return Ok(ExitCode::from(INTERRUPTED));
    }
    tracing::info!(seconds = args.drain_seconds, "draining");
    let patience = Duration::from_secs(args.drain_seconds);
    let drained = runtime.spawn_blocking(move || running.stop(patience));
    let was_interrupted = runtime.block_on(async {
        tokio::select! {
            _ = drained => false,
            _ = terminate.recv() => true,
            _ = interrupt.recv() => true,
        }
    });
    runtime.shutdown_background();
    Ok(if was_interrupted { ExitCode::from(INTERRUPTED) } else { ExitCode::SUCCESS })
}

fn refuse(message: &str) -> ExitCode {
    eprintln!("error: {message}");
    ExitCode::from(BAD_INPUT)
}

impl Args {
    fn config(&self) -> Result<Config, String> {
        let Self {
            host,
            port,
            worker_urls,
            workers_file,
            workers_dns,
            debug_tree,
            access_log,
            policy: _,
            load_balancing: _,
            chunk_bytes: _,
            hash_bits: _,
            max_in_flight_per_server: _,
            control_port,
            peer_urls,
            own_url,
            prometheus_port,
            threads,
            max_body_bytes,
            max_bodies_bytes,
            max_connections,
            drain_seconds: _,
        } = self;
        let policy = self.policy_spec()?;
        let watched = match (workers_file, workers_dns) {
            (Some(file), _) => Some(Source::File(file.clone())),
            (None, Some(name)) => Some(Source::Dns { name: name.clone(), resolve: by_system }),
            (None, None) => None,
        };
        let workers = match &watched {
            Some(source) => source.read().map_err(|error| format!("{:#}", anyhow::Error::from(error)))?,
            None => worker_urls.iter().map(|url| named_by_address(url)).collect(),
        };
        if workers.is_empty() && watched.is_some() {
            return Err("the list of servers is empty; list one at least".into());
        }
        if workers.is_empty() && !peer_urls.is_empty() {
            return Err("--peer-urls: belongs to --worker-urls; give both, or let PUT /epoch name the peers".into());
        }
        let peers = peer_urls.iter().map(|url| Peer { id: url.clone(), url: url.clone() }).collect();
        let first_epoch = (!workers.is_empty()).then(|| EpochRequest {
            epoch: 0,
            run: String::new(),
            policy,
            workers,
            peers,
            name: own_url.clone().unwrap_or_default(),
        });
        Ok(Config {
            host: host.clone(),
            port: *port,
            control_port: *control_port,
            prometheus_port: *prometheus_port,
            threads: usize::from(*threads),
            limits: Limits {
                body_bytes: *max_body_bytes,
                bodies_bytes: *max_bodies_bytes,
                connections: *max_connections,
                ..Limits::default()
            },
            epoch: first_epoch,
            watched,
            debug_tree: *debug_tree,
            access_log: *access_log,
        })
    }

    fn policy_spec(&self) -> Result<RouterPolicySpec, String> {
        let tree_flags = [
            ("--load-balancing", self.load_balancing.is_some()),
            ("--chunk-bytes", self.chunk_bytes.is_some()),
            ("--hash-bits", self.hash_bits.is_some()),
        ];
        let (mode, hash_radix_tree) = match self.policy {
            Policy::RoundRobin => (RouterMode::RoundRobin, None),
            Policy::LeastLoaded => (RouterMode::LeastLoaded, None),
            Policy::HashRadixTree => (RouterMode::HashRadixTree, Some(self.tree())),
        };
        if hash_radix_tree.is_none()
            && let Some((flag, _)) = tree_flags.iter().find(|(_, is_given)| *is_given)
        {
            return Err(format!("{flag}: belongs to --policy hash_radix_tree; remove it or change the policy"));
        }
        Ok(RouterPolicySpec {
            mode,
            hash_radix_tree,
            max_in_flight_per_server: self.max_in_flight_per_server,
            queue: RouterQueue::default(),
            topology: Topology::default(),
            replicas: None,
        })
    }

    fn tree(&self) -> HashRadixTree {
        let default = HashRadixTree::default();
        HashRadixTree {
            load_balancing: match self.load_balancing {
                None => default.load_balancing,
                Some(Balancing::None) => LoadBalancing::None,
                Some(Balancing::LatencyFactor) => LoadBalancing::LatencyFactor,
                Some(Balancing::ExpectedCost) => LoadBalancing::ExpectedCost,
            },
            chunk: match self.chunk_bytes {
                None => default.chunk.clone(),
                Some(bytes) => Chunking::fixed(bytes),
            },
            hash_bits: self.hash_bits.unwrap_or(default.hash_bits),
            ..default
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use rstest::rstest;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    fn args(flags: &str) -> Args {
        Command::try_parse_from(["router"].into_iter().chain(flags.split_whitespace())).unwrap().args
    }

    #[test]
    fn workers_and_policy_make_the_first_epoch() {
        let flags = "--worker-urls http://a:1 http://b:2/ --load-balancing none --chunk-bytes 64 --hash-bits 8";
        let epoch = args(flags).config().unwrap().epoch.unwrap();
        let names: Vec<_> = epoch.workers.iter().map(|worker| worker.id.as_str()).collect();
        assert_eq!(names, ["http://a:1", "http://b:2"]);
        let tree = epoch.policy.hash_radix_tree.unwrap();
        assert_eq!((tree.load_balancing, tree.chunk.bytes, tree.hash_bits), (LoadBalancing::None, Some(64), 8));
    }

    #[test]
    fn without_workers_the_router_is_neutral() {
        assert_eq!(args("").config().unwrap().epoch, None);
    }

    #[rstest]
    #[case::tree_flag("--worker-urls http://a:1 --policy round_robin --hash-bits 8", "--hash-bits")]
    #[case::peers_alone("--peer-urls http://a:1", "--peer-urls")]
    fn flags_that_do_not_belong_together_are_refused(#[case] flags: &str, #[case] named: &str) {
        assert!(args(flags).config().unwrap_err().starts_with(named));
    }
}
