//! What Prometheus and Grafana are given: every query of the dashboard answers while a campaign runs, every alert can be
//! evaluated.

use std::{collections::BTreeMap, net::TcpListener, path::Path, time::Duration};

use anyhow::{Context, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, ResourceExt, api::ListParams};
use serde_json::{Value, json};
use teebench_e2e::cluster::{OPERATOR_NAMESPACE, campaign_file, eventually, measured};
use tokio::process::{Child, Command};

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/teebench/files/monitoring");

/// A Prometheus that reads what the chart's monitors would have it read. Debian's knows no Kubernetes, so that the pods are
/// told to it by files.
struct Prometheus {
    _process: Child,
    files: tempfile::TempDir,
    address: String,
    http: reqwest::Client,
}

/// Pods of a namespace whose ports with one of the names are read.
#[derive(Clone, Copy)]
struct Job<'a> {
    name: &'static str,
    namespace: &'a str,
    ports: &'static [&'static str],
}

impl Prometheus {
    fn start() -> anyhow::Result<Self> {
        let files = tempfile::tempdir()?;
        let of_job = |name: &str, honor_labels: bool| {
            let targets = files.path().join(format!("{name}.json"));
            json!({
                "job_name": name, "honor_labels": honor_labels,
                "file_sd_configs": [{"files": [targets], "refresh_interval": "1s"}],
            })
        };
        let config = json!({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [format!("{CHART}/rules.yaml")],
            // The operator's series have the namespaces of campaigns as labels of their own.
            "scrape_configs": [of_job("operator", true), of_job("campaigns", false)],
        });
        let path = files.path().join("prometheus.yml");
        std::fs::write(&path, serde_json::to_vec(&config)?)?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", path.display()))
            .arg(format!("--storage.tsdb.path={}", files.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=error")
            .kill_on_drop(true)
            .spawn()
            .context("prometheus cannot be run; it is in Debian's package of that name")?;
        Ok(Self { _process: process, files, address, http: reqwest::Client::builder().no_proxy().build()? })
    }

    /// Tells of the pods that a job has now.
    async fn tell(&self, client: &Client, job: Job<'_>) -> anyhow::Result<()> {
        let pods: Api<Pod> = Api::namespaced(client.clone(), job.namespace);
        let pods = pods.list(&ListParams::default()).await?;
        let targets: Vec<Value> = pods.iter().filter_map(|pod| targets(job, pod)).collect();
        let path = self.files.path().join(format!("{}.json", job.name));
        let whole = path.with_extension("new");
        std::fs::write(&whole, serde_json::to_vec(&targets)?)?;
        std::fs::rename(whole, path).map_err(Into::into)
    }

    async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, String> {
        let mut url =
            reqwest::Url::parse(&format!("http://{}/api/v1/{path}", self.address)).map_err(|e| e.to_string())?;
        url.query_pairs_mut().extend_pairs(query);
        let answer = self.http.get(url).send().await.map_err(|error| error.to_string())?;
        let answer: Value = answer.json().await.map_err(|error| error.to_string())?;
        if answer["status"] == "success" { Ok(answer["data"].clone()) } else { Err(answer.to_string()) }
    }
}

/// The addresses of a pod that a job reads, with the labels that the chart's monitors give them.
fn targets(job: Job<'_>, pod: &Pod) -> Option<Value> {
    let address = pod.status.as_ref()?.pod_ip.as_ref()?;
    let containers = &pod.spec.as_ref()?.containers;
    let initial = pod.spec.as_ref()?.init_containers.iter().flatten();
    let ports = containers.iter().chain(initial).flat_map(|container| container.ports.iter().flatten());
    let addresses: Vec<String> = ports
        .filter(|port| port.name.as_deref().is_some_and(|name| job.ports.contains(&name)))
        .map(|port| format!("{address}:{}", port.container_port))
        .collect();
    let mut labels =
        BTreeMap::from([("namespace".to_owned(), job.namespace.to_owned()), ("pod".to_owned(), pod.name_any())]);
    for (label, value) in pod.labels() {
        if let Some(label) =
            label.strip_prefix("teebench.dev/").filter(|label| ["campaign", "arm", "boot"].contains(label))
        {
            labels.insert(format!("teebench_dev_{label}"), value.clone());
        }
    }
    (!addresses.is_empty()).then(|| json!({"targets": addresses, "labels": labels}))
}

/// The dashboard's queries by the titles of their panels, for one campaign.
fn queries(namespace: &str, campaign: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let text = std::fs::read_to_string(Path::new(CHART).join("dashboard.json"))?;
    let dashboard: Value = serde_json::from_str(&text)?;
    let panels = dashboard["panels"].as_array().context("a dashboard without panels")?;
    let mut queries = BTreeMap::new();
    for panel in panels {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = target["expr"].as_str().context("a target without a query")?;
            let query = query.replace("$namespace", namespace).replace("$campaign", campaign);
            let query = query.replace("$__rate_interval", "10s");
            ensure!(!query.contains('$'), "{query}: a variable that nobody sets");
            queries.insert(format!("{} {}", panel["title"], target["refId"]), query);
        }
    }
    Ok(queries)
}

#[tokio::test]
async fn every_query_of_the_dashboard_answers_while_a_campaign_runs() -> anyhow::Result<()> {
    measured("simulator", "monitored", async |suite| {
        const NAME: &str = "monitored";
        let (mut file, _) = campaign_file("simulator")?;
        file.campaign.metadata.name = Some(NAME.to_owned());
        let spec = &mut file.campaign.spec;
        spec.routers.retain(|router| router.name == "hr-tree");
        spec.experiments.iter_mut().for_each(|experiment| experiment.output_tokens = vec![256]);
        file.policies.retain(|policy, _| policy == "hr-tree");
        let mut open = queries(&suite.namespace, NAME)?;
        ensure!(open.len() > 15, "a dashboard of {} queries", open.len());
        let prometheus = Prometheus::start()?;
        let jobs = [
            Job { name: "operator", namespace: OPERATOR_NAMESPACE, ports: &["metrics"] },
            Job { name: "campaigns", namespace: &suite.namespace, ports: &["probe", "router-metrics"] },
        ];
        suite.begin(&file).await?;
        eventually("every query of the dashboard has answered", Duration::from_secs(300), async || {
            for job in jobs {
                prometheus.tell(&suite.client, job).await.map_err(|error| format!("{error:#}"))?;
            }
            let mut answered = Vec::new();
            for (title, query) in &open {
                let data =
                    prometheus.get("query", &[("query", query)]).await.map_err(|error| format!("{title}: {error}"))?;
                if data["result"].as_array().is_some_and(|series| !series.is_empty()) {
                    answered.push(title.clone());
                }
            }
            open.retain(|title, _| !answered.contains(title));
            if open.is_empty() { Ok(()) } else { Err(format!("without an answer: {open:#?}")) }
        })
        .await?;
        let rules = prometheus.get("rules", &[]).await.map_err(anyhow::Error::msg)?;
        let groups = rules["groups"].as_array().context("no groups of rules")?;
        let rules: Vec<&Value> = groups.iter().filter_map(|group| group["rules"].as_array()).flatten().collect();
        ensure!(rules.len() >= 7 && rules.iter().all(|rule| rule["health"] == "ok"), "{rules:#?}");
        suite.end(NAME).await
    })
    .await
}
