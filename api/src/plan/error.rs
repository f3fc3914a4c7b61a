//! Why a campaign cannot be planned, and why a `plan.json` cannot be used.

/// Why a campaign cannot be planned. Most of it the validator finds first; the planner does not rely on that.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Neither engine, or both.
    #[error("engine: give exactly one of vllm and simulator")]
    Engine,
    /// A negative seed.
    #[error("seed: {0} is negative; give 0 or more")]
    Seed(i64),
    /// A name that the campaign does not define.
    #[error(
        "experiment \"{experiment}\": {field} names \"{name}\", which spec.{field} does not have; correct the name"
    )]
    UnknownName {
        /// Name of the experiment.
        experiment: String,
        /// The field, as in the spec.
        field: &'static str,
        /// What was named.
        name: String,
    },
    /// A policy that was not given with the campaign.
    #[error(
        "router \"{router}\": policyRef names RouterPolicy \"{policy}\", which is not there; add it to the file or apply it"
    )]
    UnknownPolicy {
        /// Name of the router.
        router: String,
        /// Name of the policy.
        policy: String,
    },
    /// A router that is none.
    #[error("router \"{0}\": give exactly one of direct, policyRef and serviceRef")]
    Router(String),
    /// A data set that is none.
    #[error("experiment \"{0}\": dataset: give exactly one kind of data set")]
    Dataset(String),
    /// A file with fewer requests than a run sends.
    #[error(
        "experiment \"{experiment}\": dataset: its file has {there} requests and prompts is {wanted}; \
         lower prompts, add to the file, or set oversample to go through it again"
    )]
    TooFewPrompts {
        /// Name of the experiment.
        experiment: String,
        /// Requests in the file.
        there: u64,
        /// Requests of a run.
        wanted: u32,
    },
    /// A file whose content is not the one that the campaign names.
    #[error(
        "experiment \"{experiment}\": dataset: its file has SHA-256 {found}, not the {named} of sha256; correct one"
    )]
    DatasetDigest {
        /// Name of the experiment.
        experiment: String,
        /// The digest that the campaign names, in hex.
        named: String,
        /// The file's digest, in hex.
        found: String,
    },
    /// A file with a sequence that a model cannot take.
    #[error(
        "experiment \"{experiment}\": dataset: prompt and output of its file take up to {needed} tokens, and maxModelLen \
         of model \"{model}\" is {most}; raise it, or shorten the requests"
    )]
    DatasetTooLong {
        /// Name of the experiment.
        experiment: String,
        /// Name of the model.
        model: String,
        /// Tokens of the longest sequence.
        needed: u64,
        /// Tokens that the model takes.
        most: u32,
    },
    /// A load without a rate, a concurrency and a search.
    #[error("experiment \"{0}\": load: give requestRateMilli, maxConcurrency or saturation, or give points")]
    Load(String),
    /// Lengths that are nowhere given.
    #[error("experiment \"{experiment}\": {field} is missing; give it in the experiment or in every point")]
    Length {
        /// Name of the experiment.
        experiment: String,
        /// The missing field.
        field: &'static str,
    },
    /// A template that cannot be read.
    #[error("experiment \"{experiment}\": conditionName: {problem}")]
    Template {
        /// Name of the experiment.
        experiment: String,
        /// What is wrong, with the mend.
        problem: String,
    },
    /// Two conditions of one name.
    #[error(
        "experiment \"{experiment}\": conditionName: two conditions are called \"{name}\"; put in a field that differs"
    )]
    ConditionName {
        /// Name of the experiment.
        experiment: String,
        /// The name that occurs twice.
        name: String,
    },
    /// An arm whose own setting would undo what an experiment tries.
    #[error(
        "arm \"{arm}\": engine.maxNumSeqs would undo the maxNumSeqs that experiment \"{experiment}\" tries; remove one of them"
    )]
    ArmUndoesPoint {
        /// Name of the arm.
        arm: String,
        /// Name of the experiment.
        experiment: String,
    },
    /// More runs than a campaign can sensibly hold.
    #[error("experiment \"{experiment}\": the campaign comes to more than {limit} runs; shorten lists or repetitions")]
    TooLarge {
        /// The experiment with which the bound is passed.
        experiment: String,
        /// The bound.
        limit: usize,
    },
    /// A price that is no decimal number.
    #[error("arm \"{arm}\": price.perMachineHour: \"{price}\" is no decimal number; write for instance \"6.98\"")]
    Price {
        /// Name of the arm.
        arm: String,
        /// What was given.
        price: String,
    },
}

/// Why a `plan.json` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PlanFileError {
    /// It is no plan.
    #[error("plan.json: not a plan; restore the file or start in an empty directory")]
    Malformed(#[source] serde_json::Error),
    /// It is of a version that this program does not know.
    #[error("plan.json: has format version {found}, and this program reads {known}; use the version that wrote it")]
    Version {
        /// The version of the file.
        found: u32,
        /// The version that is known.
        known: u32,
    },
    /// A block names a condition or boot that the plan does not have.
    #[error("plan.json: block {0} names a condition or boot that is not there; restore the file")]
    Dangling(usize),
}
