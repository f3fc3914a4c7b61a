//! What the machines have cost: when each boot's servers of each arm came and went, and the price of that time.

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use teebench_api::plan::Plan;

/// Name of the file with the entries.
pub const BOOTS_FILE: &str = "boots.jsonl";

/// A line of `boots.jsonl`: servers of an arm came or went.
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

/// What the campaign has cost until now; absent when an arm that was used has no price or prices differ in currency.
pub fn spent(plan: &Plan, entries: &[Entry], now: Timestamp) -> Option<Decimal> {
    let mut total = Decimal::ZERO;
    let mut currency: Option<&str> = None;
    for arm in &plan.spec.arms {
        let hours = occupied_hours(entries, &arm.name, now);
        if hours.is_zero() {
            continue;
        }
        let price = arm.price.as_ref()?;
        if currency.is_some_and(|known| known != price.currency) {
            return None;
        }
        currency = Some(&price.currency);
        let per_hour: Decimal = price.per_machine_hour.parse().ok()?;
        total += hours * per_hour * Decimal::from(price.machines.unwrap_or_else(|| plan.replicas()));
    }
    Some(total)
}

/// The stops that a killed program could not write: its servers ended with it, at its last sign of life.
pub fn closing(entries: &[Entry], last_run_finished: Option<Timestamp>) -> Vec<Entry> {
    let Some(last_entry) = entries.iter().map(|entry| entry.at).max() else { return Vec::new() };
    let at = last_run_finished.map_or(last_entry, |finished| finished.max(last_entry));
    let mut open: Vec<&Entry> = Vec::new();
    for entry in entries.iter().filter(|entry| entry.event != Event::Ready) {
        open.retain(|started| started.arm != entry.arm);
        if entry.event == Event::Started {
            open.push(entry);
        }
    }
    open.into_iter().map(|started| Entry { event: Event::Stopped, at, ..started.clone() }).collect()
}

/// Hours that an arm's machines were occupied; a start without a stop is one that is still up.
fn occupied_hours(entries: &[Entry], arm: &str, now: Timestamp) -> Decimal {
    let mut milliseconds = 0_i64;
    let mut open: Option<Timestamp> = None;
    for entry in entries.iter().filter(|entry| entry.arm == arm && entry.event != Event::Ready) {
        if let Some(since) = open.take() {
            milliseconds += entry.at.as_millisecond() - since.as_millisecond();
        }
        if entry.event == Event::Started {
            open = Some(entry.at);
        }
    }
    if let Some(since) = open {
        milliseconds += now.as_millisecond() - since.as_millisecond();
    }
    Decimal::from(milliseconds) / Decimal::from(3_600_000)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn entry(arm: &str, event: Event, minute: i64) -> Entry {
        Entry { boot: 0, generation: 1, arm: arm.into(), event, at: at(minute) }
    }

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + minute * 60).unwrap()
    }

    #[rstest]
    #[case::nothing_yet(&[], 0)]
    #[case::still_up(&[(Event::Started, 0)], 100)]
    #[case::ready_between(&[(Event::Started, 0), (Event::Ready, 10), (Event::Stopped, 30)], 30)]
    #[case::came_and_went(&[(Event::Started, 0), (Event::Stopped, 30)], 30)]
    #[case::twice(&[(Event::Started, 0), (Event::Stopped, 10), (Event::Started, 20), (Event::Stopped, 50)], 40)]
    fn hours_are_those_between_start_and_stop(#[case] events: &[(Event, i64)], #[case] minutes: i64) {
        let mut entries: Vec<Entry> = events.iter().map(|(event, minute)| entry("on", *event, *minute)).collect();
        entries.push(entry("off", Event::Started, 5));

        assert_eq!(occupied_hours(&entries, "on", at(100)), Decimal::from(minutes) / Decimal::from(60));
    }

    #[test]
    fn what_a_killed_program_left_open_ends_at_its_last_sign_of_life() {
        let entries =
            [entry("off", Event::Started, 0), entry("on", Event::Started, 0), entry("off", Event::Stopped, 20)];

        let by_run = closing(&entries, Some(at(35)));
        let by_entry = closing(&entries, Some(at(5)));

        assert_eq!(by_run, [entry("on", Event::Stopped, 35)]);
        assert_eq!(by_entry, [entry("on", Event::Stopped, 20)]);
        assert!(closing(&[entries.as_slice(), &by_run].concat(), None).is_empty());
        assert!(closing(&[], Some(at(1))).is_empty());
    }
}
