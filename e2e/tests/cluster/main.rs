//! What teebench promises on a cluster; one module for each part of it. `e2e/run` brings up what they need.

mod attester;
mod crds;
mod driver;
mod evidence;
mod faults;
mod fetched;
mod gateway;
mod model;
mod pods;
mod simulator;
mod vllm;
