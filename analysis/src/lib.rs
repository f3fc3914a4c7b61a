//! Readers, statistics, summary and report of a campaign's results.
