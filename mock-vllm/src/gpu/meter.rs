//! How busy the GPU was: the engine's steps, cut at the edges of the sampling periods.

use std::collections::VecDeque;
use std::time::Duration;

use super::board::Board;
use crate::engine::Batch;

/// Load over one sampling period.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Load {
    /// Share of the period in which a step ran, 0 to 1.
    pub busy: f64,
    /// Mean over the period of the share of the board's dynamic power that the steps draw, 0 to 1.
    pub intensity: f64,
    /// Mean over the period of the share of time in which memory was read or written, 0 to 1.
    pub memory: f64,
}

/// Collects steps as they are scheduled, and gives the load up to any later time.
#[derive(Clone, Debug, Default)]
pub struct LoadMeter {
    steps: VecDeque<Step>,
    taken_until: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Step {
    starts: Duration,
    ends: Duration,
    intensity: f64,
    memory: f64,
}

impl LoadMeter {
    /// Records a step, of which the GPU computes for `computing_share`. Steps come in order of time and do not overlap.
    ///
    /// The utilisation counts the whole step, as NVML's does: it asks whether any kernel ran, not how densely.
    pub fn record(&mut self, board: &Board, starts: Duration, ends: Duration, batch: &Batch, computing_share: f64) {
        let tokens = f64::from(batch.tokens());
        let prefill = if tokens > 0.0 { f64::from(batch.prefill_tokens) / tokens } else { 0.0 };
        self.steps.push_back(Step {
            starts,
            ends,
            intensity: board.intensity(tokens) * computing_share,
            memory: (prefill * board.prefill_memory_percent + (1.0 - prefill) * board.decode_memory_percent) / 100.0
                * computing_share,
        });
    }

    /// The load since the last call, or since the start.
    pub fn take(&mut self, until: Duration) -> Load {
        let from = std::mem::replace(&mut self.taken_until, until);
        let period = until.saturating_sub(from).as_secs_f64();
        if period == 0.0 {
            return Load::default();
        }
        let mut load = Load::default();
        while let Some(step) = self.steps.front().copied().filter(|step| step.starts < until) {
            let share = step.ends.min(until).saturating_sub(step.starts.max(from)).as_secs_f64() / period;
            load.busy += share;
            load.intensity += share * step.intensity;
            load.memory += share * step.memory;
            if step.ends > until {
                break;
            }
            self.steps.pop_front();
        }
        load
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Profile;

    fn ms(value: u64) -> Duration {
        Duration::from_millis(value)
    }

    #[test]
    fn a_step_across_an_edge_counts_on_both_sides() {
        let board = Profile::Tiny.figures().board;
        let decode = Batch { decode_sequences: 1000, ..Batch::default() };
        let mut meter = LoadMeter::default();
        meter.record(&board, ms(0), ms(50), &decode, 1.0);
        meter.record(&board, ms(80), ms(130), &decode, 0.5);
        let first = meter.take(ms(100));
        let second = meter.take(ms(200));
        assert!((first.busy - 0.7).abs() < 1e-9 && (second.busy - 0.3).abs() < 1e-9);
        assert!((first.intensity - 0.6).abs() < 1e-9 && (first.memory - 0.6 * 0.8).abs() < 1e-9);
        assert!((second.intensity - 0.15).abs() < 1e-9, "a GPU that waits half of the time draws half");
        assert_eq!(meter.take(ms(300)), Load::default());
    }
}
