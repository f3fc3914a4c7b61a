//! Findings in words: the nearest valid name, what a pattern allows, a value as the reader wrote it.

/// Most characters of a value that are repeated in a message.
const MOST_QUOTED: usize = 40;

/// What the patterns of the schemas allow; a pattern without words here would be shown raw.
const PATTERNS: &[(&str, &str)] = &[
    (r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", "use lower-case letters, digits and '-', with a letter or digit at both ends"),
    (
        r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$",
        "use lower-case letters, digits, '-' and '.', with a letter or digit at both ends",
    ),
    (
        r"^(([A-Za-z0-9][A-Za-z0-9_.-]*)?[A-Za-z0-9])?$",
        "use letters, digits, '-', '_' and '.', with a letter or digit at both ends",
    ),
    (r"^[A-Za-z0-9][A-Za-z0-9._-]*$", "use letters, digits, '.', '_' and '-', beginning with a letter or digit"),
    (
        r"^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$",
        "write a path as in traces/july.jsonl, of letters, digits, '.', '_' and '-', without a slash before it",
    ),
    (r"^[A-Za-z0-9._-]+$", "use letters, digits, '.', '_' and '-'"),
    (
        r"^[A-Za-z0-9][A-Za-z0-9 ._()+-]*$",
        "use letters, digits, spaces and . _ ( ) + -, beginning with a letter or digit",
    ),
    (
        r"^[A-Za-z0-9{][A-Za-z0-9 ._(){}+-]*$",
        "use letters, digits, spaces, . _ ( ) + - and fields in braces, beginning with a letter, a digit or a field",
    ),
    (
        r"^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*$",
        "write owner/name, as in meta-llama/Llama-3.1-8B-Instruct",
    ),
    (r"^[0-9a-f]{40}$", "give the commit as 40 lower-case hex digits; a branch or tag may move"),
    (r"^[0-9a-f]{64}$", "give 64 lower-case hex digits"),
    (r"^[0-9]{1,20}$", "give decimal digits"),
    (r"^[A-Z]{3}$", "give the three capital letters of ISO 4217, as in USD"),
    (r"^[0-9]{1,12}(\.[0-9]{1,6})?$", "give a decimal number with at most 6 decimals, as in \"6.98\""),
    (r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$", "give a date as YYYY-MM-DD, as in 2026-07-01"),
    (r"^[0-9]+(\.[0-9]+)?m?$", "give CPUs as in \"8\" or 500m"),
    (r"^[0-9]+(\.[0-9]+)?(Ki|Mi|Gi|Ti|k|M|G|T)?$", "give bytes with a suffix Ki, Mi, Gi, Ti, k, M, G or T, as in 64Gi"),
];

/// What a pattern allows.
pub(super) fn pattern(pattern: &str) -> String {
    PATTERNS
        .iter()
        .find(|(known, _)| *known == pattern)
        .map_or_else(|| format!("it must match {pattern}"), |(_, words)| (*words).to_owned())
}

/// A value between quotes, cut when it is long.
pub(super) fn quote(text: &str) -> String {
    match text.char_indices().nth(MOST_QUOTED) {
        None => format!("\"{}\"", text.escape_debug()),
        Some((end, _)) => format!("\"{}…\"", text[..end].escape_debug()),
    }
}

/// The valid name that was most likely meant. Case, `-` and `_` are looked over: `max_num_seqs` means `maxNumSeqs`.
pub(super) fn nearest<'a>(name: &str, valid: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.chars().count() > 2 * MOST_QUOTED {
        return None;
    }
    let wanted = fold(name);
    let length = wanted.chars().count();
    let most = if length < 2 { 0 } else { length.div_ceil(3).clamp(1, 2) };
    valid
        .into_iter()
        .map(|candidate| {
            let folded = fold(candidate);
            // A word cut short, or with a word too many, is near however long the rest is.
            let begins = length > 2 && folded.len() > 2 && (folded.starts_with(&wanted) || wanted.starts_with(&folded));
            let distance = strsim::damerau_levenshtein(&wanted, &folded);
            (if begins { distance.min(1) } else { distance }, candidate)
        })
        .filter(|(distance, candidate)| *distance <= most.max(candidate.len() / 5))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn fold(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '-' | '_')).flat_map(char::to_lowercase).collect()
}

/// Names in a row, as `a, b, c`.
pub(super) fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::Value;

    use super::{PATTERNS, nearest, quote};

    #[rstest]
    #[case::missing_letter("profle", Some("profile"))]
    #[case::other_case("Profile", Some("profile"))]
    #[case::as_on_the_command_line("max-num-seqs", Some("maxNumSeqs"))]
    #[case::as_in_python("max_num_seqs", Some("maxNumSeqs"))]
    #[case::swapped("relpicas", Some("replicas"))]
    #[case::nothing_near("temperature", None)]
    #[case::one_letter("x", None)]
    fn the_nearest_name_is_the_one_that_was_meant(#[case] name: &str, #[case] meant: Option<&str>) {
        assert_eq!(nearest(name, ["profile", "replicas", "maxNumSeqs", "maxModelLen"]), meant);
    }

    #[test]
    fn a_long_value_is_cut_between_characters() {
        assert_eq!(quote(&"ä".repeat(50)), format!("\"{}…\"", "ä".repeat(40)));
    }

    #[test]
    fn every_pattern_of_the_schemas_has_words() {
        fn walk(schema: &Value) {
            if let Some(pattern) = schema.get("pattern").and_then(Value::as_str) {
                assert!(PATTERNS.iter().any(|(known, _)| *known == pattern), "say in words what {pattern} allows");
            }
            schema.as_object().into_iter().flat_map(|fields| fields.values()).for_each(walk);
        }
        for crd in crate::schema::crds() {
            walk(&serde_json::json!(crd.spec.versions[0].schema));
        }
    }
}
