//! The loads: prompts of groups that share a prefix, as in the table of what the router must show, and prompts of tools
//! by their popularity, as PlanetServe's.

use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

/// Tokens of one chunk of a prompt: 256 bytes.
pub const TOKENS_PER_CHUNK: u64 = 64;

/// One request.
#[derive(Clone, Debug)]
pub struct Query {
    /// When it comes, in microseconds; of no meaning in a closed loop.
    pub at_us: u64,
    /// Which prefix it shares with others.
    pub group: u64,
    /// Chain hashes of its prompt's chunks.
    pub path: Vec<u64>,
    pub output_tokens: u64,
}

impl Query {
    pub fn tokens(&self) -> u64 {
        self.path.len() as u64 * TOKENS_PER_CHUNK
    }
}

/// Chunks of a prompt: shared by all, shared by its group, its own.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub common: u64,
    pub group: u64,
    pub own: u64,
    pub output_tokens: u64,
}

impl Shape {
    fn query(self, group: u64, own: u64) -> Query {
        let common = (0..self.common).map(|chunk| 0x5afe << 40 | chunk);
        let of_group = (0..self.group).map(|chunk| (0x1_0000 + group) << 40 | chunk);
        let of_own = (0..self.own).map(|chunk| 1 << 63 | own << 16 | chunk);
        let path = common.chain(of_group).chain(of_own).collect();
        Query { at_us: 0, group, path, output_tokens: self.output_tokens }
    }
}

/// So many requests of each of so many groups, shuffled.
pub fn groups(shape: Shape, groups: u64, requests: u64, seed: u64) -> Vec<Query> {
    let each = |group| (0..requests).map(move |request| shape.query(group, group * 100_000 + request));
    let mut queries: Vec<Query> = (0..groups).flat_map(each).collect();
    queries.shuffle(&mut SmallRng::seed_from_u64(seed));
    queries
}

/// Requests of which this share in permille has one prefix, and the others one of so many.
pub fn hot(shape: Shape, requests: u64, permille: u64, others: u64, seed: u64) -> Vec<Query> {
    let mut random = SmallRng::seed_from_u64(seed);
    let group = |random: &mut SmallRng| {
        if random.random_range(0..1000) < permille { 0 } else { random.random_range(1..=others) }
    };
    (0..requests).map(|request| shape.query(group(&mut random), request)).collect()
}

/// Requests that share nothing.
pub fn distinct(shape: Shape, requests: u64) -> Vec<Query> {
    (0..requests).map(|request| shape.query(request, request)).collect()
}

/// Requests of tools whose popularity falls as a power of their rank.
pub fn zipf(shape: Shape, requests: u64, tools: u64, exponent: f64, seed: u64) -> Vec<Query> {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut cumulated: Vec<f64> = Vec::new();
    for rank in 1..=tools {
        cumulated.push(cumulated.last().unwrap_or(&0.0) + (rank as f64).powf(-exponent));
    }
    let total = *cumulated.last().unwrap();
    let mut tool = || {
        let drawn = random.random_range(0.0..total);
        cumulated.partition_point(|sum| *sum < drawn) as u64
    };
    (0..requests).map(|request| shape.query(tool(), request)).collect()
}

/// Gives the queries Poisson arrivals.
pub fn poisson(mut queries: Vec<Query>, per_second: f64, seed: u64) -> Vec<Query> {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut now = 0.0;
    for query in &mut queries {
        now += -(1.0 - random.random_range(0.0..1.0_f64)).ln() / per_second;
        query.at_us = (now * 1e6) as u64;
    }
    queries
}
