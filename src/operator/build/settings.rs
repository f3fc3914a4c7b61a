//! What `teebench operator` was told that the objects of every campaign need.

/// Settings of the operator that objects depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Image of this program, with `teebench` on its PATH.
    pub image: String,
    /// When the kubelet pulls that image; absent leaves the choice to Kubernetes.
    pub image_pull_policy: Option<String>,
    /// Base address of the model hub, in place of the downloader's own.
    pub hub_endpoint: Option<String>,
    /// Base address of the results service's upload port.
    pub results_url: String,
    /// Certificates by which the results service is known, in PEM.
    pub results_ca_pem: String,
}
