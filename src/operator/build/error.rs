//! Why no objects can be built.

use thiserror::Error;

/// The plan asks for what it does not have, or for what a cluster does not offer. Trying again changes nothing.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum BuildError {
    /// The boot is not the plan's.
    #[error("boot {0}: the plan has no such boot; was the plan replaced?")]
    UnknownBoot(usize),
    /// The arm is not the plan's.
    #[error("arm \"{0}\": the plan has no such arm; was the plan replaced?")]
    UnknownArm(String),
    /// The model is not the plan's.
    #[error("model \"{0}\": the plan has no such model; was the plan replaced?")]
    UnknownModel(String),
    /// An attempt's numbers do not fit its resource.
    #[error("run {run}: {field} {value} does not fit a BenchmarkRun; make the campaign smaller")]
    OutOfBounds {
        /// The attempt.
        run: String,
        /// Which of its numbers.
        field: &'static str,
        /// The number.
        value: u64,
    },
    /// Servers that were there before have no router of ours beside them.
    #[error(
        "arm \"{arm}\": serviceRef: no router stands beside servers that are not ours; give policy \"{policy}\" \
         topology Gateway, or use direct or a foreign router"
    )]
    NoRouterBeside {
        /// Name of the arm.
        arm: String,
        /// Name of a policy whose routers stand beside servers.
        policy: String,
    },
    /// A file of the machine that `kubectl` ran on.
    #[error(
        "experiment \"{experiment}\": dataset: {path} is a file of one machine, which pods do not see; \
         put it into a ConfigMap or a claim, or run the campaign by teebench run"
    )]
    DatasetFile {
        /// Name of the experiment.
        experiment: String,
        /// The file.
        path: String,
    },
}
