//! `teebench suspend | resume | cancel`: what a person decides about a campaign in the cluster.

use std::process::ExitCode;

use anyhow::Context;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;
use teebench_api::{
    campaign::BenchmarkCampaign,
    conditions::{Condition, types},
};

use super::{BAD_INPUT, DONE, FAILED, cluster::ClusterArgs, print};

/// Halt a campaign: nothing new is started, the present run is broken off without costing an attempt, and servers go.
///
/// `teebench resume` continues where it was.
#[derive(clap::Args, Debug)]
#[command(before_help = "Example: teebench suspend planetserve-ablation -n benchmarks")]
pub struct Suspend {
    #[command(flatten)]
    of: Of,
}

/// Continue a campaign that was suspended.
#[derive(clap::Args, Debug)]
#[command(before_help = "Example: teebench resume planetserve-ablation -n benchmarks")]
pub struct Resume {
    #[command(flatten)]
    of: Of,
}

/// End a campaign for good; its results are kept and published.
#[derive(clap::Args, Debug)]
#[command(before_help = "Example: teebench cancel planetserve-ablation -n benchmarks")]
pub struct Cancel {
    #[command(flatten)]
    of: Of,
}

#[derive(clap::Args, Debug)]
struct Of {
    /// Name of the campaign.
    campaign: String,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// What is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    Suspend,
    Resume,
    Cancel,
}

impl Suspend {
    /// Halts the campaign.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        self.of.decide(Decision::Suspend)
    }
}

impl Resume {
    /// Continues the campaign.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        self.of.decide(Decision::Resume)
    }
}

impl Cancel {
    /// Ends the campaign.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        self.of.decide(Decision::Cancel)
    }
}

impl Of {
    fn decide(self, decision: Decision) -> anyhow::Result<ExitCode> {
        let Self { campaign: name, cluster } = self;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
        runtime.block_on(async {
            let (client, namespace) = match cluster.connect().await {
                Ok(connected) => connected,
                Err(error) => return refuse(&format!("{error:#}")),
            };
            let campaigns: Api<BenchmarkCampaign> = Api::namespaced(client, &namespace);
            let found =
                campaigns.get_opt(&name).await.with_context(|| format!("campaign \"{name}\" cannot be read"))?;
            let Some(found) = found else {
                return refuse(&format!(
                    "campaign \"{name}\": there is none in namespace {namespace}; choose another by -n"
                ));
            };
            match decision.about(&found) {
                Ok(patch) => {
                    let Some(spec) = patch else {
                        print(&format!("{name} was {} already\n", decision.done()))?;
                        return Ok(ExitCode::from(DONE));
                    };
                    let patch = Patch::Merge(json!({"spec": spec}));
                    let parameters =
                        PatchParams { field_manager: Some("teebench".to_owned()), ..PatchParams::default() };
                    match campaigns.patch(&name, &parameters, &patch).await {
                        Ok(_) => {
                            print(&format!("{name} {}\n", decision.done()))?;
                            Ok(ExitCode::from(DONE))
                        }
                        Err(error) => {
                            eprintln!("campaign \"{name}\" is not {}: {error}", decision.done());
                            Ok(ExitCode::from(FAILED))
                        }
                    }
                }
                Err(why) => refuse(&format!("campaign \"{name}\" {why}")),
            }
        })
    }
}

fn refuse(message: &str) -> anyhow::Result<ExitCode> {
    eprintln!("{message}");
    Ok(ExitCode::from(BAD_INPUT))
}

impl Decision {
    const fn done(self) -> &'static str {
        match self {
            Self::Suspend => "suspended",
            Self::Resume => "resumed",
            Self::Cancel => "cancelled",
        }
    }

    /// What changes in the campaign's spec; nothing where it is so already.
    fn about(self, campaign: &BenchmarkCampaign) -> Result<Option<serde_json::Value>, String> {
        let spec = &campaign.spec;
        if campaign.status.as_ref().is_some_and(|status| status.completion_time.is_some()) {
            let how = succeeded(campaign).map_or("", |condition| condition.reason.as_str());
            return Err(format!("has ended ({how}): nothing can be {} any more", self.done()));
        }
        let (is_so, change) = match self {
            Self::Suspend if spec.cancel => return Err("is cancelled: it ends, and cannot be suspended".to_owned()),
            Self::Resume if spec.cancel => {
                return Err("is cancelled: it does not go on; apply it under another name".to_owned());
            }
            Self::Suspend => (spec.suspend, json!({"suspend": true})),
            Self::Resume => (!spec.suspend, json!({"suspend": false})),
            Self::Cancel => (spec.cancel, json!({"cancel": true})),
        };
        Ok((!is_so).then_some(change))
    }
}

fn succeeded(campaign: &BenchmarkCampaign) -> Option<&Condition> {
    campaign.status.as_ref()?.conditions.iter().find(|condition| condition.type_ == types::SUCCEEDED)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::Value;
    use teebench_api::validate::load_path;

    use super::*;

    fn campaign(suspend: bool, cancel: bool, over: bool) -> BenchmarkCampaign {
        let path = format!("{}/tests/campaigns/small.yaml", env!("CARGO_MANIFEST_DIR"));
        let mut campaign = load_path(path.as_ref()).expect("a valid file").campaign;
        campaign.spec.suspend = suspend;
        campaign.spec.cancel = cancel;
        campaign.status = serde_json::from_value(if over {
            json!({"completionTime": "2026-01-01T00:00:00Z", "conditions": [{"type": "Succeeded", "status": "True",
                   "lastTransitionTime": "2026-01-01T00:00:00Z", "reason": "Completed", "message": ""}]})
        } else {
            json!({})
        })
        .expect("a status");
        campaign
    }

    #[rstest]
    #[case::suspend(Decision::Suspend, campaign(false, false, false), Ok(Some(json!({"suspend": true}))))]
    #[case::suspended_already(Decision::Suspend, campaign(true, false, false), Ok(None))]
    #[case::resume(Decision::Resume, campaign(true, false, false), Ok(Some(json!({"suspend": false}))))]
    #[case::not_suspended(Decision::Resume, campaign(false, false, false), Ok(None))]
    #[case::cancel(Decision::Cancel, campaign(true, false, false), Ok(Some(json!({"cancel": true}))))]
    #[case::resume_what_is_cancelled(Decision::Resume, campaign(true, true, false), Err("another name"))]
    #[case::suspend_what_is_cancelled(Decision::Suspend, campaign(false, true, false), Err("cannot be suspended"))]
    #[case::cancel_what_has_ended(Decision::Cancel, campaign(false, false, true), Err("has ended (Completed)"))]
    fn a_decision_changes_one_field_or_says_why_not(
        #[case] decision: Decision,
        #[case] campaign: BenchmarkCampaign,
        #[case] expected: Result<Option<Value>, &str>,
    ) {
        match (decision.about(&campaign), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected),
            (Err(found), Err(expected)) => assert!(found.contains(expected), "{found}"),
            (found, expected) => panic!("{found:?}, not {expected:?}"),
        }
    }
}
