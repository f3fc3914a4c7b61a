//! Campaigns from apply to answer on a cluster in memory: what is decided, and that it holds wherever a pass is cut off.

mod evidence;
mod faults;
mod lab;
mod statuses;
mod whole;
