//! End-to-end tests of teebench on a real cluster.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`cluster`] | the harness: clients, waiting for conditions, what is kept of a test that failed |
//! | [`vllm`] | the program `vllm` of the tests' image: vLLM's command line before the simulator |
//! | [`hf`] | the program `hf` of that image: downloads from a model hub |
//! | [`hub`] | a model hub with one gated repository |
//!
//! The tests themselves are in `tests/cluster`; `e2e/run` runs them.

pub mod cluster;
pub mod hf;
pub mod hub;
pub mod vllm;
