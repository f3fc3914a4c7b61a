//! Counting by a tokeniser's file, and texts of exact length.

use std::collections::BTreeMap;

use rstest::rstest;
use serde_json::json;

use super::*;
use crate::dataset::words::WORDS;
use crate::dataset::{Prompt, PromptForm};
use crate::seed::stream;

/// A tokeniser that knows every `step`-th of our words as one token, spells the others in letters, and wants one token
/// before every prompt.
fn tokenizer(directory: &Path, step: usize) -> PathBuf {
    let letters = (b'a'..=b'z').map(|letter| char::from(letter).to_string());
    let continued = (b'a'..=b'z').map(|letter| format!("##{}", char::from(letter)));
    let words = WORDS.iter().step_by(step).map(ToString::to_string);
    let vocabulary: BTreeMap<String, usize> = ["[UNK]", "[BEGIN]"]
        .map(str::to_owned)
        .into_iter()
        .chain(letters)
        .chain(continued)
        .chain(words)
        .zip(0..)
        .collect();
    let begin = vocabulary["[BEGIN]"];
    let template = |kind: &str, id: &str| json!({kind: {"id": id, "type_id": 0}});
    let content = json!({
        "version": "1.0",
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [template("SpecialToken", "[BEGIN]"), template("Sequence", "A")],
            "pair": [template("Sequence", "A"), template("Sequence", "B")],
            "special_tokens": {"[BEGIN]": {"id": "[BEGIN]", "ids": [begin], "tokens": ["[BEGIN]"]}},
        },
        "model": {
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocabulary,
        },
    });
    let path = directory.join("tokenizer.json");
    std::fs::write(&path, content.to_string()).unwrap();
    path
}

#[test]
fn a_file_or_the_directory_around_it_counts_what_the_model_sees() {
    let directory = tempfile::tempdir().unwrap();
    let file = tokenizer(directory.path(), 1);
    for path in [file.as_path(), directory.path()] {
        let counter = TokenCounter::from_path(path).unwrap();
        assert!(counter.is_exact());
        let counts = ["", "about", "about zoo", "about able after"].map(|text| counter.count(text).unwrap());
        assert_eq!(counts, [1, 2, 5, 4]);
    }
    let error = TokenCounter::from_path(&directory.path().join("nothing")).unwrap_err().to_string();
    assert!(error.contains("nothing") && error.contains("cannot be read"), "{error}");
    std::fs::write(&file, "{}").unwrap();
    assert!(TokenCounter::from_path(&file).is_err());
}

#[rstest]
#[case::of_two_parts(&[7, 30], 37)]
#[case::without_a_prefix(&[0, 12], 12)]
#[case::of_the_models_own_token_and_one_word(&[0, 2], 2)]
#[case::too_short_for_a_word(&[0, 1], 2)]
fn texts_have_exactly_as_many_tokens_as_asked_for(#[case] parts: &[u32], #[case] expected: u32) {
    let directory = tempfile::tempdir().unwrap();
    let counter = TokenCounter::from_path(&tokenizer(directory.path(), 2)).unwrap();
    let maker = PromptMaker::new(PromptForm::Text, &counter).unwrap();
    for seed in 0..20 {
        let parts = parts.iter().enumerate().map(|(index, count)| (*count, stream("test", seed, index as u64)));
        let Prompt::Text(text) = maker.prompt(parts) else { panic!("token ids") };
        assert_eq!(counter.count(&text).unwrap(), expected, "{text}");
    }
}

#[test]
fn a_tokeniser_without_our_words_is_refused_for_texts_alone() {
    let directory = tempfile::tempdir().unwrap();
    let counter = TokenCounter::from_path(&tokenizer(directory.path(), 20)).unwrap();
    let error = PromptMaker::new(PromptForm::Text, &counter).unwrap_err().to_string();
    assert!(error.contains("too few for texts of exact length"), "{error}");
    assert!(PromptMaker::new(PromptForm::TokenIds, &counter).is_ok());
}
