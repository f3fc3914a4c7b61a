//! Two operators over an object store, of which one leads: a change of leader amid a run loses nothing.

use std::{collections::BTreeSet, path::Path, time::Duration};

use anyhow::{Context, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    ResourceExt,
    api::{DeleteParams, ListParams},
};
use teebench_api::{conditions::types, files::run::Verdict};
use teebench_e2e::cluster::{Suite, campaign_file, command, deployed_image, eventually, measured, reason_of};

/// A certificate for the results service: without a volume the operator keeps none of its own.
const CERTIFICATE: &str = r#"set -eu; cd "$1"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=e2e -keyout ca.key -out ca.crt
openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=results -keyout tls.key -out tls.csr
printf 'subjectAltName=DNS:%s\nextendedKeyUsage=serverAuth\n' "$2" >extensions
openssl x509 -req -in tls.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile extensions -out tls.crt"#;

/// Installs a release of its own in the test's namespace, with two operators and the store that `e2e/run` has started.
async fn install(suite: &Suite, dir: &Path) -> anyhow::Result<()> {
    let namespace = suite.namespace.as_str();
    let endpoint = std::env::var("E2E_S3").context("E2E_S3 is not set; run these tests by e2e/run")?;
    let image = deployed_image(suite).await?;
    let (repository, digest) = image.split_once('@').context("an image without a digest")?;
    let path = dir.to_string_lossy();
    command("sh", &["-c", CERTIFICATE, "sh", &path, &format!("teebench-results.{namespace}.svc")]).await?.well()?;
    let file = |key: &str| format!("--from-file={key}={path}/{key}");
    let tls = ["create", "secret", "generic", "results-tls", &file("tls.crt"), &file("tls.key"), &file("ca.crt")];
    let keys = [
        "create",
        "secret",
        "generic",
        "store",
        "--from-literal=AWS_ACCESS_KEY_ID=test",
        "--from-literal=AWS_SECRET_ACCESS_KEY=test",
        "--from-literal=AWS_REGION=us-east-1",
        "--from-literal=AWS_ALLOW_HTTP=true",
        &format!("--from-literal=AWS_ENDPOINT={endpoint}"),
    ];
    suite.kubectl(&["delete", "secret", "results-tls", "store", "--ignore-not-found"]).await?.well()?;
    suite.kubectl(&tls).await?.well()?;
    suite.kubectl(&keys).await?.well()?;
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/teebench");
    let values = concat!(env!("CARGO_MANIFEST_DIR"), "/values-stores.yaml");
    let images = format!("image.repository={repository},image.digest={digest},campaignNamespaces={{{namespace}}}");
    let words = [
        "upgrade",
        "--install",
        "teebench",
        chart,
        "--namespace",
        namespace,
        "--values",
        values,
        "--set",
        &images,
        "--wait",
        "--timeout",
        "3m",
    ];
    command("helm", &words).await?.well().map(drop)
}

/// The pod of the operator that leads, when one does.
async fn leader(suite: &Suite) -> Result<String, String> {
    let of_leader = ListParams::default().labels("teebench.dev/leader=true,app.kubernetes.io/component=operator");
    let pods = suite.api::<Pod>().list(&of_leader).await.map_err(|error| error.to_string())?;
    match pods.items.as_slice() {
        [pod] => Ok(pod.name_any()),
        other => Err(format!("{} pods say that they lead", other.len())),
    }
}

#[tokio::test]
async fn a_leader_that_dies_amid_a_run_is_followed_by_another_and_nothing_is_lost() -> anyhow::Result<()> {
    measured("stores", "leader", async |suite| {
        const NAME: &str = "leader";
        let dir = tempfile::tempdir()?;
        install(&suite, dir.path()).await?;
        let first = eventually("one operator leads", Duration::from_secs(60), async || leader(&suite).await).await?;
        let (mut file, _) = campaign_file("simulator")?;
        file.campaign.metadata.name = Some(NAME.to_owned());
        let spec = &mut file.campaign.spec;
        spec.routers.retain(|router| router.name != "least-loaded");
        spec.experiments.iter_mut().for_each(|experiment| experiment.output_tokens = vec![256]);
        file.policies.retain(|policy, _| policy == "hr-tree");
        suite.begin(&file).await?;
        suite
            .campaign_until(NAME, "a run has ended and another is executed", |campaign| {
                let progress = campaign.status.as_ref().and_then(|status| status.progress.as_ref());
                progress.is_some_and(|progress| progress.valid >= 1 && progress.current_run.is_some())
            })
            .await?;
        suite.api::<Pod>().delete(&first, &DeleteParams::default().grace_period(0)).await?;
        let second = eventually("another operator leads", Duration::from_secs(60), async || {
            let found = leader(&suite).await?;
            if found == first { Err(format!("{found} still leads")) } else { Ok(found) }
        })
        .await?;
        ensure!(first != second);
        let ended = suite.outcome(NAME).await?;
        ensure!(reason_of(&ended, types::SUCCEEDED) == Some("Completed"), "{:?}", ended.status);
        let runs = suite.runs(NAME).await?;
        let valid = runs.iter().filter(|run| run.status.as_ref().is_some_and(|s| s.validity == Some(Verdict::Valid)));
        let counted: BTreeSet<_> = valid.map(|run| (&run.spec.arm, &run.spec.router, run.spec.repetition)).collect();
        ensure!(counted.len() == 8 && runs.len() == 8, "of {} runs {} count: {counted:?}", runs.len(), counted.len());
        let fetched = tempfile::tempdir()?;
        let out = fetched.path().to_string_lossy().into_owned();
        let namespace = suite.namespace.as_str();
        let words = ["fetch", NAME, "--namespace", namespace, "--results-namespace", namespace, "--out", &out];
        suite.teebench(&words).await?.well()?;
        let script = "cd \"$1\" && find . -name SHA256SUMS | grep . | while read -r sums; do \
            (cd \"$(dirname \"$sums\")\" && sha256sum --quiet --check SHA256SUMS) || exit 1; done";
        command("sh", &["-c", script, "sh", &fetched.path().join(NAME).to_string_lossy()]).await?.well()?;
        suite.end(NAME).await?;
        command("helm", &["uninstall", "teebench", "--namespace", namespace, "--wait"]).await?.well().map(drop)
    })
    .await
}
