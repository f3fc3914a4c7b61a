//! `teebench operator`: controllers of every scope, the results service, health and metrics, until it is told to stop.

use std::{collections::BTreeMap, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context as _;
use futures::{
    StreamExt,
    channel::mpsc,
    future::{join_all, ready},
};
use kube::{
    Client,
    runtime::{Controller, controller, reflector::ObjectRef},
};
use teebench_api::{
    campaign::BenchmarkCampaign,
    conditions::types,
    files::run::Verdict,
    policy::RouterPolicy,
    run::{BenchmarkRun, RunMetrics},
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use super::{
    Args,
    attester::{Attester, AttesterSettings},
    backoff::Backoff,
    build::Settings,
    caches::{self, Scope, Streams},
    campaign::{self, memory::Memory},
    context::{Context, FactsByPod},
    events::Events,
    http::{self, Health},
    identity::{Known, LoadPods},
    leader::Candidate,
    machines::{self, Machines},
    metrics::{Metrics, RunLabels},
    policy,
    writer::Writer,
};
use crate::store::{
    ResultsStore,
    service::{Limits, Listeners, ResultsService, Tls},
};

/// Campaigns that are worked on at once: a pass waits mostly for the API server, and writes are what that bears.
const CONCURRENCY: u16 = 8;
/// How often what the caches have is counted: as often as most Prometheus servers look.
const SURVEY_INTERVAL: Duration = Duration::from_secs(15);
/// How often the store is measured: listing a large one takes seconds.
const STORE_INTERVAL: Duration = Duration::from_mins(5);

/// Runs the operator until it is told to stop.
///
/// # Errors
/// The cluster, the store or a port cannot be used.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().context("cannot start")?;
    runtime.block_on(operate(args))?;
    Ok(ExitCode::SUCCESS)
}

async fn operate(args: &Args) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    tokio::spawn(stop_on_signal(stop.clone())?);
    let store = ResultsStore::open(&args.store)?;
    let tls = Arc::new(match &args.tls_dir {
        Some(directory) => Tls::from_directory(directory)?,
        None => Tls::of_our_own(&store, &[host_of(&args.results_url)?])?,
    });
    let client = Client::try_default().await.context("no cluster: give a kubeconfig or run in a pod")?;
    let metrics = Metrics::new();
    let health = Health::new(metrics.clone());
    let listen = |port| TcpListener::bind((args.host, port));
    let metrics_listener =
        listen(args.metrics_port).await.with_context(|| format!("cannot listen on port {}", args.metrics_port))?;
    tokio::spawn(http::serve(metrics_listener, health.clone(), stop.clone()));
    let candidate = candidate(args, &client);
    if let Some(candidate) = &candidate {
        // One that waits is as ready as it will be; otherwise no rollout would end.
        health.set_ready(true);
        if !candidate.lead(&stop).await {
            return Ok(());
        }
        health.set_ready(false);
    }
    let listeners = Listeners {
        upload: listen(args.upload_port)
            .await
            .with_context(|| format!("cannot listen on port {}", args.upload_port))?,
        read: listen(args.read_port).await.with_context(|| format!("cannot listen on port {}", args.read_port))?,
    };
    let mut leading = tokio::spawn({
        let (candidate, stop) = (candidate.clone(), stop.clone());
        async move {
            match candidate {
                Some(candidate) => candidate.keep(&stop).await,
                None => Ok(()),
            }
        }
    });

    let nodes = args.read_nodes.then(|| {
        let (nodes, stream) = caches::watch_nodes(&client);
        let stop = stop.clone();
        tokio::spawn(async move { stream.take_until(stop.cancelled()).for_each(|()| async {}).await });
        nodes
    });
    let own_namespace = args.pod_namespace.as_deref().unwrap_or_else(|| client.default_namespace());
    let machines = Arc::new(Machines::new(&client, own_namespace, Writer::new(client.clone(), metrics.clone())));
    let gpu_pods = args.exclusivity.then(|| {
        let (pods, stream) = machines::watch::gpu_pods(&client);
        let (stop, machines) = (stop.clone(), machines.clone());
        let placed = stream.take_until(stop.cancelled_owned()).for_each(move |pod| {
            machines.placed(&pod);
            ready(())
        });
        tokio::spawn(placed);
        pods
    });
    let settings = Settings {
        image: args.image.clone(),
        image_pull_policy: args.image_pull_policy.clone(),
        hub_endpoint: args.hub_endpoint.clone(),
        results_url: args.results_url.clone(),
        results_ca_pem: tls.ca_pem().to_owned(),
    };
    let attester = args.cpu_attester_namespace.clone().map(|namespace| AttesterSettings {
        namespace,
        device: args.cpu_attester_device.clone(),
        test_root_sha256: args.cpu_attester_test_root.clone(),
    });
    let scopes: Vec<(Arc<Context>, Streams, Wakes, PolicyWakes)> = scopes(args)
        .iter()
        .map(|scope| {
            let (caches, streams) = caches::watch(&client, scope);
            let (wake, wakes) = mpsc::unbounded();
            let (wake_policy, policy_wakes) = mpsc::unbounded();
            let context = Context {
                client: client.clone(),
                writer: Writer::new(client.clone(), metrics.clone()),
                events: Events::new(client.clone()),
                metrics: metrics.clone(),
                caches,
                nodes: nodes.clone(),
                gpu_pods: gpu_pods.clone(),
                machines: machines.clone(),
                store: store.clone(),
                memory: Arc::new(Memory::default()),
                facts: FactsByPod::default(),
                attester: attester.clone().map(|settings| {
                    Attester::new(settings, client.clone(), Writer::new(client.clone(), metrics.clone()))
                }),
                settings: settings.clone(),
                backoff: Backoff::default(),
                wake,
                wake_policy,
            };
            (Arc::new(context), streams, wakes, policy_wakes)
        })
        .collect();
    let known = scopes.iter().map(|(context, ..)| Known {
        pods: context.caches.pods.clone(),
        runs: context.caches.runs.clone(),
        memory: context.memory.clone(),
        wake: context.wake.clone(),
    });
    let load_pods = Arc::new(LoadPods::new(known.collect()));
    let service = ResultsService::new(store.clone(), client, load_pods.clone(), Limits::default());
    let serving = tokio::spawn(service.serve(tls, listeners, stop.clone()));

    let contexts: Vec<Arc<Context>> = scopes.iter().map(|(context, ..)| context.clone()).collect();
    let is_ready = tokio::spawn(async move {
        join_all(contexts.iter().map(|context| context.filled())).await;
        load_pods.set_ready();
        health.set_ready(true);
        tracing::info!("caches are filled; the operator works");
    });
    let contexts: Vec<Arc<Context>> = scopes.iter().map(|(context, ..)| context.clone()).collect();
    let sweeping = tokio::spawn(machines::watch::sweep(machines, contexts.clone()));
    let surveying = tokio::spawn(survey(contexts, store, metrics));
    let working = async {
        join_all(scopes.into_iter().map(|(context, streams, wakes, policy_wakes)| {
            control(context, streams, wakes, policy_wakes, stop.clone())
        }))
        .await;
        serving.await.context("the results service was lost")?.context("the results service ended")
    };
    tokio::select! {
        worked = working => worked?,
        // What is under way is dropped: it may be another's to do by now.
        Ok(Err(lost)) = &mut leading => return Err(lost.into()),
    }
    is_ready.abort();
    surveying.abort();
    sweeping.abort();
    // Only now, when nothing writes any more, may another operator begin.
    if let Some(candidate) = candidate {
        candidate.give_back().await;
    }
    Ok(())
}

fn candidate(args: &Args, client: &Client) -> Option<Arc<Candidate>> {
    let (pod, namespace) = args.pod_name.as_deref().zip(args.pod_namespace.as_deref())?;
    args.leader_election.then(|| Arc::new(Candidate::new(client, namespace, pod)))
}

/// Counts now and then what no single pass sees: campaigns by state, what their latest runs gave, bytes of the store.
async fn survey(contexts: Vec<Arc<Context>>, store: ResultsStore, metrics: Metrics) {
    let mut look = tokio::time::interval(SURVEY_INTERVAL);
    let mut measure = tokio::time::interval(STORE_INTERVAL);
    loop {
        tokio::select! {
            _ = look.tick() => {}
            _ = measure.tick() => {
                match store.bytes().await {
                    Ok(bytes) => metrics.set_store_bytes(bytes),
                    Err(error) => tracing::warn!(%error, "the store cannot be measured"),
                }
                continue;
            }
        }
        let mut states: BTreeMap<String, usize> = BTreeMap::new();
        for campaign in contexts.iter().flat_map(|context| context.caches.campaigns.state()) {
            let conditions = campaign.status.iter().flat_map(|status| &status.conditions);
            let mut succeeded = conditions.filter(|condition| condition.type_ == types::SUCCEEDED);
            let state = succeeded.next().map_or("New", |condition| condition.reason.as_str());
            *states.entry(state.to_owned()).or_default() += 1;
        }
        metrics.set_campaigns(states.iter().map(|(state, count)| (state.as_str(), *count)));
        let mut runs: Vec<_> = contexts.iter().flat_map(|context| context.caches.runs.state()).collect();
        runs.sort_by_key(|run| run.spec.epoch);
        // Of runs with the same labels, the last set stands.
        metrics.set_latest(runs.iter().filter_map(|run| given(run)));
    }
}

/// What a run that counts gave.
fn given(run: &BenchmarkRun) -> Option<(RunLabels<'_>, RunMetrics)> {
    let status = run.status.as_ref().filter(|status| status.validity == Some(Verdict::Valid))?;
    let namespace = run.metadata.namespace.as_deref()?;
    Some(([namespace, &run.spec.campaign, &run.spec.arm, &run.spec.router], status.metrics?))
}

type Wakes = mpsc::UnboundedReceiver<ObjectRef<BenchmarkCampaign>>;
type PolicyWakes = mpsc::UnboundedReceiver<ObjectRef<RouterPolicy>>;

/// Runs the controllers of one scope until told to stop.
async fn control(
    context: Arc<Context>,
    streams: Streams,
    wakes: Wakes,
    policy_wakes: PolicyWakes,
    stop: CancellationToken,
) {
    let Streams { campaigns, policies, children } = streams;
    let config = controller::Config::default().concurrency(CONCURRENCY);
    let stopped = stop.clone();
    let campaign_controller = Controller::for_stream(campaigns, context.caches.campaigns.clone())
        .with_config(config.clone())
        .reconcile_on(children)
        .reconcile_on(wakes)
        .graceful_shutdown_on(async move { stopped.cancelled().await })
        .run(
            campaign::reconcile,
            |object, error, context| campaign::error_policy(&object, error, &context),
            context.clone(),
        )
        .for_each(|outcome| async {
            if let Err(controller::Error::QueueError(error)) = outcome {
                tracing::warn!(%error, "a watch was lost; trying again");
            }
        });
    let policy_controller = Controller::for_stream(policies, context.caches.policies.clone())
        .with_config(config)
        .reconcile_on(policy_wakes)
        .graceful_shutdown_on(async move { stop.cancelled().await })
        .run(policy::reconcile, |object, error, context| policy::error_policy(&object, error, &context), context)
        .for_each(|_| async {});
    tokio::join!(campaign_controller, policy_controller);
}

fn scopes(args: &Args) -> Vec<Scope> {
    if args.namespaces.is_empty() {
        return vec![Scope::Cluster];
    }
    args.namespaces.iter().cloned().map(Scope::Namespace).collect()
}

/// The host of an address, for which a certificate is made.
fn host_of(url: &str) -> anyhow::Result<String> {
    let parsed: axum::http::Uri = url.parse().with_context(|| format!("--results-url {url}: not an address"))?;
    parsed.host().map(str::to_owned).with_context(|| format!("--results-url {url}: has no host"))
}

fn stop_on_signal(stop: CancellationToken) -> anyhow::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!("told to stop");
        stop.cancel();
    })
}
