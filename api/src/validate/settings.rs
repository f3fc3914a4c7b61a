//! Engine settings as each condition will have them: the engine's, overridden by the model's, the arm's and the point's.

use super::meaning::Problem;
use crate::campaign::{
    Arm, BenchmarkCampaignSpec, DatasetKind, EngineSettings, Experiment, Model, Tee, experiment::Point,
};

/// Tokens of a KV block in the simulator, as in vLLM by default.
const BLOCK_TOKENS: u32 = 16;

fn base(spec: &BenchmarkCampaignSpec) -> EngineSettings {
    let vllm = spec.engine.vllm.as_ref().map(|vllm| &vllm.settings);
    let simulator = spec.engine.simulator.as_ref().map(|simulator| &simulator.settings);
    vllm.or(simulator).cloned().unwrap_or_default()
}

fn overridden(base: &EngineSettings, over: Option<&EngineSettings>) -> EngineSettings {
    over.map_or_else(|| base.clone(), |over| base.overridden_by(over))
}

/// Settings of a model on an arm, before those of points and lists.
fn settings(spec: &BenchmarkCampaignSpec, model: &Model, arm: &Arm) -> EngineSettings {
    overridden(&overridden(&base(spec), model.engine.as_ref()), arm.engine.as_ref())
}

/// Finds settings that contradict each other only after overrides; each level by itself is the rules' business.
pub(super) fn contradictions(spec: &BenchmarkCampaignSpec, problems: &mut Vec<Problem>) {
    for (index, model) in spec.models.iter().enumerate() {
        let mut found = Vec::new();
        for arm in spec.arms.iter().filter(|arm| arm.service_ref.is_none()) {
            let merged = settings(spec, model, arm);
            let levels = [Some(&base(spec)), model.engine.as_ref(), arm.engine.as_ref()];
            if levels.into_iter().flatten().all(|level| against_each_other(level).is_empty()) {
                found.extend(against_each_other(&merged));
            }
            if spec.engine.simulator.is_some() {
                found.extend(pool_too_small(&merged));
            }
        }
        found.dedup();
        problems.extend(
            found.into_iter().map(|message| {
                Problem::new(format!("spec.models[{index}]"), format!("after all overrides, {message}"))
            }),
        );
    }
}

/// What the rules of the custom resource refuse where one level says it all.
fn against_each_other(settings: &EngineSettings) -> Vec<String> {
    let mut found = Vec::new();
    if settings.kv_cache_bytes.is_some() && settings.num_gpu_blocks.is_some() {
        found.push("kvCacheBytes and numGpuBlocks both set the size of the KV cache; keep one".to_owned());
    }
    if let (Some(batched), Some(sequences)) = (settings.max_num_batched_tokens, settings.max_num_seqs)
        && batched < sequences
    {
        found.push(format!(
            "maxNumBatchedTokens {batched} is under maxNumSeqs {sequences}; raise the first or lower the second"
        ));
    }
    found
}

/// What the simulator refuses when it starts: a pool that cannot hold one sequence of the greatest length.
fn pool_too_small(settings: &EngineSettings) -> Option<String> {
    let (blocks, length) = (settings.num_gpu_blocks?, settings.max_model_len?);
    let needed = length.div_ceil(BLOCK_TOKENS);
    (needed > blocks).then(|| {
        format!("maxModelLen {length} needs {needed} KV blocks, and numGpuBlocks is {blocks}; lower the first or raise the second")
    })
}

/// Finds arms whose servers would spread a TEE over several GPUs without saying how these are protected.
pub(super) fn several_gpus(spec: &BenchmarkCampaignSpec, problems: &mut Vec<Problem>) {
    for (index, arm) in spec.arms.iter().enumerate() {
        if arm.tee != Tee::Enabled || arm.multi_gpu.is_some() {
            continue;
        }
        let most = spec.models.iter().map(|model| (settings(spec, model, arm).gpus_per_server(), &model.name)).max();
        if let Some((gpus, model)) = most.filter(|(gpus, _)| *gpus > 1) {
            problems.push(Problem::new(
                format!("spec.arms[{index}].multiGpu"),
                format!(
                    "model \"{model}\" takes {gpus} GPUs for each server; with tee Enabled give multiGpu: ProtectedPcie, \
                     or lower tensorParallelSize and pipelineParallelSize to 1"
                ),
            ));
        }
    }
}

/// Finds conditions whose prompt and output together do not fit the longest sequence.
pub(super) fn lengths(spec: &BenchmarkCampaignSpec, problems: &mut Vec<Problem>) {
    for (index, experiment) in spec.experiments.iter().enumerate() {
        let at = format!("spec.experiments[{index}]");
        if experiment.points.is_empty() {
            let models = spec
                .models
                .iter()
                .filter(|model| experiment.models.is_empty() || experiment.models.contains(&model.name));
            let worst =
                models.filter_map(|model| excess(spec, experiment, model, None)).max_by_key(|worst| worst.needed);
            problems.extend(worst.map(|worst| Problem::new(format!("{at}.outputTokens"), worst.message())));
        }
        for (index, point) in experiment.points.iter().enumerate() {
            let model = spec.models.iter().find(|model| model.name == point.model);
            let worst = model.and_then(|model| excess(spec, experiment, model, Some(point)));
            problems.extend(worst.map(|worst| Problem::new(format!("{at}.points[{index}]"), worst.message())));
        }
    }
}

/// A sequence that is too long.
struct Excess<'a> {
    model: &'a str,
    needed: u64,
    most: u32,
}

impl Excess<'_> {
    fn message(&self) -> String {
        let Self { model, needed, most } = self;
        format!(
            "prompt and output take up to {needed} tokens, and maxModelLen of model \"{model}\" is {most}; \
             shorten them, or raise maxModelLen"
        )
    }
}

fn excess<'a>(
    spec: &BenchmarkCampaignSpec,
    experiment: &Experiment,
    model: &'a Model,
    point: Option<&Point>,
) -> Option<Excess<'a>> {
    let arms = spec.arms.iter().filter(|arm| experiment.arms.is_empty() || experiment.arms.contains(&arm.name));
    let most = arms.filter_map(|arm| settings(spec, model, arm).max_model_len).min()?;
    let longest = |listed: &[u32]| listed.iter().copied().max().unwrap_or_default();
    let output = point.and_then(|point| point.output_tokens).unwrap_or_else(|| longest(&experiment.output_tokens));
    let needed = match experiment.dataset.kind() {
        Some(DatasetKind::PrefixRepetition(set)) => {
            u64::from(set.prefix_tokens) + u64::from(set.suffix_tokens) + u64::from(output)
        }
        Some(DatasetKind::Random(random)) => {
            let input = point.and_then(|point| point.input_tokens).unwrap_or_else(|| longest(&random.input_tokens));
            let longest_drawn =
                |tokens: u32| (u64::from(tokens) * u64::from(1000 + random.range_ratio_permille)).div_ceil(1000);
            longest_drawn(input) + longest_drawn(output)
        }
        _ => u64::from(output),
    };
    (needed > u64::from(most)).then_some(Excess { model: &model.name, needed, most })
}
