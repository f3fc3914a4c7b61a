//! What Prometheus and Grafana are given: every query of the dashboard answers while a campaign runs, every alert can be
//! evaluated.

use std::{collections::BTreeMap, net::TcpListener, path::Path, time::Duration};

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use teebench_e2e::cluster::{OPERATOR_NAMESPACE, campaign_file, eventually, measured};
use tokio::process::{Child, Command};

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/teebench/files/monitoring");

/// A Prometheus that reads what the chart's monitors would have it read.
struct Prometheus {
    _process: Child,
    _files: tempfile::TempDir,
    address: String,
    http: reqwest::Client,
}

impl Prometheus {
    fn start(namespace: &str) -> anyhow::Result<Self> {
        let files = tempfile::tempdir()?;
        let kubeconfig = std::env::var("KUBECONFIG").context("KUBECONFIG is not set; run these tests by e2e/run")?;
        let discovered = |namespace: &str| json!([{"role": "pod", "kubeconfig_file": kubeconfig, "namespaces": {"names": [namespace]}}]);
        let port_is = |ports: &str| json!({"source_labels": ["__meta_kubernetes_pod_container_port_name"], "regex": ports, "action": "keep"});
        let named = |from: &str, to: &str| json!({"source_labels": [from], "target_label": to});
        let config = json!({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [format!("{CHART}/rules.yaml")],
            "scrape_configs": [
                {"job_name": "operator", "kubernetes_sd_configs": discovered(OPERATOR_NAMESPACE),
                 // The operator's series have the namespaces of campaigns as labels of their own.
                 "honor_labels": true, "relabel_configs": [port_is("metrics")]},
                {"job_name": "campaigns", "kubernetes_sd_configs": discovered(namespace), "relabel_configs": [
                    port_is("probe|router-metrics"),
                    named("__meta_kubernetes_namespace", "namespace"),
                    named("__meta_kubernetes_pod_name", "pod"),
                    {"action": "labelmap", "regex": "__meta_kubernetes_pod_label_(teebench_dev_(?:campaign|arm|boot))"},
                ]},
            ],
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
        Ok(Self { _process: process, _files: files, address, http: reqwest::Client::builder().no_proxy().build()? })
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
        let prometheus = Prometheus::start(&suite.namespace)?;
        suite.begin(&file).await?;
        eventually("every query of the dashboard has answered", Duration::from_secs(300), async || {
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
