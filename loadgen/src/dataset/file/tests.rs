//! What files promise: whole or refused, by line and reason; the same requests for the same seed.

use std::io::Write;

use rstest::rstest;

use super::*;

fn open(content: &str, format: FileFormat) -> (tempfile::NamedTempFile, Result<RequestFile, DatasetError>) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(content.as_bytes()).unwrap();
    let opened = RequestFile::open(file.path(), format, &TokenCounter::Estimate, &|_| ());
    (file, opened)
}

fn all(count: usize) -> Selection {
    Selection { count, seed: Some(1), part: 0, oversample: false }
}

fn only(content: &str, format: FileFormat) -> PlannedRequest {
    let (_file, opened) = open(content, format);
    opened.unwrap().select(all(1), None).unwrap().request(0).unwrap()
}

fn conversation(prompt: usize, answer: usize) -> String {
    let turn = |tokens: usize| serde_json::json!({"from": "human", "value": "abcd".repeat(tokens)});
    serde_json::json!({"id": "x", "conversations": [turn(prompt), turn(answer), turn(9)]}).to_string()
}

#[test]
fn a_toolbench_line_gives_its_text_and_sampling() {
    let line = r#"{"text":"abcde","sampling_params":{"temperature":0.5,"max_new_tokens":32}}"#;
    let prompt = Prompt::Text("abcde".to_owned());
    let expected = PlannedRequest { prompt, expected_prompt_tokens: 2, max_tokens: 32, temperature: Some(0.5) };
    assert_eq!(only(line, FileFormat::Toolbench), expected);
}

#[test]
fn a_custom_line_may_be_token_ids_and_may_leave_its_cap_out() {
    assert_eq!(only("{\"prompt\":\"a\"}\n", FileFormat::Custom).max_tokens, DEFAULT_OUTPUT_TOKENS);
    let ids = only("{\"prompt\":[7,8,9],\"output_tokens\":5}", FileFormat::Custom);
    assert_eq!((ids.prompt, ids.expected_prompt_tokens, ids.max_tokens), (Prompt::TokenIds(vec![7, 8, 9]), 3, 5));
}

#[test]
fn a_conversation_asks_for_an_answer_as_long_as_the_recorded_one() {
    let request = only(&format!("[{}]", conversation(10, 20)), FileFormat::Sharegpt);
    assert_eq!((request.expected_prompt_tokens, request.max_tokens), (10, 20));
    assert_eq!(request.prompt, Prompt::Text("abcd".repeat(10)));
}

#[test]
fn conversations_without_an_answer_too_short_or_too_long_are_left_out_and_counted() {
    let single = r#"{"conversations": [{"value": "a long enough question"}]}"#.to_owned();
    let records = [conversation(4, 4), single, conversation(3, 50), conversation(1025, 50), conversation(1000, 1049)];
    let (_file, opened) = open(&records.join("\n"), FileFormat::Sharegpt);
    let file = opened.unwrap();
    assert_eq!((file.len(), file.left_out()), (1, 4));
    let error = file.select(all(2), None).unwrap_err().to_string();
    assert!(error.contains("1 requests in it (4 conversations") && error.contains("and 2 are asked for"), "{error}");
}

#[rstest]
#[case::no_json(FileFormat::Toolbench, "{\"text\":\"a\"}\n\nnot json\n", 3, "expected ident at column 2")]
#[case::no_text(FileFormat::Toolbench, "{\"text\":\"a\"}\n{\"prompt\":\"b\"}\n", 2, "missing field `text`")]
#[case::empty_text(FileFormat::Toolbench, "{\"text\":\"\"}\n", 1, "text is empty")]
#[case::no_output(
    FileFormat::Toolbench,
    "{\"text\":\"a\",\"sampling_params\":{\"max_new_tokens\":0}}",
    1,
    "max_new_tokens is 0"
)]
#[case::cold(
    FileFormat::Toolbench,
    "{\"text\":\"a\",\"sampling_params\":{\"temperature\":-1}}",
    1,
    "temperature is -1"
)]
#[case::cut_off(FileFormat::Toolbench, "{\"text\":\"a\"}\n{\"text\":\"b", 2, "EOF")]
#[case::cut_off_before_a_line_end(FileFormat::Toolbench, "{\"text\":\n", 1, "EOF while parsing a value at column 8")]
#[case::in_its_second_line(
    FileFormat::Sharegpt,
    "[\n{\"conversations\":\n7}]",
    2,
    "expected a sequence at column 1 of the record's line 2"
)]
#[case::no_characters(FileFormat::Custom, "{\"prompt\":\"\"}\n", 1, "prompt is empty")]
#[case::no_ids(FileFormat::Custom, "{\"prompt\":[]}\n", 1, "prompt is empty")]
#[case::a_number(FileFormat::Custom, "{\"prompt\":5}\n", 1, "neither a text nor a list of token ids")]
#[case::negative(FileFormat::Custom, "{\"prompt\":\"a\",\"output_tokens\":-3}\n", 1, "invalid value")]
#[case::no_turns(FileFormat::Sharegpt, "[{\"id\": 1}]", 1, "missing field `conversations`")]
#[case::a_turn_of_nothing(
    FileFormat::Sharegpt,
    "[\n{\"conversations\": [{\"from\": \"gpt\"}]}]",
    2,
    "missing field `value`"
)]
fn a_bad_record_is_named_and_nothing_is_used(
    #[case] format: FileFormat,
    #[case] content: &str,
    #[case] line: usize,
    #[case] reason: &str,
) {
    let (_file, opened) = open(content, format);
    let error = opened.unwrap_err();
    assert!(
        matches!(&error, DatasetError::Line { line: found, reason: why, .. } if *found == line && why.contains(reason)),
        "{error}"
    );
}

#[rstest]
#[case::of_nothing("")]
#[case::of_empty_lines("\n \n")]
#[case::of_an_empty_array("[]")]
fn an_empty_file_is_refused(#[case] content: &str) {
    let (_file, opened) = open(content, FileFormat::Custom);
    assert!(matches!(opened, Err(DatasetError::Empty { .. })), "{opened:?}");
}

#[test]
fn too_few_prompts_are_refused_unless_they_may_repeat() {
    let (_file, opened) = open("{\"prompt\":\"a\"}\n{\"prompt\":\"b\"}\n", FileFormat::Custom);
    let file = opened.unwrap();
    let refused = RequestFile::open(&file.path, FileFormat::Custom, &TokenCounter::Estimate, &|_| ())
        .unwrap()
        .select(all(3), None);
    assert!(matches!(refused, Err(DatasetError::TooFew { there: 2, wanted: 3, .. })), "{refused:?}");
    let source = file.select(Selection { oversample: true, ..all(5) }, Some(9)).unwrap();
    assert_eq!((source.len(), source.request(4).unwrap().max_tokens), (5, 9));
}

#[test]
fn a_file_that_changes_under_a_run_ends_it() {
    let (file, opened) = open("{\"prompt\":\"abcd\"}\n", FileFormat::Custom);
    let source = opened.unwrap().select(all(1), None).unwrap();
    assert!(source.request(0).is_ok());
    std::fs::write(file.path(), "{\"prompt\":\"abce\"}\n").unwrap();
    assert!(matches!(source.request(0), Err(DatasetError::Changed { offset: 0, .. })));
    std::fs::write(file.path(), "").unwrap();
    assert!(matches!(source.request(0), Err(DatasetError::Changed { .. })));
}
