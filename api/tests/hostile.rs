//! Files that mean harm, or are no YAML at all: refused with words, within the limits, and never by a panic.

use std::io::Write;

use proptest::prelude::*;
use rstest::rstest;
use teebench_api::validate::{Diagnostics, MOST_BYTES, load, load_path};

const GOOD: &str = include_str!("corpus/good/gateway.yaml");

fn refusal(text: &[u8]) -> Diagnostics {
    load(text, "hostile.yaml").expect_err("a hostile file must be refused")
}

/// Nine lists of nine aliases each: a billion values in half a kilobyte.
fn alias_bomb() -> String {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..10 {
        let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    text
}

/// One long text, named thousands of times.
fn text_bomb() -> String {
    format!("a: &a \"{}\"\nb: [{}]\n", "x".repeat(500_000), vec!["*a"; 100_000].join(", "))
}

/// Names on names: each anchor keeps a copy of what it names.
fn anchor_bomb() -> String {
    let values = vec!["x"; 90_000].join(", ");
    let anchors: String = (0..20).map(|level| format!("&a{level} [")).collect();
    format!("a: {anchors}{values}{}\n", "]".repeat(20))
}

#[rstest]
#[case::alias_bomb(alias_bomb(), "expands to more than")]
#[case::text_bomb(text_bomb(), "expands to more than")]
#[case::anchor_bomb(anchor_bomb(), "expands to more than")]
#[case::very_many_values(format!("[{}]", vec!["1"; 300_000].join(",")), "expands to more than")]
#[case::very_many_documents("---\na\n".repeat(150_000), "expands to more than")]
#[case::deep_lists("[".repeat(100_000), "no valid YAML")]
#[case::deep_maps((0..2000).map(|depth| format!("{}a:\n", " ".repeat(depth % 400))).collect(), "no valid YAML")]
#[case::deep_dashes("- ".repeat(100_000), "no valid YAML")]
#[case::one_long_key(format!("{}: 1\n", "k".repeat(900_000)), "no valid YAML")]
#[case::one_long_line("a".repeat(MOST_BYTES), "must have the fields apiVersion")]
#[case::many_anchors((0..60_000).map(|n| format!("- &a{n} x\n")).collect(), "expands to more than")]
fn a_file_that_expands_is_refused_at_its_limit(#[case] text: String, #[case] words: &str) {
    let diagnostics = refusal(text.as_bytes());
    let first = &diagnostics.list()[0];
    assert!(first.message.contains(words), "{first}");
    assert!(first.to_string().len() < 400, "the message repeats the file");
}

#[rstest]
#[case::an_archive(b"\x1f\x8b\x08\x00\x00\x00\x00\x00".to_vec(), 1, 1)]
#[case::an_executable([b"\x7fELF".as_slice(), &[0; 64]].concat(), 1, 1)]
#[case::utf_16("spec: a".encode_utf16().flat_map(u16::to_le_bytes).collect(), 1, 2)]
#[case::latin_1(b"apiVersion: a\nkind: \xe4\n".to_vec(), 2, 7)]
#[case::a_nul_in_the_text(b"a: b\nc: \0\n".to_vec(), 2, 4)]
fn a_binary_file_is_refused_at_its_first_foreign_byte(
    #[case] bytes: Vec<u8>,
    #[case] line: usize,
    #[case] column: usize,
) {
    let diagnostics = refusal(&bytes);
    let first = &diagnostics.list()[0];
    assert!(first.message.contains("is it a binary file?"), "{first}");
    assert_eq!(first.position.map(|position| (position.line, position.column)), Some((line, column)));
}

#[test]
fn a_file_of_ten_megabytes_is_refused_unread() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&GOOD.as_bytes().repeat(10_000_000 / GOOD.len())).unwrap();
    let diagnostics = load_path(file.path()).unwrap_err();
    assert!(diagnostics.to_string().contains("larger than 1048576 bytes"), "{diagnostics}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let diagnostics = load_path("nowhere/campaign.yaml".as_ref()).unwrap_err();
    assert!(diagnostics.to_string().starts_with("nowhere/campaign.yaml: cannot be read: "), "{diagnostics}");
}

#[test]
fn a_file_with_very_many_faults_tells_the_first_of_them() {
    let routers: String = (0..2000).map(|n| format!("  - {{name: R{n}}}\n")).collect();
    let text = format!(
        "apiVersion: teebench.dev/v1alpha1\nkind: BenchmarkCampaign\n{}\n",
        (0..200).map(|n| format!("x{n}: 1\n")).collect::<String>()
    );
    let diagnostics = refusal(format!("{text}spec:\n  routers:\n{routers}").as_bytes());
    assert_eq!(diagnostics.list().len(), 50);
    assert!(diagnostics.omitted() > 150, "{}", diagnostics.omitted());
    assert!(diagnostics.list().is_sorted_by_key(|diagnostic| diagnostic.position));
    assert!(diagnostics.to_string().ends_with("more; mend these first"));
}

/// A change of a file: what is taken out and what is put in its place.
fn change() -> impl Strategy<Value = (usize, usize, String)> {
    let piece = prop_oneof![
        Just(String::new()),
        "[ \\n\\t:\\-\\[\\]{}&*!|>'\"#%@,?0-9a-zA-Z~.é]{0,6}",
        Just("\n---\n".to_owned()),
        Just(": ".to_owned()),
        Just("99999999999999999999".to_owned()),
        Just("null".to_owned()),
        Just("*a".to_owned()),
        Just("{}".to_owned()),
    ];
    (0..GOOD.len(), 0..30_usize, piece)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(load(&bytes, "any").is_err());
    }

    #[test]
    fn any_text_is_answered(text in "[ \\n:\\-\\[\\]{}&*!|>'\"#%,?0-9a-z~é]{0,200}") {
        prop_assert!(load(text.as_bytes(), "any").is_err());
    }

    #[test]
    fn a_changed_file_is_taken_or_refused_at_a_place_in_it(changes in prop::collection::vec(change(), 1..4)) {
        let mut text = GOOD.to_owned();
        for (start, length, piece) in changes {
            let start = text.floor_char_boundary(start.min(text.len()));
            let end = text.ceil_char_boundary((start + length).min(text.len()));
            text.replace_range(start..end, &piece);
        }
        if let Err(diagnostics) = load(text.as_bytes(), "changed") {
            prop_assert!(!diagnostics.list().is_empty());
            for diagnostic in diagnostics.list() {
                let line = diagnostic.position.map_or(0, |position| position.line);
                prop_assert!((1..=text.lines().count() + 1).contains(&line), "{}", diagnostic);
                prop_assert!(!diagnostic.message.is_empty());
            }
        }
    }
}
