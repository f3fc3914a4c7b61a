//! A description for people: figures and bars, as wide as any terminal.

use std::fmt::Write;

use super::{Bin, Depth, Description, Group, Lengths, Sharing};

/// Columns of the longest bar.
const BAR_COLUMNS: usize = 40;
/// A bar's end, in eighths of a column.
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/// The description as text.
pub(in crate::dataset) fn text(description: &Description) -> String {
    let Description { requests, exact_tokens, sha256, prompt_tokens, output_tokens, arrivals_seconds, sharing } =
        description;
    let mut text = String::new();
    let about = if *exact_tokens { "" } else { " (about: 4 bytes to a token)" };
    line(&mut text, format_args!("requests       {requests}"));
    if let Some(sha256) = sha256 {
        line(&mut text, format_args!("file           sha256 {sha256}"));
    }
    if let Some(seconds) = arrivals_seconds {
        let rate = *requests as f64 / seconds.max(f64::MIN_POSITIVE);
        line(&mut text, format_args!("arrivals       {seconds:.1} s, {rate:.2} a second"));
    }
    line(&mut text, format_args!("prompt tokens  {}{about}", in_words(prompt_tokens)));
    line(&mut text, format_args!("output tokens  {}", in_words(output_tokens)));
    let Sharing {
        shared_token_share,
        exact_duplicate_share,
        common_prefix_tokens,
        by_depth,
        groups,
        top_groups,
        top_ten_share,
    } = sharing;
    line(
        &mut text,
        format_args!(
            "shared         {:.1} % of prompt tokens open an earlier prompt too; {common_prefix_tokens} tokens open all",
            shared_token_share * 100.0
        ),
    );
    line(&mut text, format_args!("duplicates     {:.1} % of prompts", exact_duplicate_share * 100.0));
    line(&mut text, format_args!("beginnings     {groups} after what all begin with"));
    line(&mut text, format_args!("\nprompt length in tokens"));
    histogram(&mut text, prompt_tokens);
    line(&mut text, format_args!("\nprompts that begin as an earlier one, by depth in tokens"));
    depths(&mut text, by_depth);
    if *groups > 1 && *groups < *requests {
        line(&mut text, format_args!("\nshare by tool or prefix (top ten {:.1} %)", top_ten_share * 100.0));
        shares(&mut text, top_groups);
    }
    text
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{arguments}");
}

fn in_words(Lengths { minimum, mean, p50, p95, p99, maximum, histogram: _ }: &Lengths) -> String {
    format!("mean {mean:.0}, min {minimum}, p50 {p50}, p95 {p95}, p99 {p99}, max {maximum}")
}

fn histogram(text: &mut String, lengths: &Lengths) {
    let most = lengths.histogram.iter().map(|bin| bin.count).max().unwrap_or(0);
    let digits = lengths.maximum.to_string().len();
    for Bin { from, to, count } in &lengths.histogram {
        let bar = bar(*count as f64, most as f64);
        line(text, format_args!("  {from:>digits$}-{to:<digits$} {bar} {count}"));
    }
}

fn depths(text: &mut String, depths: &[Depth]) {
    let digits = depths.last().map_or(1, |depth| depth.tokens.to_string().len());
    for Depth { tokens, prompts, shared } in depths {
        let (bar, percent) = (bar(*shared, 1.0), shared * 100.0);
        line(text, format_args!("  {tokens:>digits$} {bar} {percent:5.1} % of all; {prompts} are that long"));
    }
}

fn shares(text: &mut String, groups: &[Group]) {
    let most = groups.first().map_or(0.0, |group| group.share);
    let columns = groups.iter().map(|group| group.label.chars().count()).max().unwrap_or(0);
    for Group { label, share } in groups {
        line(text, format_args!("  {label:columns$} {} {:5.1} %", bar(*share, most), share * 100.0));
    }
}

/// A bar of eighths of a column, padded to the longest.
fn bar(value: f64, most: f64) -> String {
    let eighths = if most > 0.0 { (value / most * (BAR_COLUMNS * 8) as f64).round() as usize } else { 0 };
    let bar = "█".repeat(eighths / 8) + EIGHTHS[eighths % 8];
    format!("{bar:BAR_COLUMNS$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_share_and_equally_wide() {
        assert_eq!(bar(1.0, 1.0), "█".repeat(40));
        assert_eq!(bar(0.5, 1.0).trim_end(), "█".repeat(20));
        assert_eq!(bar(1.0, 320.0).trim_end(), "▏");
        assert!([0.0, 0.3, 1.0].iter().all(|value| bar(*value, 1.0).chars().count() == BAR_COLUMNS));
        assert_eq!(bar(0.0, 0.0).trim_end(), "");
    }
}
