//! Any bytes from another router: a frame that is taken must be sound, and encode to a frame that says the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use teebench_router::sync::frame::Frame;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(frame) = Frame::decode(bytes) {
        frame.for_each_held(|worker, path| assert!(worker < frame.workers.len() && !path.is_empty()));
        assert_eq!(Frame::decode(&frame.encode()).as_ref(), Ok(&frame));
    }
});
