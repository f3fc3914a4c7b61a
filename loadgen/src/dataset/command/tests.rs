//! `teebench dataset` as a whole: what it writes can be read again and is the same.

use clap::Parser;
use rstest::rstest;

use super::*;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

fn run_line(line: &str) -> ExitCode {
    let args = Cli::parse_from(std::iter::once("dataset").chain(line.split_whitespace())).args;
    run(&args).unwrap()
}

fn read(path: &Path, format: FileFormat) -> Vec<super::super::PlannedRequest> {
    let file = RequestFile::open(path, format, &TokenCounter::Estimate, &|_| ()).unwrap();
    let selection = Selection { count: file.len(), seed: None, part: 0, oversample: false };
    let source = file.select(selection, None).unwrap();
    (0..source.len()).map(|index| source.request(index).unwrap()).collect()
}

#[rstest]
#[case::toolbench("toolbench --tools 5", FileFormat::Toolbench)]
#[case::control("toolbench --no-reuse", FileFormat::Toolbench)]
#[case::random("random --input-len 40 --range-ratio 0.5 --prefix-len 8", FileFormat::Custom)]
#[case::prefixes("prefix-repetition --num-prefixes 3 --form text", FileFormat::Custom)]
fn a_written_data_set_is_read_again_as_it_was(#[case] command: &str, #[case] format: FileFormat) {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str| {
        let path = directory.path().join(name);
        let code = run_line(&format!("{command} --num-prompts 9 --seed 4 --output-len 11 --out {}", path.display()));
        assert_eq!(code, ExitCode::SUCCESS);
        assert_eq!(run_line(&format!("inspect {} -o json", path.display())), ExitCode::SUCCESS);
        path
    };
    let (first, second) = (write("first.jsonl"), write("second.jsonl"));
    assert_eq!(std::fs::read(&first).unwrap(), std::fs::read(&second).unwrap());
    let requests = read(&first, format);
    assert_eq!(requests.len(), 9);
    assert!(requests.iter().all(|request| (5..=17).contains(&request.max_tokens) && !request.prompt.is_empty()));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2, "nothing but the data sets is left");
}

#[rstest]
#[case::no_file("inspect /nowhere/at-all.jsonl")]
#[case::no_tokenizer("random --form text --tokenizer /nowhere/tokenizer.json")]
#[case::more_prefixes("prefix-repetition --num-prompts 2 --num-prefixes 3")]
#[case::a_share_beyond_one("toolbench --duplicates 1.5")]
#[case::a_ratio_of_one("random --range-ratio 1")]
fn bad_input_is_told_by_the_exit_code(#[case] line: &str) {
    assert_eq!(run_line(line), ExitCode::from(BAD_INPUT));
}

#[rstest]
#[case(r#"{"conversations": []}"#, InspectFormat::Sharegpt)]
#[case("[{\"conversations\": []}]", InspectFormat::Sharegpt)]
#[case(r#"{"text": "a"}"#, InspectFormat::Toolbench)]
#[case(r#"{"prompt": "a"}"#, InspectFormat::Custom)]
#[case(r#"{"timestamp": 0, "input_length": 4}"#, InspectFormat::Trace)]
fn the_first_record_tells_the_format(#[case] content: &str, #[case] expected: InspectFormat) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), content).unwrap();
    assert_eq!(detected(file.path()).unwrap(), expected);
    std::fs::write(file.path(), r#"{"other": 1}"#).unwrap();
    assert!(detected(file.path()).unwrap_err().to_string().contains("give --format"));
}
