//! What lies at the paths that were given: campaigns, trees of the notebook, plain result files.

use std::{fmt::Write as _, path::PathBuf};

use crate::{
    notebook::{self, Fault, Tree},
    read::{Campaign, ReadError, campaigns, holds_campaign},
};

/// All that is to be reported.
pub(super) struct Inputs {
    /// Campaigns, those of trees too.
    pub campaigns: Vec<Campaign>,
    /// Trees and plain result files.
    pub trees: Vec<Tree>,
}

/// Reads all paths. What a tree lacks is told on standard error; files that cannot be used are an error unless they are
/// to be skipped.
///
/// # Errors
/// What cannot be read, in words.
pub(super) fn read(paths: &[PathBuf], skip_bad: bool) -> Result<Inputs, String> {
    let mut inputs = Inputs { campaigns: Vec::new(), trees: Vec::new() };
    let mut own = Vec::new();
    for path in paths {
        if holds_campaign(path) {
            own.push(path.clone());
        } else {
            let tree = Tree::read(path).map_err(|error| error.in_one_line())?;
            inputs.trees.push(tree.ok_or_else(|| ReadError::NoCampaign { path: path.clone() }.in_one_line())?);
        }
    }
    if !own.is_empty() {
        inputs.campaigns = campaigns(&own).map_err(|error| error.in_one_line())?;
    }
    for tree in &inputs.trees {
        tree.notes.iter().for_each(|note| tracing::warn!("{note}"));
        if !tree.bad.is_empty() && !skip_bad {
            return Err(listed(&tree.bad));
        }
        tree.bad.iter().for_each(|fault| tracing::warn!("skipped: {fault}"));
        inputs.campaigns.extend(notebook::campaigns(tree));
    }
    Ok(inputs)
}

fn listed(faults: &[Fault]) -> String {
    let mut text =
        format!("{} files or directories cannot be used; mend them, or leave them out by --skip-bad:", faults.len());
    for fault in faults {
        let _ = write!(text, "\n  {fault}");
    }
    text
}
