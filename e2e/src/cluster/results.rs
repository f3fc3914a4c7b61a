//! What the results service gives, through the API server's proxy as everyone reaches it.

use anyhow::Context;
use kube::ResourceExt;
use serde_json::Value;
use teebench_api::campaign::BenchmarkCampaign;

use super::{OPERATOR_NAMESPACE, Suite};

impl Suite {
    /// A file of a campaign in the test's namespace.
    ///
    /// # Errors
    /// The campaign is not in the store, or the service has no such file.
    pub async fn served(&self, campaign: &str, path: &str) -> anyhow::Result<String> {
        let service = format!("/api/v1/namespaces/{OPERATOR_NAMESPACE}/services/https:teebench-results:read/proxy");
        let get = async |path: &str| {
            let path = format!("{service}/v1/campaigns{path}");
            self.kubectl_anywhere(&["get", "--raw", &path]).await?.well()
        };
        let uid = self.api::<BenchmarkCampaign>().get(campaign).await?.uid().context("no uid")?;
        let listed: Value = serde_json::from_str(&get(&format!("?namespace={}", self.namespace)).await?)?;
        // The store's directory has the first digits of the uid, so that it outlives a campaign of the same name.
        let digits = listed["campaigns"].as_array().into_iter().flatten().filter_map(|entry| entry["uid"].as_str());
        let digits = digits.into_iter().find(|digits| uid.starts_with(digits));
        let digits = digits.with_context(|| format!("{campaign} is not in {listed}"))?;
        get(&format!("/{}/{campaign}.{digits}/{path}", self.namespace)).await
    }
}
