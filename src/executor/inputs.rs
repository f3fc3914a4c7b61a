//! The frozen inputs of an attempt: what the plan says, and where its servers are.

use std::collections::BTreeMap;

use teebench_api::{
    campaign::{Endorsement, ServiceRef},
    files::inputs::{DatasetInput, GatewayInput, ReferenceInput, RunInputs, ServerInput},
    plan::{Condition, Plan, RouterTarget, next::Start},
};

/// What an attempt's inputs are made of.
pub struct InputsOrder<'a> {
    /// The effective plan.
    pub plan: &'a Plan,
    /// Digest of the plan as it was made.
    pub plan_sha256: &'a str,
    /// What is to be done.
    pub start: &'a Start,
    /// 32 random bytes of this attempt, in hex.
    pub salt: String,
    /// Addresses of foreign routers by name, in place of the names of their Services.
    pub foreign_routers: &'a BTreeMap<String, String>,
    /// Where the load generator finds the file of the run's data set.
    pub dataset_path: Option<String>,
    /// Directory in which the load generator finds the arm's reference manifests.
    pub references: Option<String>,
    /// The servers, in the order of their ordinals.
    pub servers: Vec<ServerInput>,
    /// The gateways before them, in their order; none where the routers beside the servers stand in for them.
    pub gateways: Vec<GatewayInput>,
    /// Differences between the arms that break the comparison.
    pub parity_broken: &'a [String],
}

/// The frozen inputs of one attempt. `None` if the plan has no such block, condition, arm or router.
pub fn inputs(order: InputsOrder<'_>) -> Option<RunInputs> {
    let InputsOrder {
        plan,
        plan_sha256,
        start,
        salt,
        foreign_routers,
        dataset_path,
        references,
        servers,
        gateways,
        parity_broken,
    } = order;
    let block = plan.blocks.get(start.block)?;
    let condition = plan.conditions.get(block.condition)?;
    let arm = plan.arm(&start.run.arm)?;
    let target = match plan.router_target(&start.run.router)? {
        RouterTarget::Foreign { url } => {
            RouterTarget::Foreign { url: foreign_routers.get(&start.run.router).cloned().unwrap_or(url) }
        }
        target @ (RouterTarget::Direct { .. } | RouterTarget::Policy(_)) => target,
    };
    Some(RunInputs {
        schema_version: 1,
        campaign: plan.campaign.clone(),
        plan_sha256: plan_sha256.to_owned(),
        run: start.run.clone(),
        attempt: start.attempt,
        epoch: start.epoch,
        block: start.block,
        boot: start.boot,
        boot_generation: start.boot_generation,
        seed: block.seed,
        salt,
        simulated: plan.simulated(),
        tee: arm.tee,
        minimum_evidence: arm.minimum_evidence.unwrap_or_default(),
        references: references.zip(arm.endorsement.as_ref()).map(|(directory, named)| {
            let Endorsement { rim_sha256, config_map } = named.clone();
            ReferenceInput { directory, config_map, rim_sha256 }
        }),
        served_model: condition.model.clone(),
        dataset: condition.dataset.clone(),
        dataset_file: dataset_path.map(|path| DatasetInput { path, sha256: dataset_sha256(plan, condition) }),
        dataset_seed: plan.dataset_seed(block.condition)?,
        load: condition.load,
        output_tokens: condition.output_tokens,
        warmup_requests: condition.warmup_requests,
        slo: condition.slo,
        target,
        servers,
        gateways,
        parity_broken: parity_broken.to_vec(),
        energy: plan.spec.energy,
        keep_texts: plan.spec.load_generator.keep_texts,
        deadline_seconds: deadline_seconds(plan, condition),
    })
}

/// Servers that were there before, as one: whatever stands behind their Service, nobody beside them gives evidence or
/// counts energy. Without an address of their own they are called by their Service's name.
pub fn existing_server(service: &ServiceRef, url: Option<&str>) -> ServerInput {
    let ServiceRef { name, port } = service;
    ServerInput {
        ordinal: 0,
        uid: format!("service/{name}"),
        engine_url: url.map_or_else(|| format!("http://{name}:{port}"), str::to_owned),
        probe_url: None,
        router_url: None,
        router_control_url: None,
        ready_seconds: None,
        flags_sha256: None,
        weights: None,
        idle: None,
        cpu: None,
    }
}

/// The digest that a data set's file must have: as it was read for the plan, else as the campaign names it.
fn dataset_sha256(plan: &Plan, condition: &Condition) -> Option<String> {
    let read = plan.dataset_file(condition).map(|file| file.sha256.clone());
    read.or_else(|| condition.dataset.source()?.sha256.clone())
}

/// Ten times what the load takes when nothing waits, and ten minutes for all around it: beyond that, something hangs.
fn deadline_seconds(plan: &Plan, condition: &Condition) -> u64 {
    const AROUND_SECONDS: u64 = 600;
    const SLOWEST_TOKEN_MS: u64 = 250;
    const UNREAD_OUTPUT_TOKENS: u32 = 1024;
    let prompts = condition.prompts();
    let file = plan.dataset_file(condition);
    let recorded_seconds = file.and_then(|file| file.arrivals_milliseconds).unwrap_or(0).div_ceil(1000);
    let arriving = condition
        .load
        .request_rate_milli
        .map_or(recorded_seconds, |rate| u64::from(prompts) * 1000 / u64::from(rate.max(1)));
    let output_tokens =
        condition.output_tokens.or(file.and_then(|file| file.mean_output_tokens)).unwrap_or(UNREAD_OUTPUT_TOKENS);
    let one_seconds = u64::from(output_tokens) * SLOWEST_TOKEN_MS / 1000 + 1;
    let serving =
        u64::from(prompts) * one_seconds / u64::from(condition.load.max_concurrency.unwrap_or(prompts).max(1));
    AROUND_SECONDS + 10 * arriving.max(serving)
}
