//! The model hub of the tests, and campaigns of vLLM that download from it.

use anyhow::Context;
use k8s_openapi::{
    ByteString,
    api::core::v1::{PersistentVolumeClaim, Secret},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use serde_json::json;
use teebench_api::{
    campaign::{Model, Vllm},
    validate::CampaignFile,
};
use teebench_e2e::cluster::{Suite, campaign_file};
use tokio::sync::OnceCell;

/// The token that opens the repository.
pub const RIGHT_TOKEN: &str = "the-right-token";

/// A campaign of vLLM by this name, with the image that is loaded, a claim for its weights and its Secret with a token.
pub async fn campaign(suite: &Suite, name: &str, token: &str) -> anyhow::Result<CampaignFile> {
    serve_hub(suite).await?;
    let (mut file, _) = campaign_file("vllm")?;
    file.campaign.metadata.name = Some(name.to_owned());
    vllm(&mut file)?.image.clone_from(&suite.settings.vllm_image);
    let model = model(&mut file)?;
    let claim = format!("models-{name}");
    let secret = format!("token-{name}");
    if let Some(cache) = &mut model.cache {
        cache.shared_claim = Some(claim.clone());
    }
    if let Some(reference) = &mut model.token_secret_ref {
        reference.name.clone_from(&secret);
    }
    let metadata = |name: String| ObjectMeta { name: Some(name), ..ObjectMeta::default() };
    let data = [("token".to_owned(), ByteString(token.as_bytes().to_vec()))].into();
    suite.apply(&Secret { metadata: metadata(secret), data: Some(data), ..Secret::default() }).await?;
    let spec = json!({
        "accessModes": ["ReadWriteMany"],
        "storageClassName": "shared",
        "resources": {"requests": {"storage": "1Gi"}},
    });
    let claim = PersistentVolumeClaim {
        metadata: metadata(claim),
        spec: Some(serde_json::from_value(spec)?),
        ..PersistentVolumeClaim::default()
    };
    suite.apply(&claim).await?;
    Ok(file)
}

/// The engine's part of a campaign of vLLM.
pub fn vllm(file: &mut CampaignFile) -> anyhow::Result<&mut Vllm> {
    file.campaign.spec.engine.vllm.as_mut().context("the campaign is of vLLM")
}

/// The only model of a campaign.
pub fn model(file: &mut CampaignFile) -> anyhow::Result<&mut Model> {
    file.campaign.spec.models.first_mut().context("the campaign has a model")
}

/// Brings up the hub, once for all tests.
async fn serve_hub(suite: &Suite) -> anyhow::Result<()> {
    static SERVED: OnceCell<()> = OnceCell::const_new();
    let serve = async || {
        let manifest = include_str!("../../hub.yaml").replace("IMAGE", &suite.settings.vllm_image);
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("hub.yaml");
        std::fs::write(&path, manifest)?;
        suite.kubectl_anywhere(&["apply", "--filename", &path.to_string_lossy()]).await?.well()?;
        let words = ["rollout", "status", "deployment/model-hub", "--namespace", "e2e-hub", "--timeout", "120s"];
        suite.kubectl_anywhere(&words).await?.well()?;
        anyhow::Ok(())
    };
    SERVED.get_or_try_init(serve).await.copied()
}
