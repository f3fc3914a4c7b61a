//! Names of what the operator creates: the same campaign gives the same names, each within the bounds of its kind.

use crate::store::sha256_hex;

/// Longest name of a StatefulSet whose pods carry their names as labels: 63, less `-` and an ordinal of up to 64 (two
/// digits), and less `-` and the ten characters of a revision.
const MOST_SERVERS: usize = 63 - 11;

/// Name of an attempt's BenchmarkRun, of its ConfigMap and of its Job. A campaign's name has at most 40 characters, an
/// epoch at most seven digits, and a pod adds at most nine characters, so that all fit 63.
#[must_use]
pub fn attempt(campaign: &str, epoch: u64) -> String {
    format!("{}-r{epoch}", letter_first(campaign))
}

/// Name of the StatefulSet and of the headless Service of one arm's servers.
#[must_use]
pub fn servers(campaign: &str, arm: &str, boot: usize, generation: u32) -> String {
    let full = format!("{}-{arm}-b{boot}g{generation}", letter_first(campaign));
    if full.len() <= MOST_SERVERS {
        return full;
    }
    let digest = sha256_hex(full.as_bytes());
    let campaign: String = letter_first(campaign).chars().take(24).collect();
    let arm: String = arm.chars().take(14).collect();
    format!("{}-{}-{}", campaign.trim_end_matches('-'), arm.trim_end_matches('-'), &digest[..10])
}

/// Name of the Deployment and of the headless Service of the gateways before those servers.
#[must_use]
pub fn gateways(campaign: &str, arm: &str, boot: usize, generation: u32) -> String {
    format!("{}-gw", servers(campaign, arm, boot, generation))
}

/// Name of the Job that downloads a repository's revision to a claim; several campaigns may share it.
#[must_use]
pub fn weights(repository: &str, revision: &str, claim: &str) -> String {
    format!("weights-{}", &sha256_hex(format!("{repository}@{revision}>{claim}").as_bytes())[..16])
}

/// Name of the Service by which a run's load generators find each other.
#[must_use]
pub fn load(campaign: &str) -> String {
    format!("{}-load", letter_first(campaign))
}

/// Name of the ConfigMap with a campaign's summary.
#[must_use]
pub fn results(campaign: &str) -> String {
    format!("{}-results", letter_first(campaign))
}

/// The name of a Service begins with a letter; that of a campaign need not.
fn letter_first(campaign: &str) -> String {
    if campaign.starts_with(|first: char| first.is_ascii_digit()) {
        format!("c{campaign}")
    } else {
        campaign.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const LONG: &str = "a-campaign-with-a-name-of-forty-letters-";

    #[rstest]
    #[case::short("a", "cc-on", "a-cc-on-b0g1")]
    #[case::digit_first("3b", "cc-on", "c3b-cc-on-b0g1")]
    fn names_are_readable(#[case] campaign: &str, #[case] arm: &str, #[case] expected: &str) {
        assert_eq!(servers(campaign, arm, 0, 1), expected);
    }

    #[rstest]
    #[case::longest(&LONG.replace(char::is_whitespace, "")[..40], "an-arm-of-twenty-let")]
    #[case::longest_with_a_digit("1234567890123456789012345678901234567890", "12345678901234567890")]
    fn the_longest_names_fit_their_kinds(#[case] campaign: &str, #[case] arm: &str) {
        let servers = servers(campaign, arm, 1_000_000, 1000);

        assert!(servers.len() <= MOST_SERVERS, "{servers}");
        assert!(gateways(campaign, arm, 1_000_000, 1000).len() <= 63);
        assert!(attempt(campaign, 1_000_000).len() + 9 <= 63);
        assert!(results(campaign).len() <= 63);
    }

    #[test]
    fn generations_of_a_long_name_differ() {
        assert_ne!(servers(LONG, "arm-of-an-experiment", 0, 1), servers(LONG, "arm-of-an-experiment", 0, 2));
    }
}
