//! What teebench promises on a cluster; one module for each part of it. `e2e/run` brings up what they need.

mod attester;
mod bounds;
mod commands;
mod crds;
mod driver;
mod evidence;
mod existing;
mod faults;
mod fetched;
mod gateway;
mod limits;
mod model;
mod monitoring;
mod overrides;
mod people;
mod pods;
mod queue;
mod simulator;
mod stores;
mod vllm;
