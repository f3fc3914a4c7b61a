//! What answers teach of the workers' pace, and how routers learn from each other's.

use std::time::Duration;

use super::{Engine, FirstToken, Flight};
use crate::tree::WorkerIndex;

/// What one answer showed of the workers' pace. All routers learn from each other's answers: one of eight that had to find
/// out alone where a worker is full would try it on eight times as many requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Lesson {
    /// The first token came, or the whole of an answer that is no stream.
    FirstToken {
        /// Whose.
        worker: WorkerIndex,
        /// True if the answer came as a stream.
        is_streamed: bool,
        /// What was seen.
        seen: FirstToken,
    },
    /// The last byte came.
    Latency {
        /// Requests that the worker had when this one was sent.
        ahead: u32,
        /// Time from the sending to the last byte, in milliseconds.
        latency_ms: f64,
    },
}

/// Lessons that wait to be told at most: more at a time would teach nothing new.
pub const MOST_LESSONS: usize = 64;

impl Engine {
    pub(super) fn learn_from(&mut self, flight: &Flight, is_streamed: bool, now: Duration) {
        let Flight { worker, work: _, ahead, missing_tokens, tokens_ahead, sent, awaited: _ } = *flight;
        let elapsed_ms = now.saturating_sub(sent).as_secs_f64() * 1000.0;
        let seen = FirstToken { ahead, computed_tokens: missing_tokens + tokens_ahead, elapsed_ms };
        self.tell(Lesson::FirstToken { worker, is_streamed, seen }, now);
    }

    pub(super) fn tell(&mut self, lesson: Lesson, now: Duration) {
        self.learn(&lesson, now);
        if self.lessons.len() < self.most_lessons {
            self.lessons.push(lesson);
        }
    }

    /// Learns from an answer, one's own or another router's.
    pub fn learn(&mut self, lesson: &Lesson, now: Duration) {
        match *lesson {
            Lesson::FirstToken { worker, is_streamed, seen } => {
                let rates = if is_streamed { &mut self.streamed } else { &mut self.whole };
                if !rates.is_empty()
                    && let Some(state) = self.workers.get_mut(worker.at())
                {
                    let expected_ms = rates.wait_ms(f64::from(seen.ahead)) + rates.backlog_ms(seen.computed_tokens);
                    state.observe_pace(seen.elapsed_ms, expected_ms, now);
                }
                rates.observe(seen);
            }
            Lesson::Latency { ahead, latency_ms } => {
                self.streamed.note_latency(ahead, latency_ms);
                self.whole.note_latency(ahead, latency_ms);
            }
        }
    }

    /// What this router learned since the last call, for the others; of much, the first.
    pub fn take_lessons(&mut self) -> Vec<Lesson> {
        std::mem::take(&mut self.lessons)
    }

    /// Notes that requests are under way, here or at another router.
    pub(super) fn note_under_way(&mut self, now: Duration) {
        let first_sent = *self.first_sent.get_or_insert(now);
        let age_ms = now.saturating_sub(first_sent).as_secs_f64() * 1000.0;
        self.streamed.note_age(age_ms);
        self.whole.note_age(age_ms);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use teebench_api::policy::RouterPolicySpec;

    use super::*;
    use crate::policy::settings::PolicySettings;
    use crate::policy::{Prompt, Work};
    use crate::tree::chunk::ChunkPlan;

    fn engine(routers: usize) -> Engine {
        let tree = json!({"mode": "HashRadixTree", "hashRadixTree": {"loadBalancing": "ExpectedCost"}});
        let spec: RouterPolicySpec = serde_json::from_value(tree).unwrap();
        Engine::new(&PolicySettings::try_from(&spec).unwrap(), ["a", "b"], routers, 0)
    }

    #[test]
    fn routers_learn_from_each_others_answers() {
        let mut engines = [engine(2), engine(2)];
        let plan = ChunkPlan::fixed(256);
        let work = Work { prompt_tokens: 100, output_tokens: 10, is_streamed: true };
        let prompt = Prompt { path: &[1], plan: &plan, work };
        for _ in 0..3 {
            let flight = engines[0].begin(WorkerIndex(0), &prompt, Duration::ZERO);
            engines[0].first_token(&flight, Duration::from_millis(70));
            engines[0].succeeded(&flight, Duration::from_millis(500));
        }
        let lessons = engines[0].take_lessons();
        assert_eq!(lessons.len(), 6, "a first token and a latency each");
        assert!(engines[0].take_lessons().is_empty(), "nothing is told twice");
        for lesson in &lessons {
            engines[1].learn(lesson, Duration::from_secs(1));
        }
        assert!(engines[1].take_lessons().is_empty(), "what was heard is not told on");
        for ahead in [0.0, 2.0, 9.0] {
            assert_eq!(engines[1].rates(true).wait_ms(ahead), engines[0].rates(true).wait_ms(ahead));
        }
    }

    #[test]
    fn before_any_answer_ended_a_queue_is_believed_to_last_at_least_as_long_as_the_first_request_did() {
        let mut engine = engine(1);
        let plan = ChunkPlan::fixed(256);
        let prompt = Prompt { path: &[1], plan: &plan, work: Work::default() };
        engine.begin(WorkerIndex(0), &prompt, Duration::ZERO);
        let at_first_ms = engine.rates(true).wait_ms(4.0);
        engine.begin(WorkerIndex(0), &prompt, Duration::from_millis(900));
        assert!(engine.rates(true).wait_ms(4.0) >= at_first_ms + 900.0);
    }
}
