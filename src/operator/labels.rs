//! Labels and annotations of what the operator creates; selectors, NetworkPolicies and the results service read them.

use std::collections::BTreeMap;

/// Field manager of every server-side apply, and value of `app.kubernetes.io/managed-by`.
pub const MANAGER: &str = "teebench-operator";

/// Name of the program that an object belongs to.
pub const NAME: &str = "app.kubernetes.io/name";
/// Label, with the value `true`, of the operator's pod that leads; the results Service selects it.
pub const LEADER: &str = "teebench.dev/leader";
/// What part of a campaign an object is.
pub const COMPONENT: &str = "app.kubernetes.io/component";
/// Who manages an object.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// Name of the campaign.
pub const CAMPAIGN: &str = "teebench.dev/campaign";
/// Name of the arm that a server belongs to.
pub const ARM: &str = "teebench.dev/arm";
/// Index of the boot that a server belongs to.
pub const BOOT: &str = "teebench.dev/boot";
/// Generation of that boot.
pub const GENERATION: &str = "teebench.dev/generation";
/// Ordinal of an attempt in its campaign.
pub const EPOCH: &str = "teebench.dev/epoch";

/// Label, with the value `true`, of pods that download from the model hub; NetworkPolicies let only these out.
pub const HUB_EGRESS: &str = "teebench.dev/downloads";

/// Uid of the campaign: another one of the same name is another campaign.
pub const CAMPAIGN_UID: &str = "teebench.dev/campaign-uid";
/// Annotation of a Lease: the machine that it is of.
pub const MACHINE: &str = "teebench.dev/machine";
/// Annotation of a load pod: path of its attempt below `runs/`.
pub const ATTEMPT: &str = "teebench.dev/attempt";
/// Annotation of a BenchmarkRun: when its inputs were frozen. From then on the attempt does not begin again.
pub const BEGUN: &str = "teebench.dev/begun";
/// Annotation of a BenchmarkRun: why its attempt was told to end, as JSON of a `Reason`.
pub const BROKEN_OFF: &str = "teebench.dev/broken-off";

/// What part of a campaign an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// A server with its probe and router.
    Server,
    /// A router in front of the servers.
    Gateway,
    /// A download of weights.
    Download,
    /// A load generator.
    Load,
    /// What was measured.
    Results,
}

impl Component {
    /// The label's value.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Gateway => "gateway",
            Self::Download => "download",
            Self::Load => "load",
            Self::Results => "results",
        }
    }
}

/// The labels that every object of a campaign carries.
#[must_use]
pub fn common(campaign: &str, uid: &str, component: Component) -> BTreeMap<String, String> {
    [
        (NAME, "teebench"),
        (COMPONENT, component.name()),
        (MANAGED_BY, MANAGER),
        (CAMPAIGN, campaign),
        (CAMPAIGN_UID, uid),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}
