//! What people do to a campaign from the command line: watch, suspend, resume, cancel; as subcommands and as a plugin of
//! kubectl.

use std::{env, os::unix::fs::symlink};

use anyhow::{Context, ensure};
use teebench_api::{campaign::BenchmarkCampaign, conditions::types};
use teebench_e2e::cluster::{Suite, campaign_file, command, measured, reason_of};

fn stands(reason: &'static str) -> impl Fn(&BenchmarkCampaign) -> bool {
    move |campaign| reason_of(campaign, types::SUCCEEDED) == Some(reason)
}

fn is_running(campaign: &BenchmarkCampaign) -> bool {
    let progress = campaign.status.as_ref().and_then(|status| status.progress.as_ref());
    progress.is_some_and(|progress| progress.current_run.is_some())
}

/// `teebench watch` on a terminal, until the campaign has ended.
async fn watched_on_a_terminal(suite: &Suite, name: &str) -> anyhow::Result<String> {
    let watch = format!("{} watch {name} --namespace {}", suite.settings.teebench.display(), suite.namespace);
    Ok(command("script", &["--quiet", "--return", "--command", &watch, "/dev/null"]).await?.out)
}

#[tokio::test]
async fn a_campaign_is_watched_suspended_resumed_and_cancelled_from_the_command_line() -> anyhow::Result<()> {
    measured("faults", "people", async |suite| {
        const NAME: &str = "people";
        let (mut file, _) = campaign_file("simulator")?;
        file.campaign.metadata.name = Some(NAME.to_owned());
        file.campaign.spec.experiments.iter_mut().for_each(|experiment| experiment.output_tokens = vec![256]);
        let namespace = suite.namespace.as_str();
        let unknown = suite.teebench(&["suspend", "no-such-campaign", "--namespace", namespace]).await?;
        ensure!(unknown.code == Some(2) && unknown.err.contains("there is none"), "{unknown:?}");
        suite.begin(&file).await?;
        // The subcommands themselves look at the cluster; the program must be found as kubectl finds its plugins.
        let plugins = tempfile::tempdir()?;
        symlink(&suite.settings.teebench, plugins.path().join("kubectl-teebench"))?;
        let path = format!("PATH={}:{}", plugins.path().display(), env::var("PATH")?);
        let plugin = async |words: &[&str]| {
            let plugin = [&path, "kubectl", "teebench"];
            command("env", &[&plugin, words, &["--namespace", namespace]].concat()).await
        };
        let lines = async { suite.teebench(&["watch", NAME, "--namespace", namespace]).await };
        let decisions = async {
            suite.campaign_until(NAME, "a run is executed", is_running).await?;
            let said = suite.teebench(&["suspend", NAME, "--namespace", namespace]).await?.well()?;
            ensure!(said == "people suspended\n", "{said}");
            suite.campaign_until(NAME, "it halts", stands("Suspended")).await?;
            let said = plugin(&["resume", NAME]).await?.well()?;
            ensure!(said == "people resumed\n", "{said}");
            suite
                .campaign_until(NAME, "a run counts", |campaign| {
                    let progress = campaign.status.as_ref().and_then(|status| status.progress.as_ref());
                    progress.is_some_and(|progress| progress.valid >= 1 && progress.current_run.is_some())
                })
                .await?;
            let said = plugin(&["cancel", NAME]).await?.well()?;
            ensure!(said == "people cancelled\n", "{said}");
            suite.outcome(NAME).await
        };
        let (lines, screen, ended) = tokio::join!(lines, watched_on_a_terminal(&suite, NAME), decisions);
        let ended = ended?;
        ensure!(reason_of(&ended, types::SUCCEEDED) == Some("Cancelled"), "{:?}", ended.status);
        let lines = lines?;
        ensure!(lines.code == Some(1), "watch of a campaign that was cancelled: {lines:?}");
        for told in ["Suspended", "  begins", "Valid  ", " tok/s, TTFT ", "Cancelled"] {
            ensure!(lines.out.contains(told), "\"{told}\" was not told:\n{}", lines.out);
        }
        ensure!(!lines.out.contains('\u{1b}'), "a line for a log has codes of a terminal: {}", lines.out);
        let screen = screen?;
        for shown in ["NOW TOK/S", "requests, ", "in flight", "cc-on", "hr-tree"] {
            ensure!(screen.contains(shown), "\"{shown}\" was not shown:\n{screen}");
        }
        let refused = suite.teebench(&["resume", NAME, "--namespace", namespace]).await?;
        ensure!(refused.code == Some(2) && refused.err.contains("has ended (Cancelled)"), "{refused:?}");
        let help = command("env", &[path.as_str(), "kubectl", "teebench", "watch", "--help"]).await?.well()?;
        ensure!(help.starts_with("Example: ") && help.contains("Usage: kubectl teebench watch"), "{help}");
        let config = env::var("KUBECONFIG").context("KUBECONFIG is not set; run these tests by e2e/run")?;
        let words =
            ["suspend", NAME, "--kubeconfig", &config, "--context", "no-such-context", "--namespace", namespace];
        let refused = suite.teebench(&words).await?;
        ensure!(refused.code == Some(2) && refused.err.contains("no-such-context"), "{refused:?}");
        suite.end(NAME).await
    })
    .await
}
