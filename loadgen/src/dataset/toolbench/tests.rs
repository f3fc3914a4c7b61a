//! What generated prompts promise: the published shares and lengths, and the same bytes for the same seed.

use std::collections::{BTreeSet, HashMap, HashSet};

use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::*;

fn paper() -> ToolbenchSpec {
    ToolbenchSpec {
        prompts: 6000,
        tools: 200,
        zipf_exponent: 1.1,
        reuse: Reuse::Tools,
        exact_duplicates: 0.0,
        output_tokens: 128,
    }
}

fn texts(source: &ToolbenchSource) -> Vec<String> {
    source.draws.iter().map(|draw| source.text(*draw)).collect()
}

/// Share of all bytes that an earlier prompt begins with too: what a perfect prefix cache would hold.
fn shared_share(texts: &[String]) -> f64 {
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    let (mut shared, mut total) = (0, 0);
    let common = |a: &str, b: &str| a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    for text in texts {
        // The longest common beginning is with a neighbour in lexical order.
        let before = seen.range(..text.as_str()).next_back().map_or(0, |other| common(other, text));
        let after = seen.range(text.as_str()..).next().map_or(0, |other| common(other, text));
        shared += before.max(after);
        total += text.len();
        seen.insert(text.as_str());
    }
    shared as f64 / total as f64
}

#[test]
fn popularity_length_and_sharing_are_the_published_ones() {
    for seed in [1, 54940] {
        let source = ToolbenchSource::new(&paper(), seed);
        let mut by_tool: HashMap<u32, usize> = HashMap::new();
        for draw in &source.draws {
            *by_tool.entry(draw.tool).or_default() += 1;
        }
        let mut counts: Vec<usize> = by_tool.into_values().collect();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        let share = |tools: usize| counts[..tools].iter().sum::<usize>() as f64 / 6000.0;
        assert!((share(1) - 0.21).abs() < 0.02, "top tool {}", share(1));
        assert!((share(10) - 0.57).abs() < 0.025, "top ten {}", share(10));

        let texts = texts(&source);
        let mean_tokens = texts.iter().map(String::len).sum::<usize>() as f64 / 6000.0 / BYTES_PER_TOKEN as f64;
        assert!((1450.0..1800.0).contains(&mean_tokens), "mean prompt {mean_tokens} tokens");
        let shared = shared_share(&texts);
        assert!((0.80..0.92).contains(&shared), "shared {shared}");
    }
}

#[test]
fn blocks_are_log_normal_within_their_bounds_and_popular_tools_are_no_longer_than_others() {
    let (mut all, mut logs) = (Vec::new(), Vec::new());
    for seed in 0..40 {
        let popularity = Popularity::zipf(200, 1.1);
        let lengths = draw_block_tokens(&popularity, seed);
        let asked_for: f64 =
            lengths.iter().enumerate().map(|(rank, length)| popularity.share(rank) * f64::from(*length)).sum();
        assert!((asked_for / BLOCK_MEAN_TOKENS - 1.0).abs() < 0.1, "seed {seed}: mean over requests {asked_for}");
        logs.extend(lengths.iter().map(|length| f64::from(*length).ln()));
        all.extend(lengths.into_iter().map(f64::from));
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (mean_tokens, mean_log) = (mean(&all), mean(&logs));
    assert!((mean_tokens / BLOCK_MEAN_TOKENS - 1.0).abs() < 0.03, "mean {mean_tokens}");
    assert!(all.iter().all(|length| (BLOCK_TOKENS.0..=BLOCK_TOKENS.1).contains(length)));
    let deviation = mean(&logs.iter().map(|log| (log - mean_log).powi(2)).collect::<Vec<_>>()).sqrt();
    assert!((deviation - BLOCK_LOG_DEVIATION).abs() < 0.03, "deviation of the logarithm {deviation}");
    // Of a normal distribution, as many logarithms lie above the mean as below it.
    let above = logs.iter().filter(|log| **log > mean_log).count() as f64 / logs.len() as f64;
    assert!((above - 0.5).abs() < 0.02, "{above} above the mean of the logarithms");
}

#[test]
fn the_control_shares_nothing() {
    let source = ToolbenchSource::new(&ToolbenchSpec { reuse: Reuse::None, prompts: 500, ..paper() }, 1);
    let texts = texts(&source);
    let openings: HashSet<&str> = texts.iter().map(|text| &text[..16]).collect();
    assert_eq!(openings.len(), 500);
    assert!(shared_share(&texts) < 0.001);
    let mean_tokens = texts.iter().map(String::len).sum::<usize>() as f64 / 500.0 / BYTES_PER_TOKEN as f64;
    assert!((1450.0..1800.0).contains(&mean_tokens), "mean prompt {mean_tokens} tokens");
}

#[test]
fn exact_duplicates_are_as_many_as_asked_for() {
    let source = ToolbenchSource::new(&ToolbenchSpec { exact_duplicates: 0.25, prompts: 4000, ..paper() }, 3);
    let distinct: HashSet<String> = texts(&source).into_iter().collect();
    let repeated = 1.0 - distinct.len() as f64 / 4000.0;
    assert!((repeated - 0.25).abs() < 0.03, "{repeated}");
}

/// A change of these bytes changes every campaign that names a seed: it needs a note to users, not just a new digest.
#[test]
fn the_same_seed_gives_the_same_bytes() {
    let digest = |seed| {
        let source = ToolbenchSource::new(&ToolbenchSpec { prompts: 40, ..paper() }, seed);
        let mut digest = Sha256::new();
        for text in texts(&source) {
            digest.update(text.as_bytes());
        }
        hex::encode(digest.finalize())
    };
    assert_ne!(digest(7), digest(8));
    assert_eq!(digest(7), "a2e5b4ea5055173ab7b8eb88adf84394eb0f487b8365231c5d732c497fb2648d");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_specification_gives_prompts_of_lawful_length(
        prompts in 1..20_usize, tools in 1..50_usize, zipf_exponent in 0.0..5.0f64,
        control: bool, exact_duplicates in 0.0..=1.0f64, seed: u64,
    ) {
        let reuse = if control { Reuse::None } else { Reuse::Tools };
        let spec = ToolbenchSpec { prompts, tools, zipf_exponent, reuse, exact_duplicates, output_tokens: 9 };
        let source = ToolbenchSource::new(&spec, seed);
        prop_assert_eq!(source.len(), prompts);
        for index in 0..prompts {
            let request = source.request(index).unwrap();
            let Prompt::Text(text) = &request.prompt else { panic!("token ids") };
            prop_assert!(text.is_ascii());
            // System prompt, shortest or longest block, shortest or longest query.
            prop_assert!((320 + 150 + 60 - 20..=340 + 3500 + 200).contains(&(request.expected_prompt_tokens as usize)));
            prop_assert_eq!(&request, &source.request(index).unwrap());
        }
    }
}
