//! A small campaign, planned, and files of attempts of it.

use std::{collections::BTreeMap, path::Path};

use teebench_api::{
    files::{
        inputs::RunInputs,
        run::{Reason, ReasonCode, RunFile, Validity, Verdict},
    },
    plan::{Plan, next::Start},
};

use crate::{
    executor::{self, InputsOrder},
    local,
    measure::empty_run_file,
    store::CampaignKey,
};

/// The plan of the smallest campaign with everything in it.
pub fn planned() -> Plan {
    local::planned(Path::new("tests/campaigns/small.yaml"), None, &BTreeMap::new()).unwrap().plan
}

/// The campaign as the API server names it.
pub fn key() -> CampaignKey {
    let uid = "0f3c9a52-6a1e-4d0b-9c55-5d1f5f0a7b11".to_owned();
    CampaignKey { namespace: "team-a".to_owned(), name: "small".to_owned(), uid }
}

/// The first attempt of the `index`-th run of the plan, as the `epoch`-th attempt of the campaign.
pub fn start(plan: &Plan, index: usize, epoch: u64) -> Start {
    let mut runs =
        plan.blocks.iter().enumerate().flat_map(|(block, content)| content.runs.iter().map(move |run| (block, run)));
    let (block, run) = runs.nth(index).unwrap();
    let run_id = plan.run_id(&plan.blocks[block], run).unwrap();
    Start { run: run_id, attempt: 1, epoch, block, boot: run.boot, boot_generation: 1 }
}

/// The inputs of that attempt, without servers.
pub fn inputs(plan: &Plan, start: &Start) -> RunInputs {
    let order = InputsOrder {
        plan,
        plan_sha256: &plan.digest(),
        start,
        salt: "00".repeat(32),
        foreign_routers: &BTreeMap::new(),
        dataset_path: None,
        references: None,
        servers: Vec::new(),
        gateways: Vec::new(),
        parity_broken: &[],
    };
    executor::inputs(order).expect("the plan has this attempt")
}

/// An attempt that failed, for a reason with this message.
pub fn run_file(plan: &Plan, start: &Start, message: &str) -> RunFile {
    let mut run = empty_run_file(&inputs(plan, start));
    let reason = Reason { code: ReasonCode::LoadFailed, message: message.to_owned() };
    run.validity = Validity { validity: Verdict::Failed, reasons: vec![reason] };
    run
}

/// An attempt that counts; its `bench.json` is [`bench_json`].
pub fn valid_run(plan: &Plan, start: &Start) -> RunFile {
    let mut run = empty_run_file(&inputs(plan, start));
    run.validity = Validity { validity: Verdict::Valid, reasons: Vec::new() };
    run
}

/// A result file that vLLM wrote.
pub fn bench_json() -> &'static [u8] {
    include_bytes!("../../analysis/tests/data/v0.32.0_openai-chat_conc4.json")
}
