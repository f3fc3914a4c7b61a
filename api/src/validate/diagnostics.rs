//! What is wrong with a file: where, in which field, and what to do about it.

use std::{fmt, sync::Arc};

/// Most diagnostics that are kept of one file; who has this many wants to mend some first.
const MOST: usize = 50;

/// A place in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl Position {
    /// Where a file begins.
    pub(super) const START: Self = Self { line: 1, column: 1 };
}

/// One thing that is wrong. Prints as `campaign.yaml:12:5: spec.engine: message`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Name of the file, as it was given.
    pub file: Arc<str>,
    /// Where it is wrong; absent when the file could not be read at all.
    pub position: Option<Position>,
    /// Path of the field, for instance `spec.experiments[2].load`; empty when the whole document is meant.
    pub path: String,
    /// What is wrong and how to mend it.
    pub message: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, position, path, message } = self;
        write!(f, "{file}:")?;
        if let Some(Position { line, column }) = position {
            write!(f, "{line}:{column}:")?;
        }
        if !path.is_empty() {
            write!(f, " {path}:")?;
        }
        write!(f, " {message}")
    }
}

/// Everything that is wrong with a file, in the order of its lines; never empty. Prints one line for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
    omitted: usize,
}

impl Diagnostics {
    /// The diagnostics of one file, from findings in any order.
    pub(super) fn new(file: &str, mut findings: Vec<Finding>) -> Self {
        findings.sort_by_key(|finding| finding.position);
        findings.dedup();
        let omitted = findings.len().saturating_sub(MOST);
        let file: Arc<str> = file.into();
        let list = findings
            .into_iter()
            .take(MOST)
            .map(|Finding { position, path, message }| Diagnostic {
                file: Arc::clone(&file),
                position: Some(position),
                path,
                message,
            })
            .collect();
        Self { list, omitted }
    }

    /// The diagnostic of a file that could not be read.
    pub(super) fn unreadable(file: &str, message: String) -> Self {
        let diagnostic = Diagnostic { file: file.into(), position: None, path: String::new(), message };
        Self { list: vec![diagnostic], omitted: 0 }
    }

    /// The first ones, in the order of the file's lines.
    #[must_use]
    pub fn list(&self) -> &[Diagnostic] {
        &self.list
    }

    /// How many more there are than are listed.
    #[must_use]
    pub fn omitted(&self) -> usize {
        self.omitted
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.list.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{diagnostic}")?;
        }
        if self.omitted > 0 {
            write!(f, "\n{} more; mend these first", self.omitted)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

/// One thing that is wrong, before it is known which file is spoken of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub position: Position,
    pub path: String,
    pub message: String,
}
