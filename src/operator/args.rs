//! Arguments of `teebench operator`.

use std::{net::IpAddr, path::PathBuf};

/// Runs campaigns on Kubernetes.
#[derive(clap::Args, Clone, Debug)]
#[command(before_help = "Example:
  teebench operator --namespace bench --image registry.example/teebench:0.1.0 --store file:///results \\
      --results-url https://teebench-results.teebench-system.svc:8443")]
pub struct Args {
    /// Namespace to look for campaigns in; may be given several times. Without it, all namespaces.
    #[arg(
        long = "namespace",
        short = 'n',
        env = "TEEBENCH_NAMESPACES",
        value_delimiter = ',',
        value_name = "NAMESPACE"
    )]
    pub namespaces: Vec<String>,
    /// Image of this program for the pods that it creates.
    #[arg(long, env = "TEEBENCH_IMAGE")]
    pub image: String,
    /// When that image is pulled: Always, IfNotPresent or Never. Without it, as Kubernetes chooses by the tag.
    #[arg(long, env = "TEEBENCH_IMAGE_PULL_POLICY", value_parser = ["Always", "IfNotPresent", "Never"])]
    pub image_pull_policy: Option<String>,
    /// Where results are kept: a directory as file:///path, or s3://bucket/prefix or az://container/prefix with credentials
    /// in the environment.
    #[arg(long, env = "TEEBENCH_STORE", value_name = "URL")]
    pub store: String,
    /// Address by which load pods reach the upload port.
    #[arg(long, env = "TEEBENCH_RESULTS_URL", value_name = "URL")]
    pub results_url: String,
    /// Directory with tls.crt, tls.key and ca.crt of the results service. Without it, a pair is made and kept in the store's directory.
    #[arg(long, env = "TEEBENCH_TLS_DIR", value_name = "DIR")]
    pub tls_dir: Option<PathBuf>,
    /// Base address of the model hub, in place of the downloader's own.
    #[arg(long, env = "HF_ENDPOINT", value_name = "URL")]
    pub hub_endpoint: Option<String>,
    /// Whether nodes are looked at before servers are started; needs the right to read them.
    #[arg(long, env = "TEEBENCH_READ_NODES", default_value_t = true, action = clap::ArgAction::Set, value_name = "true|false")]
    pub read_nodes: bool,
    /// Namespace in which a privileged Job on each confidential machine has its CPU attest it, once a boot, for arms that
    /// demand it. Without it, no CPU is asked.
    #[arg(long, env = "TEEBENCH_CPU_ATTESTER_NAMESPACE", value_name = "NAMESPACE")]
    pub cpu_attester_namespace: Option<String>,
    /// Path of the TPM on those machines.
    #[arg(
        long,
        env = "TEEBENCH_CPU_ATTESTER_DEVICE",
        default_value = "/dev/tpmrm0",
        value_name = "PATH",
        requires = "cpu_attester_namespace"
    )]
    pub cpu_attester_device: String,
    /// SHA-256 of a root certificate for tests, in hex, in place of AMD's; the machines' certificates then lie beside
    /// the TPM as certificates.pem, and all that is taken is marked as a test.
    #[arg(long, env = "TEEBENCH_CPU_ATTESTER_TEST_ROOT", value_name = "SHA256", requires = "cpu_attester_namespace")]
    pub cpu_attester_test_root: Option<String>,
    /// Whether pods of others with GPUs on the machines of a campaign are looked for; needs the right to list all pods.
    #[arg(long, env = "TEEBENCH_EXCLUSIVITY", default_value_t = true, action = clap::ArgAction::Set, value_name = "true|false")]
    pub exclusivity: bool,
    /// Whether this operator waits until it leads among several; needs POD_NAME and POD_NAMESPACE.
    #[arg(long, requires_all = ["pod_name", "pod_namespace"])]
    pub leader_election: bool,
    /// Name of the operator's own pod.
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    pub pod_name: Option<String>,
    /// Namespace of the operator's own pod.
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAMESPACE")]
    pub pod_namespace: Option<String>,
    /// Address that all ports listen on.
    #[arg(long, default_value = "0.0.0.0", value_name = "ADDRESS")]
    pub host: IpAddr,
    /// Port that takes results from load pods.
    #[arg(long, default_value_t = 8443, value_name = "PORT")]
    pub upload_port: u16,
    /// Port that gives results to the API server's proxy.
    #[arg(long, default_value_t = 8444, value_name = "PORT")]
    pub read_port: u16,
    /// Port of metrics and health.
    #[arg(long, default_value_t = 9090, value_name = "PORT")]
    pub metrics_port: u16,
}
