//! What a router could reach that knew all arrivals beforehand: a local search over whole assignments of requests to
//! servers, each move judged by simulating the two servers that it changes.
//!
//! A found assignment is no proof of an optimum, but no router that decides as requests come can be expected to beat it;
//! how far one is from it is what is left to gain.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::Outcome;
use super::load::Query;
use super::server::{Event, Server, ServerSpec};

/// Improves on `outcomes` (whose workers are the first assignment, in an open loop) by so many attempts to move one
/// request, or to swap two, keeping what shortens the sum of all end-to-end times.
pub fn improve(
    spec: ServerSpec,
    servers: usize,
    queries: &[Query],
    outcomes: &[Outcome],
    attempts: usize,
) -> Vec<Outcome> {
    let mut random = SmallRng::seed_from_u64(attempts as u64);
    let mut best = outcomes.to_vec();
    let mut lines: Vec<Vec<usize>> = vec![Vec::new(); servers];
    outcomes.iter().enumerate().for_each(|(index, outcome)| lines[outcome.worker].push(index));
    for (server, line) in lines.iter().enumerate() {
        for (index, outcome) in line.iter().zip(serve(spec, server, queries, line)) {
            best[*index] = outcome;
        }
    }
    for _ in 0..attempts {
        let one = random.random_range(0..queries.len());
        let other = random.random_range(0..queries.len());
        let from = best[one].worker;
        // A partner at the same server proposes to move alone, to any server.
        let (to, swapped) = match best[other].worker {
            worker if worker == from => (random.random_range(0..servers), None),
            worker if random.random_range(0..2) == 0 => (worker, Some(other)),
            worker => (worker, None),
        };
        if to == from {
            continue;
        }
        let exchanged = |line: &[usize], gone: Option<usize>, come: Option<usize>| {
            let mut line: Vec<usize> = line.iter().copied().filter(|index| Some(*index) != gone).chain(come).collect();
            line.sort_unstable();
            line
        };
        let changed =
            [(from, exchanged(&lines[from], Some(one), swapped)), (to, exchanged(&lines[to], swapped, Some(one)))];
        let served: Vec<Vec<Outcome>> =
            changed.iter().map(|(server, line)| serve(spec, *server, queries, line)).collect();
        let after: f64 = served.iter().flatten().map(|outcome| outcome.e2e_ms).sum();
        let before: f64 = [from, to].iter().flat_map(|server| &lines[*server]).map(|index| best[*index].e2e_ms).sum();
        if after < before {
            for ((server, line), served) in changed.into_iter().zip(served) {
                for (index, outcome) in line.iter().zip(served) {
                    best[*index] = outcome;
                }
                lines[server] = line;
            }
        }
    }
    best
}

/// Serves the queries of a line by one server, in the order of their arrival.
fn serve(spec: ServerSpec, worker: usize, queries: &[Query], line: &[usize]) -> Vec<Outcome> {
    let mut server = Server::new(spec, worker as u64);
    let mut outcomes = vec![Outcome { worker, ..Outcome::default() }; line.len()];
    let mut visited = std::collections::HashSet::new();
    let (mut arrived, mut step_ends_us) = (0, None);
    loop {
        let next_us = line.get(arrived).map(|index| queries[*index].at_us);
        match (next_us, step_ends_us) {
            (None, None) => return outcomes,
            // As in the fleet, a step that ends at the same time ends first.
            (Some(at_us), ends_us) if ends_us.is_none_or(|ends_us| at_us < ends_us) => {
                let query = &queries[line[arrived]];
                outcomes[arrived].cached_tokens = server.cached_tokens(query);
                outcomes[arrived].is_hit = !visited.insert(query.group);
                server.enqueue(arrived, query);
                arrived += 1;
                if ends_us.is_none() {
                    step_ends_us = leap(&mut server, at_us, line.get(arrived).map(|index| queries[*index].at_us));
                }
            }
            (_, Some(now_us)) => {
                for event in server.end_step() {
                    let since_ms = |place: usize| (now_us - queries[line[place]].at_us) as f64 / 1000.0;
                    match event {
                        Event::FirstToken(place) => outcomes[place].ttft_ms = since_ms(place),
                        Event::Ended(place) => outcomes[place].e2e_ms = since_ms(place),
                    }
                }
                step_ends_us = leap(&mut server, now_us, next_us);
            }
            (Some(_), None) => unreachable!("an idle server takes the next query"),
        }
    }
}

/// Begins the next step that is not like those before it, or during which a query comes, and returns its end.
fn leap(server: &mut Server, now_us: u64, next_us: Option<u64>) -> Option<u64> {
    let duration_us = server.begin_step()?;
    let before_next = next_us.map_or(u64::MAX, |next_us| next_us.saturating_sub(now_us) / duration_us);
    let skipped = server.equal_steps().min(before_next);
    server.skip(skipped);
    Some(now_us + (skipped + 1) * duration_us)
}
