//! What the machines have cost: when each boot's servers of each arm came and went, and the price of that time.

use jiff::Timestamp;
use rust_decimal::Decimal;
pub use teebench_api::files::boots::{BOOTS_FILE, Entry, Event};
use teebench_api::{files::boots::occupied_milliseconds, plan::Plan};

/// What the campaign has cost until now; absent when an arm that was used has no price or prices differ in currency.
pub fn spent(plan: &Plan, entries: &[Entry], now: Timestamp) -> Option<Decimal> {
    let mut total = Decimal::ZERO;
    let mut currency: Option<&str> = None;
    for arm in &plan.spec.arms {
        let hours = Decimal::from(occupied_milliseconds(entries, &arm.name, now)) / Decimal::from(3_600_000);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(arm: &str, event: Event, minute: i64) -> Entry {
        Entry { boot: 0, generation: 1, arm: arm.into(), event, at: at(minute) }
    }

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + minute * 60).unwrap()
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
