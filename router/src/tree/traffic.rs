//! Which nodes most of the recent traffic passes.

/// Requests after which every count is halved: the window is 64 to 128 requests long.
const ERA_REQUESTS: u32 = 64;

/// Requests that passed one node: the era of the last one, and in the low byte their number, halved once an era.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Visits(u32);

/// Counts requests, and tells which share of them passed a node.
#[derive(Clone, Debug, Default)]
pub(super) struct Traffic {
    era: u32,
    in_era: u32,
    /// Requests of the window; at most twice [`ERA_REQUESTS`], so that a node's count fits a byte.
    total: u32,
}

impl Traffic {
    /// Counts one request of the window.
    pub(super) fn begin_request(&mut self) {
        if self.in_era == ERA_REQUESTS {
            self.in_era = 0;
            self.era += 1;
            self.total /= 2;
        }
        self.in_era += 1;
        self.total += 1;
    }

    /// Counts the current request at one of the nodes it passes.
    pub(super) fn visit(&self, visits: &mut Visits) {
        let count = (self.recent(*visits) + 1).min(0xff);
        *visits = Visits(self.era << 8 | count);
    }

    /// True if more than half of the window's requests passed the node. Two requests are no traffic yet: of a few groups
    /// one often comes twice at the start.
    pub(super) fn passes_most(&self, visits: Visits) -> bool {
        let recent = self.recent(visits);
        recent >= 3 && 2 * recent > self.total
    }

    /// Requests of the window that passed a node.
    pub(super) fn recent(&self, visits: Visits) -> u32 {
        let eras = (self.era & 0x00ff_ffff).wrapping_sub(visits.0 >> 8);
        (visits.0 & 0xff).checked_shr(eras).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_most_traffic_passes_is_known_after_the_third_request_and_forgotten_again() {
        let mut traffic = Traffic::default();
        let (mut shared, mut own) = (Visits::default(), Visits::default());
        for _ in 0..2 {
            traffic.begin_request();
            traffic.visit(&mut shared);
            assert!(!traffic.passes_most(shared), "two requests are no traffic");
        }
        traffic.visit(&mut own);
        for _ in 0..1000 {
            traffic.begin_request();
            traffic.visit(&mut shared);
            assert!(traffic.passes_most(shared));
            assert!(!traffic.passes_most(own));
        }
        for _ in 0..2 * ERA_REQUESTS {
            traffic.begin_request();
        }
        assert!(!traffic.passes_most(shared));
    }

    #[test]
    fn one_of_sixteen_groups_is_never_what_most_traffic_passes() {
        let mut traffic = Traffic::default();
        let mut groups = [Visits::default(); 16];
        for request in 0..10_000 {
            traffic.begin_request();
            traffic.visit(&mut groups[request % 16]);
            assert!(groups.iter().all(|group| !traffic.passes_most(*group)));
        }
    }
}
