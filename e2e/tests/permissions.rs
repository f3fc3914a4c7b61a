//! What the operator was allowed and what it did, by the API server's audit log of the tests before.

use std::collections::BTreeSet;

use anyhow::{Context, ensure};
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, Role};
use kube::{Api, Client, ResourceExt, api::ListParams};
use serde::Deserialize;
use teebench_e2e::cluster::{OPERATOR_NAMESPACE, audited};

/// A verb on a resource of a group, as in a role's rules; the resource with its subresource.
type Permission = (String, String, String);

/// A line of the audit log, as far as it is read here.
#[derive(Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
struct Request {
    verb: String,
    user: User,
    #[serde(rename = "requestURI")]
    uri: String,
    object_ref: Option<Reference>,
    response_status: Option<Status>,
}

#[derive(Deserialize, Debug)]
struct User {
    username: String,
}

#[derive(Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
struct Reference {
    #[serde(default)]
    api_group: String,
    resource: String,
    subresource: Option<String>,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    name: String,
}

#[derive(Deserialize, Debug)]
struct Status {
    code: u16,
}

/// Namespaces that were deleted, and the operator's roles in them with them: what it asks for there is refused.
#[derive(Default)]
struct Gone(BTreeSet<String>);

impl Gone {
    fn has(&self, request: &Request) -> bool {
        request.object_ref.as_ref().is_some_and(|reference| self.0.contains(&reference.namespace))
    }

    /// Takes in a request of anyone, in the order of the log.
    fn follow(&mut self, request: &Request) {
        let is_done = request.response_status.as_ref().is_some_and(|status| status.code < 300);
        let Some(reference) = request.object_ref.as_ref().filter(|_| is_done) else { return };
        match (request.verb.as_str(), reference.resource.as_str()) {
            ("delete", "namespaces") => drop(self.0.insert(reference.name.clone())),
            // The chart was installed again.
            ("create" | "patch", "rolebindings") => drop(self.0.remove(&reference.namespace)),
            _ => {}
        }
    }
}

fn permissions(rules: Vec<PolicyRule>) -> impl Iterator<Item = Permission> {
    rules.into_iter().flat_map(|rule| {
        let (groups, resources) = (rule.api_groups.unwrap_or_default(), rule.resources.unwrap_or_default());
        let mut all = Vec::new();
        for group in &groups {
            for resource in &resources {
                all.extend(rule.verbs.iter().map(|verb| (group.clone(), resource.clone(), verb.clone())));
            }
        }
        all
    })
}

/// What the chart's roles give to the operator.
async fn granted(client: &Client) -> anyhow::Result<BTreeSet<Permission>> {
    let of_chart = ListParams::default().labels("app.kubernetes.io/component in (operator, cpu-attester)");
    let cluster_roles = Api::<ClusterRole>::all(client.clone()).list(&of_chart).await?;
    let roles = Api::<Role>::all(client.clone()).list(&of_chart).await?;
    let for_people = |name: &str| ["-view", "-edit", "-reader"].iter().any(|ending| name.ends_with(ending));
    let cluster_rules =
        cluster_roles.items.into_iter().filter(|role| !for_people(&role.name_any())).filter_map(|role| role.rules);
    let rules = roles.items.into_iter().filter(|role| !for_people(&role.name_any())).filter_map(|role| role.rules);
    Ok(cluster_rules.chain(rules).flat_map(permissions).collect())
}

#[tokio::test]
async fn the_operator_is_refused_nothing_and_asks_for_nothing_beyond_its_roles() -> anyhow::Result<()> {
    let client = Client::try_default().await.context("no cluster is configured; run these tests by e2e/run")?;
    let granted = granted(&client).await?;
    let operator = format!("system:serviceaccount:{OPERATOR_NAMESPACE}:teebench-operator");
    let mut used = BTreeSet::new();
    let mut refused = BTreeSet::new();
    let mut gone = Gone::default();
    let is_kept = audited(|request: Request| {
        gone.follow(&request);
        if request.user.username != operator {
            return;
        }
        if request.response_status.as_ref().is_some_and(|status| status.code == 403) && !gone.has(&request) {
            refused.insert(format!("{} {}", request.verb, request.uri));
        }
        if let Some(Reference { api_group, resource, subresource, namespace: _, name: _ }) = request.object_ref {
            let resource = subresource.map_or_else(|| resource.clone(), |part| format!("{resource}/{part}"));
            used.insert((api_group, resource, request.verb));
        }
    })?;
    if !is_kept {
        println!("this cluster keeps no audit log; nothing was compared");
        return Ok(());
    }
    ensure!(refused.is_empty(), "refused: {refused:#?}");
    let beyond: Vec<_> = used.difference(&granted).collect();
    ensure!(beyond.is_empty(), "used, and not in a role: {beyond:#?}");
    ensure!(!used.is_empty(), "the log has no request of the operator");
    println!("granted and not used:");
    for (group, resource, verb) in granted.difference(&used) {
        println!("  {verb} {resource}{}{group}", if group.is_empty() { "" } else { "." });
    }
    Ok(())
}
