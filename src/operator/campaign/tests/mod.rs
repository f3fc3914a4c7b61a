//! Campaigns from apply to answer on a cluster in memory: what is decided, and that it holds wherever a pass is cut off.

mod evidence;
mod exclusive;
mod faults;
mod lab;
mod statuses;
mod whole;
