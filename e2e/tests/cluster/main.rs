//! What teebench promises on a cluster; one module for each part of it. `e2e/run` brings up what they need.

mod crds;
mod evidence;
mod faults;
mod gateway;
mod model;
mod monitoring;
mod people;
mod pods;
mod simulator;
mod stores;
mod vllm;
