//! The effects that `kubectl get` shows: the headline condition's, as text with their intervals.

use teebench_analysis::{
    metrics::Measure,
    summary::{Contrast, ContrastKind, Summary, percent_interval},
};
use teebench_api::campaign::status::HeadlineEffects;

/// The headline of a summary of one campaign; what was not measured stays absent.
#[must_use]
pub fn headline(summary: &Summary) -> Option<HeadlineEffects> {
    let campaign = summary.campaigns.first()?;
    let condition = campaign.headline_condition()?;
    let baseline = campaign.baseline_router.as_deref();
    let of_arms = condition.contrasts.iter().find(|contrast| {
        contrast.kind == ContrastKind::Arms && baseline.is_none_or(|router| contrast.numerator.router == router)
    });
    let arm = of_arms.map(|contrast| contrast.numerator.arm.as_str());
    // The last router of the file is the one that the campaign is about; the first is what it is compared with.
    let of_routers = condition.contrasts.iter().rfind(|contrast| {
        contrast.kind == ContrastKind::Routers && arm.is_none_or(|arm| contrast.numerator.arm == arm)
    });
    let shown = |contrast: Option<&Contrast>, measure| {
        let effect = contrast?.effects.iter().find(|effect| effect.metric == measure)?;
        effect.figures.as_ref().map(percent_interval)
    };
    Some(HeadlineEffects {
        throughput_loss: shown(of_arms, Measure::OutputThroughput),
        ttft: shown(of_arms, Measure::TtftP50),
        routing: shown(of_routers, Measure::E2elP50),
    })
}
