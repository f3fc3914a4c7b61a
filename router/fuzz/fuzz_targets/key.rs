//! Any body: the scan for a prompt must end without a panic, and what it finds must not depend on how often it is asked.
#![no_main]

use libfuzzer_sys::fuzz_target;
use teebench_router::proxy::key::{KeyBuffers, read_key};
use teebench_router::tree::MAXIMUM_DEPTH;
use teebench_router::tree::chunk::ChunkPlan;

fuzz_target!(|body: &[u8]| {
    let plan = ChunkPlan::listed(&[7, 1, 30], 16);
    let (mut once, mut again) = (KeyBuffers::default(), KeyBuffers::default());
    let work = read_key(body, &plan, &mut once);
    assert_eq!(work, read_key(body, &plan, &mut again));
    assert_eq!(once.path(), again.path());
    assert!(once.path().len() <= MAXIMUM_DEPTH);
    assert!(work.prompt_tokens <= body.len() as u64);
});
