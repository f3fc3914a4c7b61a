//! Objects as the API server is sent them.

use insta::assert_snapshot;
use teebench_api::{
    campaign::model::{Cache, EphemeralCache},
    policy::Topology,
};

use super::fixtures::{attempted, booted, changed, download, sample, yaml};

#[test]
fn simulated_servers_with_routers_beside_them() {
    let plan = sample("quickstart.yaml");
    let objects = booted(&plan, 0, &["cc-on"]);

    assert_snapshot!(yaml(&objects.services) + "---\n" + &yaml(&objects.stateful_sets));
}

#[test]
fn the_ablations_eight_servers_on_a_pool_of_confidential_machines() {
    let plan = sample("planetserve-ablation.yaml");
    let objects = booted(&plan, 0, &["cc-on"]);

    assert_snapshot!(yaml(&objects.stateful_sets));
}

#[test]
fn a_gated_model_is_downloaded_to_a_shared_claim() {
    let plan = sample("whats-the-catch.yaml");

    assert_snapshot!(yaml(&[download(&plan, "llama31-8b").unwrap()]));
}

#[test]
fn servers_of_a_downloaded_model_without_routers() {
    let plan = sample("whats-the-catch.yaml");

    assert_snapshot!(yaml(&booted(&plan, 1, &["tee-off"]).stateful_sets));
}

#[test]
fn gateways_before_the_servers() {
    let plan = changed("quickstart.yaml", |file| {
        for (policy, replicas) in file.policies.values_mut().zip([1, 2]) {
            policy.topology = Topology::Gateway;
            policy.replicas = Some(replicas);
        }
    });
    let objects = booted(&plan, 0, &["cc-off"]);

    assert_snapshot!(yaml(&objects.services) + "---\n" + &yaml(&objects.gateways));
}

#[test]
fn a_model_in_a_volume_of_each_servers_own() {
    let plan = changed("planetserve-cc.yaml", |file| {
        let ephemeral = EphemeralCache { storage_class_name: Some("managed-csi-premium".into()), size: "100Gi".into() };
        file.campaign.spec.models[0].cache = Some(Cache { shared_claim: None, ephemeral: Some(ephemeral) });
    });
    let arm = &plan.spec.arms[0].name;

    assert_snapshot!(yaml(&booted(&plan, 0, &[arm]).stateful_sets));
}

#[test]
fn one_attempt() {
    let objects = attempted(&sample("quickstart.yaml"), 0);

    assert_snapshot!(yaml(&[objects.run]) + "---\n" + &yaml(&[objects.config_map]) + "---\n" + &yaml(&[objects.job]));
}
