//! How several routers share each worker's slots, so that together they never put more on it than its bound.
//!
//! Each slot belongs to one router at a time. All know who has it first: the slots of a worker are dealt among the routers
//! in their order. A router with a slot that it does not need gives it to one that waits, and counts what it gave; the
//! other counts what it heard of. Such counters only grow, so frames that are lost, late or repeated never make a slot
//! of nothing: one on its way belongs to nobody for a moment (an escrow, or bounded counter: Balegas et al., "Extending
//! Eventually Consistent Cloud Databases for Enforcing Numeric Invariants", 2015).
//!
//! A router that restarts in the middle of an epoch has forgotten what it gave. It uses no slot until every other router
//! has told what it got, and that it takes no frame of the former one any more.

use std::collections::{HashMap, HashSet};

/// A router's place among all routers of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// Its place in the order of their names.
    pub rank: usize,
    /// How many there are.
    pub routers: usize,
}

/// What a router tells of one worker's slots; routers by their rank, those with 0 left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlotNews {
    /// Slots that it gave to each, since the epoch began.
    pub given: Vec<(u32, u32)>,
    /// Slots that it heard to have got from each.
    pub received: Vec<(u32, u32)>,
    /// Slots that it holds and does not use.
    pub free: u32,
    /// Requests that wait for this worker in particular.
    pub wanted: u32,
}

/// What a router tells of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeatNews {
    /// Its rank.
    pub rank: u32,
    /// Requests that wait for any worker.
    pub waiting: u32,
    /// The incarnation of each router that it listens to; 0 where it heard none.
    pub known: Vec<u64>,
}

/// The slots of all workers, as one router knows them.
#[derive(Clone, Debug)]
pub struct SlotLedger {
    slots: u32,
    seat: Seat,
    incarnation: u64,
    /// Incarnations of the routers, and those that were replaced.
    known: Vec<u64>,
    replaced: HashSet<u64>,
    /// Who is known to listen to this incarnation.
    confirmed: Vec<bool>,
    /// Requests that wait at each router for any worker.
    waiting: Vec<u32>,
    /// By the hash of the worker's name: an account outlives the worker's absence from the list.
    accounts: HashMap<u64, Account>,
}

#[derive(Clone, Debug)]
struct Account {
    given: Vec<u32>,
    received: Vec<u32>,
    /// What the others told last.
    wanted: Vec<u32>,
    free: Vec<u32>,
}

impl Account {
    fn new(routers: usize) -> Self {
        let zeros = vec![0; routers];
        Self { given: zeros.clone(), received: zeros.clone(), wanted: zeros.clone(), free: zeros }
    }
}

impl SlotLedger {
    /// The slots as they are dealt first, `slots` for each worker. `is_fresh` says that this router certainly gave nothing
    /// in this epoch yet.
    pub fn new(slots: u32, seat: Seat, incarnation: u64, is_fresh: bool) -> Self {
        let mut known = vec![0; seat.routers];
        let mut confirmed = vec![is_fresh; seat.routers];
        (known[seat.rank], confirmed[seat.rank]) = (incarnation, true);
        Self {
            slots,
            seat,
            incarnation,
            known,
            replaced: HashSet::new(),
            confirmed,
            waiting: vec![0; seat.routers],
            accounts: HashMap::new(),
        }
    }

    /// Slots of a worker that this router holds.
    pub fn held(&self, worker: u64) -> u32 {
        if !self.is_settled() {
            return 0;
        }
        let first = self.dealt(worker);
        let Some(Account { given, received, .. }) = self.accounts.get(&worker) else { return first };
        let sum = |counts: &[u32]| counts.iter().map(|count| u64::from(*count)).sum::<u64>();
        let held = (u64::from(first) + sum(received)).saturating_sub(sum(given));
        // Nobody is believed to have given more than there is.
        held.min(self.slots.into()) as u32
    }

    /// True once this router knows what it gave.
    pub fn is_settled(&self) -> bool {
        self.confirmed.iter().all(|confirmed| *confirmed)
    }

    /// Stops waiting for routers that do not answer: what a former incarnation of this one gave them is not known.
    pub fn settle(&mut self) {
        self.confirmed.fill(true);
    }

    fn dealt(&self, worker: u64) -> u32 {
        let routers = self.seat.routers as u64;
        let place = (self.seat.rank as u64 + routers - worker % routers) % routers;
        let rest = u64::from(self.slots) % routers;
        self.slots / self.seat.routers as u32 + u32::from(place < rest)
    }

    /// Takes what another router told of itself. Returns false if it was replaced, or is none of the epoch's routers: then
    /// nothing else that it tells of slots counts.
    pub fn hear(&mut self, sender: u64, news: &SeatNews) -> bool {
        let Some(known) = usize::try_from(news.rank).ok().and_then(|rank| self.known.get_mut(rank)) else {
            return false;
        };
        let rank = news.rank as usize;
        if rank == self.seat.rank || self.replaced.contains(&sender) {
            return false;
        }
        let before = std::mem::replace(known, sender);
        if before != 0 && before != sender {
            self.replaced.insert(before);
        }
        self.waiting[rank] = news.waiting;
        self.confirmed[rank] |= news.known.get(self.seat.rank) == Some(&self.incarnation);
        true
    }

    /// Takes what the router of a rank, which was heard, told of a worker.
    pub fn hear_of(&mut self, rank: u32, worker: u64, news: &SlotNews) {
        let own = self.seat.rank as u32;
        let of_own =
            |counts: &[(u32, u32)]| counts.iter().find(|(rank, _)| *rank == own).map_or(0, |(_, count)| *count);
        let (routers, rank) = (self.seat.routers, rank as usize);
        let account = self.accounts.entry(worker).or_insert_with(|| Account::new(routers));
        account.received[rank] = account.received[rank].max(of_own(&news.given));
        // What it got from a former incarnation of this router, this one gave.
        account.given[rank] = account.given[rank].max(of_own(&news.received));
        (account.wanted[rank], account.free[rank]) = (news.wanted, news.free);
    }

    /// Gives away slots of a worker of which `in_flight` are used, and `wanted` are waited for here. Returns true if
    /// others got some.
    pub fn give(&mut self, worker: u64, in_flight: u32, wanted: u32) -> bool {
        let mut free = self.held(worker).saturating_sub(in_flight).saturating_sub(wanted);
        let (own, routers) = (self.seat.rank, self.seat.routers);
        let Some(account) = self.accounts.get_mut(&worker).filter(|_| free > 0) else { return false };
        // Of several that could give, the one with the most to spare does.
        let is_first = |(rank, other): (usize, &u32)| rank == own || (*other, own) <= (free, rank);
        if !account.free.iter().enumerate().all(is_first) {
            return false;
        }
        let before = free;
        for rank in (1..routers).map(|step| (own + step) % routers) {
            let asked = account.wanted[rank].max(self.waiting[rank]).min(free);
            account.given[rank] += asked;
            account.wanted[rank] = account.wanted[rank].saturating_sub(asked);
            self.waiting[rank] = self.waiting[rank].saturating_sub(asked);
            free -= asked;
        }
        free < before
    }

    /// True if another router waits for a worker, or for any.
    pub fn is_asked(&self) -> bool {
        self.waiting.iter().any(|waiting| *waiting > 0)
            || self.accounts.values().any(|account| account.wanted.iter().any(|wanted| *wanted > 0))
    }

    /// What this router tells of itself.
    pub fn seat_news(&self, waiting: u32) -> SeatNews {
        SeatNews { rank: self.seat.rank as u32, waiting, known: self.known.clone() }
    }

    /// What this router tells of a worker.
    pub fn slot_news(&self, worker: u64, in_flight: u32, wanted: u32) -> SlotNews {
        let some = |counts: &[u32]| (0..).zip(counts.iter().copied()).filter(|(_, count)| *count > 0).collect();
        let free = self.held(worker).saturating_sub(in_flight);
        match self.accounts.get(&worker) {
            Some(Account { given, received, .. }) => {
                SlotNews { given: some(given), received: some(received), free, wanted }
            }
            None => SlotNews { free, wanted, ..SlotNews::default() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(slots: u32, rank: usize, routers: usize) -> SlotLedger {
        SlotLedger::new(slots, Seat { rank, routers }, rank as u64 + 1, true)
    }

    #[test]
    fn all_slots_of_a_worker_are_dealt_once() {
        for (slots, routers) in [(4, 8), (1, 3), (16, 3), (7, 7), (0, 2)] {
            for worker in 0..20 {
                let held: u32 = (0..routers).map(|rank| ledger(slots, rank, routers).held(worker)).sum();
                assert_eq!(held, slots, "{slots} slots, {routers} routers, worker {worker}");
            }
        }
    }

    /// One router tells the other all it knows of a worker.
    fn tell(from: &SlotLedger, to: &mut SlotLedger, worker: u64, waiting: u32, wanted: u32) {
        let news = from.seat_news(waiting);
        if to.hear(from.incarnation, &news) {
            to.hear_of(news.rank, worker, &from.slot_news(worker, 0, wanted));
        }
    }

    #[test]
    fn a_free_slot_goes_to_who_waits_and_is_nobodys_until_it_arrives() {
        let mut routers = [ledger(2, 0, 2), ledger(2, 1, 2)];
        let [one, other] = &mut routers;
        tell(other, one, 5, 0, 1);
        assert!(one.give(5, 0, 0) && !one.give(5, 0, 0), "it gives what was asked for, once");
        assert_eq!((one.held(5), other.held(5)), (0, 1), "it is on its way");
        for _ in 0..2 {
            tell(one, other, 5, 0, 0);
            assert_eq!((one.held(5), other.held(5)), (0, 2), "news that come twice give nothing twice");
        }
        assert!(!other.give(5, 2, 0), "it is used");
    }

    #[test]
    fn a_router_that_restarts_counts_as_given_what_it_gave_before() {
        let mut routers = [ledger(2, 0, 2), ledger(2, 1, 2)];
        let [one, other] = &mut routers;
        tell(other, one, 5, 1, 0);
        assert!(one.give(5, 0, 0));
        tell(one, other, 5, 0, 0);
        let former = one.clone();
        let mut again = SlotLedger::new(2, one.seat, 77, false);
        tell(other, &mut again, 5, 0, 0);
        assert!(!again.is_settled(), "the other listens to the former one yet");
        tell(&again, other, 5, 0, 0);
        tell(&former, other, 5, 0, 0);
        tell(other, &mut again, 5, 0, 0);
        assert!(again.is_settled());
        assert_eq!((again.held(5), other.held(5)), (0, 2));
    }
}
