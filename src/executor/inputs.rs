//! The frozen inputs of an attempt: what the plan says, and where its servers are.

use std::collections::BTreeMap;

use teebench_api::{
    files::inputs::{GatewayInput, RunInputs, ServerInput},
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
    /// The servers, in the order of their ordinals.
    pub servers: Vec<ServerInput>,
    /// The gateways before them, in their order; none where the routers beside the servers stand in for them.
    pub gateways: Vec<GatewayInput>,
    /// Differences between the arms that break the comparison.
    pub parity_broken: &'a [String],
}

/// The frozen inputs of one attempt. `None` if the plan has no such block, condition, arm or router.
pub fn inputs(order: InputsOrder<'_>) -> Option<RunInputs> {
    let InputsOrder { plan, plan_sha256, start, salt, foreign_routers, servers, gateways, parity_broken } = order;
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
        served_model: condition.model.clone(),
        dataset: condition.dataset.clone(),
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
        deadline_seconds: deadline_seconds(condition),
    })
}

/// Ten times what the load takes when nothing waits, and ten minutes for all around it: beyond that, something hangs.
fn deadline_seconds(condition: &Condition) -> u64 {
    const AROUND_SECONDS: u64 = 600;
    const SLOWEST_TOKEN_MS: u64 = 250;
    let prompts = u64::from(condition.prompts().max(1));
    let arriving = condition.load.request_rate_milli.map_or(0, |rate| prompts * 1000 / u64::from(rate.max(1)));
    let one_seconds = u64::from(condition.output_tokens) * SLOWEST_TOKEN_MS / 1000 + 1;
    let at_once = condition.load.max_concurrency.map_or(prompts, u64::from);
    let serving = prompts * one_seconds / at_once.max(1);
    AROUND_SECONDS + 10 * arriving.max(serving)
}
