//! One attempt of a run, from its frozen inputs to its files: reset, warm up, fire, gather, judge.

mod attempt;
mod crew;
mod energy;
mod engine;
mod from_plan;
mod load;
mod logs;
mod machines;
mod metrics_text;
mod routers;
mod step;
mod upload;
mod validity;

pub use attempt::{counter_milliseconds, empty_run_file};
pub use crew::Crew;
pub use engine::EngineClient;
pub use from_plan::{Delivery, run as run_from_plan};
pub use logs::MOST_LOG_BYTES;
pub use step::Step;
pub use upload::Target as UploadTarget;
#[cfg(test)]
pub use upload::{Patience, upload};
