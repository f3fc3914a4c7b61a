//! How every figure came about.

use maud::{Markup, html};

use crate::{
    metrics::Measure,
    summary::{Summary, number},
};

/// The definitions and rules.
pub fn section(summary: &Summary) -> Markup {
    let margin = summary.campaigns.first().map_or(0.02, |campaign| campaign.equivalence_margin);
    html! {
        section class="methods" id="methods" {
            h2 { "Methods" }
            h3 { "Design" }
            p {
                "The unit of replication is the run: one execution of the load against one arm with one router. A block is one run for each arm and router, \
                with the same prompts in the same order at the same times; the next block has others. The order of runs inside a block is drawn from the \
                seed and counterbalanced. Every run starts from empty prefix caches and empty routers. Requests and tokens of one run are never treated as \
                independent observations."
            }
            h3 { "Which runs count" }
            p {
                "Only valid runs enter numbers. Inconclusive (evidence or circumstances do not support the number), failed and interrupted attempts are \
                listed with their reasons. Nothing is retried silently: where several attempts of a run are valid, the one that the planner counts enters."
            }
            h3 { "Statistics" }
            dl {
                dt { "Medians" }
                dd {
                    "Over runs, with the distribution-free interval between two order statistics (Le Boudec, Performance Evaluation, 2010, theorem 2.1), which \
                    covers at least 95\u{a0}%. Under six runs no such interval exists, and none is shown."
                }
                dt { "Ratios" }
                dd {
                    "Geometric mean over pairs of the same block: the mean of the differences of logarithms, with the 95\u{a0}% interval by Student's t on n − 1 \
                    degrees of freedom. Where pairs share boots and there are several boots, pairs of one boot are averaged first, and n counts boots. A seeded \
                    percentile bootstrap stands beside it in the files as a check; of six pairs it covers only 87\u{a0}%."
                }
                dt { "Arms run apart" }
                dd {
                    "Runs that were not interleaved are not paired: the difference of the means of logarithms with Welch's interval, which is wider, and Welch's p."
                }
                dt { "p-values" }
                dd {
                    "Two-sided sign-flip permutation test, exact up to 20 pairs. n pairs reach no less than 2/2" sup { "n" } ": under six pairs nothing reaches \
                    0.05. Holm's correction within the declared primary family: output throughput, one comparison for each pair of arms and condition of an \
                    experiment, with the baseline router (where there is one arm, each router against the baseline). All others are exploratory."
                }
                dt { "Verdict" }
                dd {
                    "Equivalent: two one-sided t-tests at 0.05 place the ratio within 1 ± " (number(100.0 * margin)) "\u{a0}%. Different: the 95\u{a0}% interval excludes 1 and p \
                    is at most 0.05, after Holm's correction in the primary family. Inconclusive: neither, or under six pairs (four runs a side when unpaired), or \
                    arms whose machines differ in what breaks the comparison."
                }
                dt { "Percentiles" }
                dd {
                    "numpy's linear percentiles over the completed requests of one run. p95 is stated from 90 requests and p99 from 459: with fewer, it is not \
                    99\u{a0}% certain that any request lies beyond it."
                }
                dt { "Overload" }
                dd {
                    "Of an open loop: more than a tenth of the requests are unanswered at the last arrival, at least a quarter more than half-way, and the last \
                    quarter of requests takes at least a quarter longer than the first."
                }
                dt { "Energy" }
                dd {
                    "GPU boards only, each board once, gross, over the window from first send to last completion; by the boards' energy counters, checked against the \
                    integral of instant power. Where the two differ by more than a tenth, or the window is too short, nothing is stated."
                }
                dt { "Money" }
                dd {
                    "Costs of tokens and requests are the price of an arm's machines times the measured window. Starting, loading and warming up cost as well: \
                    the occupied time, from each start of the servers to their stop, stands with the machines. The price of energy, where one is given, stands \
                    apart. Decimal arithmetic; currencies are never mixed."
                }
                dt { "Knee" }
                dd {
                    "The least concurrency whose median output throughput is within 5\u{a0}% of the best level's. Its interval is the middle 95\u{a0}% of 2000 curves \
                    resampled from the runs of each level, and takes only values of levels that were run."
                }
                dt { "Campaigns over time" }
                dd {
                    "Runs of two campaigns are not paired: Welch's interval. The change of an effect is the ratio of the two ratios; its interval comes from \
                    the standard errors of both, with Welch's degrees of freedom."
                }
            }
            h3 { "Metrics" }
            dl {
                @for measure in Measure::ALL {
                    dt { (measure) @if !measure.unit().is_empty() { " " span class="unit" { (measure.unit()) } } }
                    dd { (measure.definition()) "." }
                }
            }
        }
    }
}
