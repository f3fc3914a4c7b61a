//! What is built: objects as people read them, the details that matter one by one, and what holds for any campaign.

mod details;
mod fixtures;
mod property;
mod restricted;
mod snapshots;
