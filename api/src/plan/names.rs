//! Names of conditions, from templates, and the slugs by which files and labels know them.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use crate::campaign::Experiment;

/// Longest slug: with the longest suffix that child resources carry it still fits a label of 63.
const LONGEST_SLUG: usize = 48;

/// What a condition's name may tell.
pub(super) struct Fields<'a> {
    pub(super) display_name: &'a str,
    pub(super) model: &'a str,
    pub(super) max_num_seqs: Option<u32>,
    pub(super) concurrency: Option<u32>,
    pub(super) rate_milli: Option<u32>,
    pub(super) input: Option<u32>,
    pub(super) output: Option<u32>,
}

/// Which fields differ between the conditions of an experiment.
#[derive(Default)]
pub(super) struct Varying {
    pub(super) max_num_seqs: bool,
    pub(super) concurrency: bool,
    pub(super) rate: bool,
    pub(super) input: bool,
    pub(super) output: bool,
}

/// The experiment's template, or by default the model followed by what varies.
pub(super) fn template(experiment: &Experiment, varying: &Varying) -> String {
    if let Some(template) = &experiment.condition_name {
        return template.clone();
    }
    let Varying { max_num_seqs, concurrency, rate, input, output } = *varying;
    let mut template = String::from("{displayName}");
    for (varies, part) in [
        (max_num_seqs, " mns-{maxNumSeqs}"),
        (rate, " rate-{rate}"),
        (concurrency, " concurrency-{concurrency}"),
        (input, " input-{input}"),
        (output, " output-{output}"),
    ] {
        if varies {
            template.push_str(part);
        }
    }
    template
}

/// The template with its fields replaced.
///
/// # Errors
/// What is wrong with the template, with the mend.
pub(super) fn render(template: &str, fields: &Fields<'_>) -> Result<String, String> {
    let Fields { display_name, model, max_num_seqs, concurrency, rate_milli, input, output } = fields;
    let number = |number: &Option<u32>, absent: &str| number.map_or_else(|| absent.to_owned(), |n| n.to_string());
    let mut name = String::with_capacity(template.len() + display_name.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (field, after) = after.split_once('}').ok_or("a brace is not closed; close it")?;
        name.push_str(before);
        match field {
            "displayName" => name.push_str(display_name),
            "model" => name.push_str(model),
            "maxNumSeqs" => name.push_str(&number(max_num_seqs, "default")),
            "concurrency" => name.push_str(&number(concurrency, "unbounded")),
            "rate" => name.push_str(&rate_milli.map_or_else(|| String::from("inf"), per_second)),
            "input" => name.push_str(&number(input, "dataset")),
            "output" => name.push_str(&number(output, "dataset")),
            unknown => {
                return Err(format!(
                    "there is no field {{{unknown}}}; choose from {{displayName}}, {{model}}, {{maxNumSeqs}}, \
                     {{concurrency}}, {{rate}}, {{input}} and {{output}}"
                ));
            }
        }
        rest = after;
    }
    name.push_str(rest);
    Ok(name)
}

/// A rate in requests per second, without needless zeros.
pub(super) fn per_second(rate_milli: u32) -> String {
    let (whole, milli) = (rate_milli / 1000, rate_milli % 1000);
    let text = format!("{whole}.{milli:03}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A slug for a name: lower-case letters, digits and hyphens, at most 48, none of those taken. A name that had to be
/// cut, or whose slug another name of the experiment has, carries the first digits of its own hash.
pub(super) fn slug(name: &str, taken: &BTreeSet<String>) -> String {
    let mut plain = String::with_capacity(name.len());
    for character in name.chars().flat_map(char::to_lowercase) {
        if character.is_ascii_alphanumeric() {
            plain.push(character);
        } else if !plain.is_empty() && !plain.ends_with('-') {
            plain.push('-');
        }
    }
    let plain = plain.trim_end_matches('-');
    if !plain.is_empty() && plain.len() <= LONGEST_SLUG && !taken.contains(plain) {
        return plain.to_owned();
    }
    let digest = hex::encode(Sha256::digest(name.as_bytes()));
    let head = if plain.is_empty() { "condition" } else { &plain[..plain.len().min(LONGEST_SLUG - 9)] };
    format!("{}-{}", head.trim_end_matches('-'), &digest[..8])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    const FIELDS: Fields<'_> = Fields {
        display_name: "Llama3.1 8B",
        model: "llama31-8b",
        max_num_seqs: Some(256),
        concurrency: Some(64),
        rate_milli: Some(14_400),
        input: Some(512),
        output: Some(128),
    };

    #[rstest]
    #[case::of_the_notebook("{displayName}-mns-{maxNumSeqs}", "Llama3.1 8B-mns-256", "llama3-1-8b-mns-256")]
    #[case::of_its_saturation("{displayName}_{concurrency}", "Llama3.1 8B_64", "llama3-1-8b-64")]
    #[case::of_its_grid("input_{input}_output_{output}", "input_512_output_128", "input-512-output-128")]
    #[case::with_a_rate("{model} at {rate} per s", "llama31-8b at 14.4 per s", "llama31-8b-at-14-4-per-s")]
    #[case::of_symbols_alone("***", "***", "condition-596f4162")]
    fn names_and_slugs(#[case] template: &str, #[case] name: &str, #[case] expected: &str) {
        let rendered = render(template, &FIELDS).unwrap();
        assert_eq!(rendered, name);
        assert_eq!(slug(&rendered, &BTreeSet::new()), expected);
    }

    #[rstest]
    #[case("{concurency}", "there is no field {concurency}; choose from")]
    #[case("{model", "a brace is not closed")]
    fn a_bad_template_is_explained(#[case] template: &str, #[case] problem: &str) {
        let error = render(template, &FIELDS).unwrap_err();
        assert!(error.starts_with(problem), "{error}");
    }

    #[rstest]
    #[case(72_000, "72")]
    #[case(14_400, "14.4")]
    #[case(1, "0.001")]
    #[case(1_000_000_000, "1000000")]
    fn rates_read_in_requests_per_second(#[case] milli: u32, #[case] text: &str) {
        assert_eq!(per_second(milli), text);
    }

    proptest! {
        #[test]
        fn slugs_are_safe_bounded_and_unique(names in prop::collection::btree_set(".{1,130}", 1..20)) {
            let mut taken = BTreeSet::new();
            for name in &names {
                let slug = slug(name, &taken);
                prop_assert!(slug.len() <= LONGEST_SLUG && !slug.is_empty());
                prop_assert!(slug.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
                prop_assert!(!slug.starts_with('-') && !slug.ends_with('-'));
                prop_assert!(taken.insert(slug), "{name}");
            }
        }
    }
}
