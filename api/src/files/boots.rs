//! `boots.jsonl`: when each boot's servers of each arm came and went; what the machines cost follows from it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Name of the file with the entries.
pub const BOOTS_FILE: &str = "boots.jsonl";

/// A line of the file: servers of an arm came or went.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Index of the boot.
    pub boot: usize,
    /// How often it was started, from 1.
    pub generation: u32,
    /// Name of the arm.
    pub arm: String,
    /// Whether its servers came or went.
    pub event: Event,
    /// When.
    pub at: Timestamp,
}

/// Whether servers came or went.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Event {
    /// They were started.
    Started,
    /// All servers of the boot served their first token; where pods come and go, one that is younger is another.
    Ready,
    /// They were stopped.
    Stopped,
}

/// Milliseconds that an arm's machines were occupied; a start without a stop is one that is still up.
#[must_use]
pub fn occupied_milliseconds(entries: &[Entry], arm: &str, now: Timestamp) -> i64 {
    spans(entries, arm, now, |event| event != Event::Ready).map(|(_, length)| length).sum()
}

/// Milliseconds from each start of an arm's servers to their first token: machine, weights and engine.
#[must_use]
pub fn starting_milliseconds(entries: &[Entry], arm: &str, now: Timestamp) -> i64 {
    spans(entries, arm, now, |_| true).map(|(_, length)| length).sum()
}

/// How often an arm's servers were started.
#[must_use]
pub fn starts(entries: &[Entry], arm: &str) -> usize {
    entries.iter().filter(|entry| entry.arm == arm && entry.event == Event::Started).count()
}

/// From each start of an arm's servers to the next entry that ends it, or until now.
fn spans<'a>(
    entries: &'a [Entry],
    arm: &str,
    now: Timestamp,
    ends: impl Fn(Event) -> bool,
) -> impl Iterator<Item = (&'a Entry, i64)> {
    let of_arm: Vec<&Entry> = entries.iter().filter(|entry| entry.arm == arm && ends(entry.event)).collect();
    let ended = |index: usize| of_arm.get(index + 1).map_or(now, |entry| entry.at);
    let found: Vec<(&Entry, i64)> = of_arm
        .iter()
        .enumerate()
        .filter(|(_, entry)| entry.event == Event::Started)
        .map(|(index, entry)| (*entry, ended(index).as_millisecond() - entry.at.as_millisecond()))
        .collect();
    found.into_iter()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + minute * 60).unwrap()
    }

    #[rstest]
    #[case::nothing_yet(&[], 0, 0)]
    #[case::still_starting(&[(Event::Started, 0)], 100, 100)]
    #[case::ready_between(&[(Event::Started, 0), (Event::Ready, 10), (Event::Stopped, 30)], 30, 10)]
    #[case::came_and_went(&[(Event::Started, 0), (Event::Stopped, 30)], 30, 30)]
    #[case::twice(&[(Event::Started, 0), (Event::Ready, 2), (Event::Stopped, 10), (Event::Started, 20), (Event::Ready, 23), (Event::Stopped, 50)], 40, 5)]
    #[case::started_again_without_a_stop(&[(Event::Started, 0), (Event::Ready, 1), (Event::Started, 20)], 100, 81)]
    fn machines_are_occupied_between_start_and_stop_and_starting_until_ready(
        #[case] events: &[(Event, i64)],
        #[case] occupied: i64,
        #[case] starting: i64,
    ) {
        let entry = |arm: &str, event, minute| Entry { boot: 0, generation: 1, arm: arm.into(), event, at: at(minute) };
        let mut entries: Vec<Entry> = events.iter().map(|(event, minute)| entry("on", *event, *minute)).collect();
        entries.push(entry("off", Event::Started, 5));

        assert_eq!(occupied_milliseconds(&entries, "on", at(100)), occupied * 60_000);
        assert_eq!(starting_milliseconds(&entries, "on", at(100)), starting * 60_000);
    }
}
