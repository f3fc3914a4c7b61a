//! What a description tells of data sets whose nature is known.

use super::*;
use crate::dataset::{PrefixRepetitionSource, PrefixRepetitionSpec, PromptForm};

fn texts(texts: &[&str]) -> Vec<PlannedRequest> {
    let request = |text: &&str| PlannedRequest {
        prompt: Prompt::Text((*text).to_owned()),
        expected_prompt_tokens: 0,
        max_tokens: 5,
        temperature: None,
    };
    texts.iter().map(request).collect()
}

fn described(source: &dyn RequestSource) -> Description {
    describe(source, &TokenCounter::Estimate, &|_| ()).unwrap()
}

#[test]
fn prefixes_are_found_with_their_share_and_depth() {
    let spec =
        PrefixRepetitionSpec { prompts: 100, prefixes: 4, prefix_tokens: 160, suffix_tokens: 160, output_tokens: 7 };
    for form in [PromptForm::TokenIds, PromptForm::Text] {
        let source = PrefixRepetitionSource::new(spec.clone(), form, &TokenCounter::Estimate, 1).unwrap();
        let Description { requests, exact_tokens, prompt_tokens, output_tokens, sharing, .. } = described(&source);
        assert_eq!((requests, exact_tokens), (100, form == PromptForm::TokenIds));
        assert_eq!((output_tokens.minimum, output_tokens.maximum), (7, 7));
        assert_eq!((sharing.groups, sharing.common_prefix_tokens, sharing.exact_duplicate_share), (4, 0, 0.0));
        assert!(sharing.top_groups.iter().all(|group| (group.share - 0.25).abs() < 1e-9), "{:?}", sharing.top_groups);
        // All but the first prompt of each prefix share it, and that is half of the prompt.
        assert!((sharing.shared_token_share - 0.48).abs() < 0.04, "{form:?}: {}", sharing.shared_token_share);
        assert!((sharing.by_depth[0].shared - 0.96).abs() < 1e-9);
        assert!(sharing.by_depth.last().unwrap().shared < 0.01);
        if form == PromptForm::TokenIds {
            assert_eq!((prompt_tokens.minimum, prompt_tokens.maximum), (320, 320));
        }
    }
}

#[test]
fn duplicates_and_a_common_beginning_are_told() {
    let common = "x".repeat(80);
    let prompts: Vec<String> = ["a", "b", "a", "c"].iter().map(|end| common.clone() + &end.repeat(80)).collect();
    let prompts: Vec<&str> = prompts.iter().map(String::as_str).collect();
    let Description { sharing, .. } = described(&texts(&prompts));
    assert_eq!((sharing.common_prefix_tokens, sharing.groups, sharing.exact_duplicate_share), (20, 3, 0.25));
    assert_eq!(sharing.top_groups[0], Group { label: "a".repeat(44), share: 0.5 });
}

#[test]
fn a_histogram_holds_every_length_once() {
    let lengths: Vec<u32> = (0..1000).map(|index| 10 + index * index % 977).collect();
    let Lengths { minimum, maximum, histogram, p50, .. } = Lengths::of(lengths);
    assert_eq!(histogram.iter().map(|bin| bin.count).sum::<usize>(), 1000);
    assert_eq!((histogram[0].from, minimum), (minimum, 10));
    assert!(histogram.windows(2).all(|pair| pair[0].to + 1 == pair[1].from) && histogram.last().unwrap().to >= maximum);
    assert!((minimum..maximum).contains(&p50));
    assert_eq!(Lengths::of(vec![7; 3]).histogram, [Bin { from: 7, to: 7, count: 3 }]);
}

#[test]
fn token_ids_are_compared_as_whole_ids() {
    let ids = |ids: &[u32]| Units::of(Prompt::TokenIds(ids.to_vec()));
    let (a, b) = (ids(&[1, 2, 300]), ids(&[1, 2, 301]));
    assert_eq!(a.common_bytes(&b.bytes), 8);
}

#[test]
fn the_text_has_a_plot_for_each_question() {
    let spec = PrefixRepetitionSpec { prompts: 8, prefixes: 2, prefix_tokens: 32, suffix_tokens: 16, output_tokens: 1 };
    let source = PrefixRepetitionSource::new(spec, PromptForm::Text, &TokenCounter::Estimate, 1).unwrap();
    let text = text(&described(&source));
    for part in ["requests       8", "prompt length in tokens", "by depth in tokens", "share by tool or prefix", "█"]
    {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}
