//! What the files of data sets must hold for a campaign to be planned on them.

use std::collections::BTreeMap;

use super::{
    error::PlanError,
    model::{DatasetFile, Plan},
};
use crate::campaign::{BenchmarkCampaignSpec, DatasetKind};

/// Checks the number of requests and the digest of every file that was read.
pub(super) fn check(spec: &BenchmarkCampaignSpec, files: &BTreeMap<String, DatasetFile>) -> Result<(), PlanError> {
    for experiment in &spec.experiments {
        let (Some(file), Some(source)) = (files.get(&experiment.name), experiment.dataset.source()) else { continue };
        if let Some(named) = source.sha256.as_ref().filter(|named| **named != file.sha256) {
            return Err(PlanError::DatasetDigest {
                experiment: experiment.name.clone(),
                named: named.clone(),
                found: file.sha256.clone(),
            });
        }
        let oversample = match experiment.dataset.kind() {
            Some(DatasetKind::ToolbenchFile(set)) => set.oversample,
            Some(DatasetKind::Sharegpt(set)) => set.oversample,
            Some(DatasetKind::Custom(set)) => set.oversample,
            _ => false,
        };
        let wanted = experiment.dataset.prompts();
        if file.requests == 0 || (!oversample && file.requests < u64::from(wanted)) {
            return Err(PlanError::TooFewPrompts { experiment: experiment.name.clone(), there: file.requests, wanted });
        }
    }
    Ok(())
}

/// Checks that every sequence fits its model, where the file's token counts are exact.
pub(super) fn check_lengths(plan: &Plan) -> Result<(), PlanError> {
    for (index, condition) in plan.conditions.iter().enumerate() {
        let Some(file) = plan.dataset_file(condition) else { continue };
        let longest = match condition.output_tokens {
            Some(output) => file.longest_prompt_tokens.map(|prompt| u64::from(prompt) + u64::from(output)),
            None => file.longest_tokens.map(u64::from),
        };
        let Some(needed) = longest else { continue };
        let most = condition.arms.iter().filter_map(|arm| plan.engine_for(index, arm)?.max_model_len).min();
        if let Some(most) = most.filter(|most| needed > u64::from(*most)) {
            return Err(PlanError::DatasetTooLong {
                experiment: condition.experiment.clone(),
                model: condition.model.clone(),
                needed,
                most,
            });
        }
    }
    Ok(())
}
