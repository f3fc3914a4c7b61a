//! Remote stores by their addresses, `s3://bucket/prefix` and `az://container/prefix`. Credentials come by the environment
//! alone: keys in variables, or a workload identity.

use std::{env, sync::Arc, time::Duration};

use object_store::{
    BackoffConfig, ObjectStore, RetryConfig, aws::AmazonS3Builder, azure::MicrosoftAzureBuilder, path::Path,
    prefix::PrefixStore,
};
use reqwest::Url;

use super::connection::Connector;

/// How long a request is tried. A pass over a campaign is tried again anyway, so it must end before people wonder.
const RETRY_TIMEOUT: Duration = Duration::from_secs(30);
const RETRIES: usize = 6;

/// Opens the store at this address. Nothing is sent yet.
///
/// # Errors
/// What is wrong with the address or the environment, with the mend.
pub fn open(url: &Url) -> Result<Arc<dyn ObjectStore>, String> {
    let Some(bucket) = url.host_str().filter(|host| !host.is_empty()) else {
        return Err(format!("no name after {}://; give it as {0}://NAME/PREFIX", url.scheme()));
    };
    let prefix = Path::from_url_path(url.path()).map_err(|error| format!("{error}; give a plain prefix"))?;
    let retry = RetryConfig { max_retries: RETRIES, retry_timeout: RETRY_TIMEOUT, backoff: BackoffConfig::default() };
    match url.scheme() {
        "s3" => {
            let store = AmazonS3Builder::from_env()
                .with_bucket_name(bucket)
                .with_retry(retry)
                .with_http_connector(Connector { allow_http: is_set("AWS_ALLOW_HTTP") })
                .build()
                .map_err(|error| format!("{error}; give the AWS_ variables or a workload identity"))?;
            Ok(Arc::new(PrefixStore::new(store, prefix)))
        }
        "az" => {
            let store = MicrosoftAzureBuilder::from_env()
                .with_container_name(bucket)
                .with_retry(retry)
                .with_http_connector(Connector { allow_http: is_set("AZURE_ALLOW_HTTP") })
                .build()
                .map_err(|error| format!("{error}; give the AZURE_ variables or a workload identity"))?;
            Ok(Arc::new(PrefixStore::new(store, prefix)))
        }
        other => Err(format!(
            "{other} stores are not built in; give file:///DIR, s3://BUCKET/PREFIX or az://CONTAINER/PREFIX"
        )),
    }
}

fn is_set(variable: &str) -> bool {
    env::var(variable).is_ok_and(|value| matches!(value.to_ascii_lowercase().as_str(), "1" | "true" | "yes"))
}
