//! The API server before and behind the engine: one Python process that does one thing at a time.
//!
//! It is modelled as its event loop: jobs wait in one queue, in the order in which they became ready. A request passes
//! the loop several times on its way in (headers, body, checks, tokens, hand-over), so requests that arrive together
//! delay each other and reach the scheduler late together. The tokens of a step are first sorted to their streams,
//! then each stream that has any writes one chunk; an answer in one piece is written at its end. While the loop is
//! behind, tokens of several steps gather in a stream and leave in one chunk, as vLLM's output queues join them; the
//! engine does not wait for it.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::cost::ApiServerCost;
use super::outcome::{Delivery, Emission};
use super::request::{Request, RequestId};

/// Turns of the loop in which the work on a request is done, equal parts of it each.
const TURNS_OF_A_REQUEST: u32 = 8;

/// The process, its queue, and what has left it but was not yet taken.
#[derive(Clone, Debug)]
pub(super) struct ApiServer {
    cost: ApiServerCost,
    jobs: VecDeque<Job>,
    /// When the latest job ended.
    free_at: Duration,
    /// Tokens that wait for their stream's turn.
    gathered: HashMap<RequestId, Vec<Delivery>>,
    /// Requests that are done, with the time.
    admitted: VecDeque<(Duration, Request)>,
    /// Requests that were received and not yet taken.
    requests: usize,
    delivered: Vec<Delivery>,
}

#[derive(Clone, Debug)]
struct Job {
    ready: Duration,
    work: Duration,
    task: Task,
}

#[derive(Clone, Debug)]
enum Task {
    /// One turn of a request, and how many follow.
    Admit { request: Box<Request>, turns_left: u32 },
    /// Sorting a step's tokens to their streams.
    Sort(Vec<Emission>),
    /// Writing what has gathered in a stream.
    Write(RequestId),
}

impl ApiServer {
    pub(super) fn new(cost: ApiServerCost) -> Self {
        Self {
            cost,
            jobs: VecDeque::new(),
            free_at: Duration::ZERO,
            gathered: HashMap::new(),
            admitted: VecDeque::new(),
            requests: 0,
            delivered: Vec::new(),
        }
    }

    /// Takes a request at its arrival.
    pub(super) fn receive(&mut self, request: Request) {
        let ready = request.times.arrival;
        self.requests += 1;
        let work = self.cost.request(request.prompt_tokens);
        if work.is_zero() {
            self.admitted.push_back((ready, request));
            return;
        }
        let task = Task::Admit { request: Box::new(request), turns_left: TURNS_OF_A_REQUEST - 1 };
        self.jobs.push_back(Job { ready, work: work / TURNS_OF_A_REQUEST, task });
    }

    /// Takes the tokens of a step that has ended.
    pub(super) fn hand_out(&mut self, ended: Duration, emissions: &[Emission]) {
        if emissions.is_empty() {
            return;
        }
        if self.cost.chunk().is_zero() && self.cost.sorting(emissions.len()).is_zero() {
            self.delivered.extend(emissions.iter().map(|emission| Delivery::alone(emission, ended)));
            return;
        }
        let work = self.cost.sorting(emissions.len());
        self.jobs.push_back(Job { ready: ended, work, task: Task::Sort(emissions.to_vec()) });
    }

    /// When the next job ends; `None` while there is none.
    pub(super) fn next_end(&self) -> Option<Duration> {
        self.jobs.front().map(|job| self.free_at.max(job.ready) + job.work)
    }

    /// When tokens may leave next: those that have left already and wait to be taken come first.
    pub(super) fn next_delivery(&self) -> Option<Duration> {
        self.delivered.first().map(|delivery| delivery.at).or_else(|| self.next_end())
    }

    /// Does what ends by `until`.
    pub(super) fn advance(&mut self, until: Duration) {
        while let Some(end) = self.next_end().filter(|end| *end <= until) {
            let Some(Job { ready: _, work, task }) = self.jobs.pop_front() else { return };
            self.free_at = end;
            match task {
                Task::Admit { request, turns_left: 0 } => self.admitted.push_back((end, *request)),
                Task::Admit { request, turns_left } => {
                    let task = Task::Admit { request, turns_left: turns_left - 1 };
                    self.jobs.push_back(Job { ready: end, work, task });
                }
                Task::Sort(emissions) => self.sort(end, &emissions),
                Task::Write(id) => self.write(end, id),
            }
        }
    }

    fn sort(&mut self, now: Duration, emissions: &[Emission]) {
        for emission in emissions {
            let gathered = self.gathered.entry(emission.request).or_default();
            let gets_a_turn = if emission.streams { gathered.is_empty() } else { emission.finish.is_some() };
            if gets_a_turn {
                let work = self.cost.chunk();
                self.jobs.push_back(Job { ready: now, work, task: Task::Write(emission.request) });
            }
            gathered.push(Delivery { ends_chunk: false, ..Delivery::alone(emission, now) });
        }
    }

    fn write(&mut self, now: Duration, id: RequestId) {
        let mut tokens = self.gathered.remove(&id).unwrap_or_default();
        for token in &mut tokens {
            token.at = now;
        }
        if let Some(last) = tokens.last_mut() {
            last.ends_chunk = true;
        }
        self.delivered.append(&mut tokens);
    }

    /// The next request that the scheduler may see, and since when.
    pub(super) fn pop_admitted(&mut self) -> Option<(Duration, Request)> {
        let admitted = self.admitted.pop_front()?;
        self.requests -= 1;
        Some(admitted)
    }

    /// The tokens that have left since the last call.
    pub(super) fn take_delivered(&mut self) -> Vec<Delivery> {
        std::mem::take(&mut self.delivered)
    }

    /// Forgets a request; whether it was still on its way in.
    pub(super) fn remove(&mut self, id: RequestId) -> bool {
        self.gathered.remove(&id);
        let (jobs, admitted) = (self.jobs.len(), self.admitted.len());
        self.jobs.retain(|job| !matches!(&job.task, Task::Admit { request, turns_left: _ } if request.id == id));
        self.admitted.retain(|(_, request)| request.id != id);
        let removed = jobs + admitted - self.jobs.len() - self.admitted.len();
        self.requests -= removed;
        removed > 0
    }

    /// Requests on their way in.
    pub(super) fn requests(&self) -> usize {
        self.requests
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::outcome::RequestTimes;
    use crate::engine::{FinishReason, NewRequest, SamplingKey, TokenId};

    const COST: ApiServerCost = ApiServerCost {
        per_request_us: 6000.0,
        per_prompt_token_us: 2.0,
        per_output_token_us: 10.0,
        per_chunk_us: 100.0,
    };

    fn ms(value: u64) -> Duration {
        Duration::from_millis(value)
    }

    fn request(id: u64, arrival: Duration, prompt_tokens: usize) -> Request {
        let prompt = vec![TokenId(0); prompt_tokens];
        Request::new(NewRequest {
            id: RequestId(id),
            arrival,
            sampling_key: SamplingKey::new(0, None, &prompt, 0),
            prompt,
            max_tokens: 1,
            natural_tokens: None,
            streams: true,
            cache_salt: None,
        })
    }

    fn emission(request: u64, output_tokens: u32) -> Emission {
        Emission {
            request: RequestId(request),
            token: TokenId(0),
            prompt_tokens: 1,
            cached_prompt_tokens: 0,
            max_tokens: 100,
            output_tokens,
            since_previous: None,
            finish: None,
            streams: true,
            times: RequestTimes::default(),
        }
    }

    /// Times, in milliseconds, at which requests with these arrivals and prompts are done.
    fn admitted(arrivals: &[(u64, usize)]) -> Vec<f64> {
        let mut server = ApiServer::new(COST);
        for (id, (arrival, prompt_tokens)) in (0..).zip(arrivals) {
            server.advance(ms(*arrival));
            server.receive(request(id, ms(*arrival), *prompt_tokens));
        }
        server.advance(ms(1000));
        std::iter::from_fn(|| server.pop_admitted()).map(|(time, _)| time.as_secs_f64() * 1e3).collect()
    }

    #[test]
    fn requests_that_arrive_together_delay_each_other_and_long_prompts_take_longer() {
        assert_eq!(admitted(&[(5, 1000)]), [13.0]);
        assert_eq!(admitted(&[(0, 1000), (20, 1000)]), [8.0, 28.0]);
        // Eight turns of 1 ms each in alternation: the first is done one turn before the last.
        assert_eq!(admitted(&[(0, 1000), (0, 1000), (0, 1000)]), [22.0, 23.0, 24.0]);
    }

    /// Chunks as (request, time in microseconds, tokens).
    fn chunks(deliveries: &[Delivery]) -> Vec<(u64, u128, usize)> {
        deliveries
            .split_inclusive(|delivery| delivery.ends_chunk)
            .map(|chunk| (chunk[0].request.0, chunk[0].at.as_micros(), chunk.len()))
            .collect()
    }

    #[test]
    fn tokens_leave_one_stream_after_the_other() {
        let mut server = ApiServer::new(COST);
        server.hand_out(ms(1), &[emission(0, 1), emission(1, 1)]);
        assert_eq!(server.next_end(), Some(Duration::from_micros(1020)));
        server.advance(Duration::from_micros(1120));
        assert_eq!(chunks(&server.take_delivered()), [(0, 1120, 1)]);
        server.advance(ms(2));
        assert_eq!(chunks(&server.take_delivered()), [(1, 1220, 1)]);
        assert_eq!(server.next_end(), None);
    }

    #[test]
    fn while_the_process_is_behind_tokens_of_a_stream_are_joined_into_one_chunk() {
        let mut server = ApiServer::new(COST);
        for step in 1..=3 {
            let tokens: Vec<Emission> = (0..4).map(|id| emission(id, step)).collect();
            let ended = Duration::from_micros(100 * u64::from(step));
            server.advance(ended);
            server.hand_out(ended, &tokens);
        }
        server.advance(ms(10));
        // Sorted at 140 us; four chunks until 540, while the steps of 200 and 300 us wait; sorted by 620 us together.
        let expected =
            [(0, 240, 1), (1, 340, 1), (2, 440, 1), (3, 540, 1), (0, 720, 2), (1, 820, 2), (2, 920, 2), (3, 1020, 2)];
        assert_eq!(chunks(&server.take_delivered()), expected);
    }

    #[test]
    fn an_answer_in_one_piece_is_written_once_at_its_end() {
        let mut server = ApiServer::new(COST);
        let emission = |output_tokens, finish| Emission { streams: false, finish, ..emission(0, output_tokens) };
        server.hand_out(ms(1), &[emission(1, None)]);
        server.advance(ms(5));
        assert!(server.take_delivered().is_empty());
        server.hand_out(ms(5), &[emission(2, Some(FinishReason::Length))]);
        server.advance(ms(10));
        assert_eq!(chunks(&server.take_delivered()), [(0, 5110, 2)]);
    }

    #[test]
    fn a_request_that_is_given_up_neither_arrives_nor_answers() {
        let mut server = ApiServer::new(COST);
        server.receive(request(0, ms(0), 1));
        assert!(server.remove(RequestId(0)));
        server.hand_out(ms(1), &[emission(7, 1)]);
        server.advance(Duration::from_micros(1010));
        assert!(!server.remove(RequestId(7)), "it was admitted long ago");
        server.advance(ms(100));
        assert!(server.pop_admitted().is_none() && server.take_delivered().is_empty());
        assert_eq!((server.requests(), server.next_end()), (0, None));
    }
}
