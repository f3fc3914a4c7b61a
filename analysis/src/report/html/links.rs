//! What a page shows beside the summary: where the raw files of a run lie, and what its boards did.

use std::{
    fs,
    path::{Component, Path, PathBuf},
};

use crate::{read::Campaign, report::figures::Boards, summary::sources_by_group};

/// What a page shows beside the summary.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// For each campaign and each of its sources, the way from the page's directory to the source's.
    prefixes: Vec<Vec<String>>,
    /// What the boards did.
    pub(in crate::report) boards: Boards,
}

impl Sources {
    /// Links for a page in `page_directory`, relative, so that page and results can be moved together; and the boards'
    /// power files.
    #[must_use]
    pub fn read(campaigns: &[Campaign], page_directory: &Path) -> Self {
        let page_directory = fs::canonicalize(page_directory).unwrap_or_else(|_| page_directory.to_owned());
        let prefixes = sources_by_group(campaigns)
            .into_iter()
            .map(|group| group.into_iter().map(|source| relative(&page_directory, &source.directory)).collect())
            .collect();
        Self { prefixes, boards: Boards::read(campaigns) }
    }

    /// The address of a file of a source.
    pub(super) fn to(&self, campaign: usize, source: usize, path: &str) -> Option<String> {
        let prefix = self.prefixes.get(campaign)?.get(source)?;
        Some(escape(&if prefix.is_empty() { path.to_owned() } else { format!("{prefix}/{path}") }))
    }
}

/// The way from one absolute directory to another.
fn relative(from: &Path, to: &Path) -> String {
    let (from, to): (Vec<Component<'_>>, Vec<Component<'_>>) = (from.components().collect(), to.components().collect());
    let shared = from.iter().zip(&to).take_while(|(left, right)| left == right).count();
    let mut path: PathBuf = from[shared..].iter().map(|_| "..").collect();
    path.extend(&to[shared..]);
    path.to_string_lossy().into_owned()
}

/// A path as part of an address: everything but letters, digits and a few signs by its bytes.
fn escape(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b'~' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// Text as an address that holds it: a link that saves it as a file without any server.
pub fn data_address(media_type: &str, text: &str) -> String {
    format!("data:{media_type};charset=utf-8,{}", escape(text))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("/a/b", "/a/b", "")]
    #[case("/a", "/a/b c", "b c")]
    #[case("/a/x/y", "/a/b", "../../b")]
    fn ways_are_relative(#[case] from: &str, #[case] to: &str, #[case] expected: &str) {
        assert_eq!(relative(Path::new(from), Path::new(to)), expected);
    }

    #[test]
    fn signs_that_end_an_address_are_escaped() {
        assert_eq!(escape("r1 a#?%"), "r1%20a%23%3F%25");
    }
}
