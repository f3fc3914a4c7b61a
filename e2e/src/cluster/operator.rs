//! The operator under test: its metrics and its image.

use std::collections::BTreeMap;

use anyhow::Context;
use k8s_openapi::api::apps::v1::Deployment;
use kube::{Api, Client};

use super::Suite;

/// Namespace of the operator.
pub const OPERATOR_NAMESPACE: &str = "teebench-system";

/// The operator's metrics, by the API server's service proxy: each line's name with its labels, and its value.
///
/// # Errors
/// They cannot be read.
pub async fn metrics(client: &Client) -> anyhow::Result<BTreeMap<String, f64>> {
    let path = format!("/api/v1/namespaces/{OPERATOR_NAMESPACE}/services/teebench-metrics:9090/proxy/metrics");
    let text = client.request_text(http::Request::get(path).body(Vec::new())?).await?;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    Ok(lines
        .filter_map(|line| line.rsplit_once(' '))
        .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
        .collect())
}

/// The image of the operator under test, by its digest.
///
/// # Errors
/// It is not deployed.
pub async fn deployed_image(suite: &Suite) -> anyhow::Result<String> {
    let deployments: Api<Deployment> = Api::namespaced(suite.client.clone(), OPERATOR_NAMESPACE);
    let deployed = deployments.get("teebench-operator").await?;
    let pod = deployed.spec.and_then(|spec| spec.template.spec).context("a Deployment without a pod")?;
    pod.containers.into_iter().find_map(|container| container.image).context("a pod without an image")
}
