//! Files that one part writes and another reads: one type each, so that both sides agree.

pub mod boots;
pub mod client;
pub mod energy;
pub mod epoch;
pub mod evidence;
pub mod gpu;
pub mod inputs;
pub mod run;
