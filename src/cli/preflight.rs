//! `teebench preflight`: says of a cluster, before anything is applied, what the operator would say of it.

use std::{collections::BTreeSet, path::PathBuf, process::ExitCode, sync::Arc};

use anyhow::Context;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{Api, Client, Resource, ResourceExt, api::ListParams};
use serde::de::DeserializeOwned;
use teebench_api::{
    plan::{self, Plan},
    validate::load_path,
};

use super::{BAD_INPUT, DONE, FAILED, cluster::ClusterArgs, print};
use crate::preflight::{Catalogue, Check, Cluster, checks, gpus_requested};

/// Check that a cluster has what a campaign needs: nodes, GPUs, taints, classes, claims, budget. Writes nothing.
#[derive(clap::Args, Debug)]
#[command(before_help = "Example: teebench preflight manifests/samples/planetserve-ablation.yaml -n bench")]
pub struct Args {
    /// Campaign file.
    file: PathBuf,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Prints every check; exits 1 when something is missing, 2 when the file has a fault.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let file = match load_path(&args.file) {
        Ok(file) => file,
        Err(diagnostics) => {
            eprintln!("{diagnostics}");
            return Ok(ExitCode::from(BAD_INPUT));
        }
    };
    let name = file.campaign.name_any();
    let plan = match plan::build(&name, &file.campaign.spec, &file.policies) {
        Ok(plan) => plan,
        Err(error) => {
            eprintln!("{}: {error}", args.file.display());
            return Ok(ExitCode::from(BAD_INPUT));
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let cluster = runtime.block_on(look(&args.cluster, &plan))?;
    let mut found = vec![budget(&plan, file.campaign.spec.budget.as_ref())];
    found.extend(checks(&plan, &cluster, &BTreeSet::new()));
    found.push(Check::NotChecked(
        "images and keys of Secrets: a kubelet tells of them when it starts the first pod".into(),
    ));
    print(&found.iter().map(line).collect::<String>())?;
    let is_missing = found.iter().any(|check| matches!(check, Check::Missing { .. }));
    Ok(ExitCode::from(if is_missing { FAILED } else { DONE }))
}

fn line(check: &Check) -> String {
    match check {
        Check::Passed(said) => format!("ok           {said}\n"),
        Check::NotChecked(said) => format!("not checked  {said}\n"),
        Check::Missing { reason, message } => format!("missing      {reason}: {message}\n"),
    }
}

fn budget(plan: &Plan, budget: Option<&teebench_api::campaign::Budget>) -> Check {
    if let Some(message) = budget.and_then(|budget| plan.estimate.exceeds(budget)) {
        return Check::Missing { reason: "OverBudget", message };
    }
    match (&plan.estimate.cost, &plan.estimate.currency) {
        (Some(cost), Some(currency)) => Check::Passed(format!(
            "{} runs cost {} to {} {currency}",
            plan.run_count(),
            cost.minimum.round_dp(2),
            cost.maximum.round_dp(2)
        )),
        _ => Check::NotChecked("cost: give every arm a price in one currency".into()),
    }
}

async fn look(arguments: &ClusterArgs, plan: &Plan) -> anyhow::Result<Cluster> {
    let (client, namespace) = arguments.connect().await?;
    let nodes = list::<Node>(&client).await.context("cannot list nodes")?;
    let gpu_pods = list::<Pod>(&client).await.context("cannot list pods")?;
    let catalogue = Catalogue::of(&client, &namespace, &plan.spec).await.context("cannot look up what is named")?;
    let with_gpus = |pods: Vec<Arc<Pod>>| pods.into_iter().filter(|pod| gpus_requested(pod) > 0).collect();
    Ok(Cluster { nodes, gpu_pods: gpu_pods.map(with_gpus), catalogue: Some(catalogue) })
}

/// All objects of a kind; nothing when they may not be listed.
async fn list<K>(client: &Client) -> Result<Option<Vec<Arc<K>>>, kube::Error>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    match Api::<K>::all(client.clone()).list(&ListParams::default()).await {
        Ok(found) => Ok(Some(found.items.into_iter().map(Arc::new).collect())),
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, path::Path};

    use super::*;

    #[test]
    fn a_budget_below_the_least_cost_is_told_before_anything_is_applied() {
        let mut spec = load_path(Path::new("tests/campaigns/small.yaml")).unwrap().campaign.spec;
        let price = teebench_api::campaign::Price {
            per_machine_hour: "7".into(),
            currency: "USD".into(),
            source: "list".into(),
            as_of: "2026-01-01".into(),
            machines: None,
        };
        for arm in &mut spec.arms {
            arm.price = Some(price.clone());
        }
        spec.routers.retain(|router| router.direct.is_some());
        let plan = plan::build("small", &spec, &BTreeMap::new()).unwrap();
        let of = |maximum: &str| teebench_api::campaign::Budget { currency: "USD".into(), maximum: maximum.into() };

        assert!(line(&budget(&plan, Some(&of("0.001")))).starts_with("missing      OverBudget: "));
        assert!(line(&budget(&plan, Some(&of("1000")))).starts_with("ok "));
    }
}
