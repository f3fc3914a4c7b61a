//! The text of an attempt's `SHA256SUMS`: which files it may name, read without trust in who wrote it.

use std::{collections::BTreeMap, fmt};

use thiserror::Error;

/// Longest path of a file below its attempt, in bytes.
const LONGEST_PATH: usize = 200;
/// Most directories and names in such a path: `servers/0/evidence/pre.json` has four.
const DEEPEST: usize = 6;
/// What a file of an attempt may end with.
const EXTENSIONS: [&str; 7] = ["csv", "json", "jsonl", "log", "pem", "txt", "xml"];

/// Files of an attempt by their paths below it, each with the SHA-256 of its content in hex.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunFiles {
    sums: BTreeMap<String, String>,
}

/// A text is no list of an attempt's files.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum RunFilesError {
    /// A line is not what `sha256sum` writes.
    #[error("SHA256SUMS line {line}: not 64 lower-case hex digits, two spaces and a path")]
    Line {
        /// Number of the line, from 1.
        line: usize,
    },
    /// A path is none that an attempt has.
    #[error("SHA256SUMS line {line}: {reason}")]
    Path {
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: PathProblem,
    },
    /// A path stands twice.
    #[error("SHA256SUMS line {line}: {path} stands in it twice")]
    Twice {
        /// Number of the line, from 1.
        line: usize,
        /// The path.
        path: String,
    },
    /// An attempt without its identity.
    #[error("SHA256SUMS: names no run.json, which says what the attempt was")]
    NoRunFile,
    /// More files than an attempt may have.
    #[error("SHA256SUMS: names more than {most} files")]
    TooMany {
        /// The most.
        most: usize,
    },
}

/// Why a path names no file of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathProblem {
    /// It is too long.
    TooLong,
    /// It has too many parts.
    TooDeep,
    /// A part is empty, begins with a dot, or has another character than letters, digits, dot, hyphen and underscore.
    Part,
    /// Neither a file of the attempt itself nor one below `servers/<ordinal>/`.
    Place,
    /// A kind of file that attempts do not have.
    Extension,
}

impl fmt::Display for PathProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "the path is longer than {LONGEST_PATH} bytes"),
            Self::TooDeep => write!(f, "the path has more than {DEEPEST} parts"),
            Self::Part => f.write_str(
                "the path is absolute, has an empty part, one that begins with a dot, or characters other than letters, \
                 digits, dot, hyphen and underscore",
            ),
            Self::Place => f.write_str("the path is neither a file of the attempt nor one below servers/<ordinal>/"),
            Self::Extension => write!(f, "the file's name ends in none of {}", EXTENSIONS.join(", ")),
        }
    }
}

impl RunFiles {
    /// Reads the text of `SHA256SUMS`.
    ///
    /// # Errors
    /// A line, a path or the whole is not what an attempt has; the message names the line.
    pub fn parse(text: &str, most: usize) -> Result<Self, RunFilesError> {
        let mut sums = BTreeMap::new();
        for (line, content) in (1..).zip(text.lines()) {
            let (sum, path) = content.split_once("  ").ok_or(RunFilesError::Line { line })?;
            if !is_sha256(sum) {
                return Err(RunFilesError::Line { line });
            }
            check_path(path).map_err(|reason| RunFilesError::Path { line, reason })?;
            if sums.insert(path.to_owned(), sum.to_owned()).is_some() {
                return Err(RunFilesError::Twice { line, path: path.to_owned() });
            }
            if sums.len() > most {
                return Err(RunFilesError::TooMany { most });
            }
        }
        if sums.contains_key("run.json") { Ok(Self { sums }) } else { Err(RunFilesError::NoRunFile) }
    }

    /// Files that were summed here.
    pub fn of(sums: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { sums: sums.into_iter().collect() }
    }

    /// The text of `SHA256SUMS`, by path.
    pub fn to_text(&self) -> String {
        self.sums.iter().map(|(path, sum)| format!("{sum}  {path}\n")).collect()
    }

    /// Paths with their sums, by path.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.sums.iter().map(|(path, sum)| (path.as_str(), sum.as_str()))
    }

    /// Sum of a file.
    pub fn sum_of(&self, path: &str) -> Option<&str> {
        self.sums.get(path).map(String::as_str)
    }

    /// Sets the sum of a file.
    pub fn set(&mut self, path: &str, sum: String) {
        self.sums.insert(path.to_owned(), sum);
    }

    /// Whether both name the same files with the same sums, `run.json` aside.
    pub fn same_but_for_the_verdict(&self, other: &Self) -> bool {
        let rest = |files: &Self| -> BTreeMap<String, String> {
            files.sums.iter().filter(|(path, _)| *path != "run.json").map(|(p, s)| (p.clone(), s.clone())).collect()
        };
        rest(self) == rest(other)
    }
}

/// Whether a text is a SHA-256 as we write it: 64 lower-case hex digits.
pub fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether a path may name a file of an attempt. What passes is safe on every file system and in every URL.
pub fn check_path(path: &str) -> Result<(), PathProblem> {
    if path.len() > LONGEST_PATH {
        return Err(PathProblem::TooLong);
    }
    let parts: Vec<&str> = path.split('/').collect();
    if parts.len() > DEEPEST {
        return Err(PathProblem::TooDeep);
    }
    if !parts.iter().all(|part| is_plain(part)) {
        return Err(PathProblem::Part);
    }
    let [first, .., last] = parts.as_slice() else {
        return if is_known_kind(path) { Ok(()) } else { Err(PathProblem::Extension) };
    };
    let ordinal = parts[1];
    if *first != "servers" || parts.len() < 3 || ordinal.len() > 5 || !ordinal.bytes().all(|b| b.is_ascii_digit()) {
        return Err(PathProblem::Place);
    }
    if is_known_kind(last) { Ok(()) } else { Err(PathProblem::Extension) }
}

fn is_plain(part: &str) -> bool {
    !part.is_empty()
        && !part.starts_with('.')
        && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
}

fn is_known_kind(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, extension)| EXTENSIONS.contains(&extension))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    const SUM: &str = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

    #[rstest]
    #[case("run.json")]
    #[case("bench.json")]
    #[case("router-metrics.json")]
    #[case("loadgen.log")]
    #[case("servers/0/vllm-metrics.json")]
    #[case("servers/63/power-GPU-0b5d4e3c-1d5e-4f2a-9a53-7f1f3f3f3f3f.csv")]
    #[case("servers/12/evidence/nonce-post.json")]
    #[case("servers/0/logs/engine.log")]
    fn files_of_an_attempt_are_taken(#[case] path: &str) {
        assert_eq!(check_path(path), Ok(()));
    }

    #[rstest]
    #[case::above("../run.json", PathProblem::Part)]
    #[case::above_within("servers/0/../../../plan.json", PathProblem::Part)]
    #[case::absolute("/etc/cron.d/x.json", PathProblem::Part)]
    #[case::empty("", PathProblem::Part)]
    #[case::empty_part("servers//x.json", PathProblem::Part)]
    #[case::here("./run.json", PathProblem::Part)]
    #[case::hidden("servers/0/.ssh/x.json", PathProblem::Part)]
    #[case::control("servers/0/a\u{7}.json", PathProblem::Part)]
    #[case::newline("run.json\n", PathProblem::Part)]
    #[case::nul("run.json\0", PathProblem::Part)]
    #[case::backslash("servers\\0\\x.json", PathProblem::Part)]
    #[case::percent("servers/0/%2e%2e/x.json", PathProblem::Part)]
    #[case::not_ascii("servers/0/ä.json", PathProblem::Part)]
    #[case::the_commit_itself("SHA256SUMS", PathProblem::Extension)]
    #[case::a_program("loadgen.sh", PathProblem::Extension)]
    #[case::another_directory("runs/0/x.json", PathProblem::Place)]
    #[case::no_ordinal("servers/a/x.json", PathProblem::Place)]
    #[case::server_file_itself("servers/0.json", PathProblem::Place)]
    #[case::deep("servers/0/a/b/c/d/e.json", PathProblem::TooDeep)]
    fn other_paths_are_refused(#[case] path: &str, #[case] problem: PathProblem) {
        assert_eq!(check_path(path), Err(problem));
    }

    #[test]
    fn a_long_path_is_refused() {
        assert_eq!(check_path(&format!("{}.json", "a".repeat(LONGEST_PATH))), Err(PathProblem::TooLong));
    }

    #[rstest]
    #[case::no_space(&format!("{SUM} run.json\n"), RunFilesError::Line { line: 1 })]
    #[case::short_sum("44136fa  run.json\n", RunFilesError::Line { line: 1 })]
    #[case::upper_case(&format!("{}  run.json\n", SUM.to_uppercase()), RunFilesError::Line { line: 1 })]
    #[case::binary_mark(&format!("{SUM} *run.json\n"), RunFilesError::Line { line: 1 })]
    #[case::empty_line(&format!("{SUM}  run.json\n\n"), RunFilesError::Line { line: 2 })]
    #[case::carriage_return(&format!("{SUM}  run.json\r\r\n"), RunFilesError::Path { line: 1, reason: PathProblem::Part })]
    #[case::twice(&format!("{SUM}  run.json\n{SUM}  run.json\n"), RunFilesError::Twice { line: 2, path: "run.json".into() })]
    #[case::without_identity(&format!("{SUM}  bench.json\n"), RunFilesError::NoRunFile)]
    #[case::nothing("", RunFilesError::NoRunFile)]
    #[case::too_many(&format!("{SUM}  a.json\n{SUM}  b.json\n{SUM}  run.json\n"), RunFilesError::TooMany { most: 2 })]
    fn a_bad_list_is_refused_by_line(#[case] text: &str, #[case] expected: RunFilesError) {
        assert_eq!(RunFiles::parse(text, 2), Err(expected));
    }

    proptest! {
        #[test]
        fn what_is_taken_stays_below_the_attempt(path in "\\PC{0,60}|[a-z./0-9]{1,40}|servers/[0-9]{1,2}/[a-z./]{1,20}\\.json") {
            if check_path(&path).is_ok() {
                let components: Vec<_> = std::path::Path::new(&path).components().collect();
                prop_assert!(components.iter().all(|part| matches!(part, std::path::Component::Normal(_))));
                prop_assert_eq!(components.len(), path.split('/').count());
                let object = object_store::path::Path::from(path.as_str());
                prop_assert_eq!(object.as_ref(), path.as_str());
            }
        }

        #[test]
        fn what_is_written_is_read_back(names in prop::collection::btree_set("[a-z]{1,8}\\.json", 0..20)) {
            let named = names.into_iter().chain(["run.json".to_owned()]).map(|path| (path, SUM.to_owned()));
            let files = RunFiles::of(named);
            prop_assert_eq!(RunFiles::parse(&files.to_text(), 100), Ok(files));
        }

        #[test]
        fn no_text_makes_it_panic(text in "(?s).{0,300}") {
            let _ = RunFiles::parse(&text, 10);
        }
    }
}
