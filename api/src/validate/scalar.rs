//! What YAML reads in a word without quotes. The API server's clients read YAML 1.1, where `On` is a boolean and
//! `010` is eight, so a file must be read so here too, or it would mean something else in a cluster.

/// What a plain scalar means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plain {
    /// Nothing.
    Null,
    /// A boolean, however it is spelled.
    Boolean(bool),
    /// A whole number in plain decimal digits.
    Integer(i64),
    /// A number with a fraction or an exponent, in another base, with underscores, or too large.
    OtherNumber,
    /// Text.
    Text,
}

impl Plain {
    /// Reads a word that stands without quotes.
    pub fn read(word: &str) -> Self {
        match word {
            "" | "~" | "null" | "Null" | "NULL" => return Self::Null,
            "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "y" | "Y" | "on" | "On" | "ON" => {
                return Self::Boolean(true);
            }
            "false" | "False" | "FALSE" | "no" | "No" | "NO" | "n" | "N" | "off" | "Off" | "OFF" => {
                return Self::Boolean(false);
            }
            _ => {}
        }
        let unsigned = word.strip_prefix(['-', '+']).unwrap_or(word);
        let decimal = !unsigned.is_empty() && unsigned.bytes().all(|byte| byte.is_ascii_digit());
        if decimal && (unsigned == "0" || !unsigned.starts_with('0')) {
            return word.parse().map_or(Self::OtherNumber, Self::Integer);
        }
        if is_other_number(unsigned) { Self::OtherNumber } else { Self::Text }
    }
}

fn is_other_number(unsigned: &str) -> bool {
    if matches!(unsigned, ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    let digits = unsigned.replace('_', "");
    let based = |prefix: &str, radix: u32| {
        digits.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty() && rest.chars().all(|c| c.is_digit(radix)))
    };
    if based("0x", 16) || based("0X", 16) || based("0o", 8) || based("0b", 2) {
        return true;
    }
    // Rust's own reader knows "inf" and "infinity", which YAML reads as text: a number here has a digit first.
    let number = digits.strip_prefix('.').unwrap_or(&digits);
    number.starts_with(|c: char| c.is_ascii_digit()) && digits.parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::Plain;

    #[rstest]
    #[case::empty("", Plain::Null)]
    #[case::tilde("~", Plain::Null)]
    #[case::on("On", Plain::Boolean(true))]
    #[case::off("off", Plain::Boolean(false))]
    #[case::short_no("n", Plain::Boolean(false))]
    #[case::zero("0", Plain::Integer(0))]
    #[case::negative("-7", Plain::Integer(-7))]
    #[case::too_large("99999999999999999999", Plain::OtherNumber)]
    #[case::octal("010", Plain::OtherNumber)]
    #[case::hexadecimal("0x1F", Plain::OtherNumber)]
    #[case::underscores("1_000", Plain::OtherNumber)]
    #[case::fraction("1.5", Plain::OtherNumber)]
    #[case::leading_point(".5", Plain::OtherNumber)]
    #[case::exponent("12e45", Plain::OtherNumber)]
    #[case::infinity(".inf", Plain::OtherNumber)]
    #[case::forty_zeros("0000000000000000000000000000000000000000", Plain::OtherNumber)]
    #[case::date("2026-07-01", Plain::Text)]
    #[case::version("1.2.3", Plain::Text)]
    #[case::quantity("64Gi", Plain::Text)]
    #[case::word_inf("inf", Plain::Text)]
    #[case::word_nan("nan", Plain::Text)]
    #[case::dash("-", Plain::Text)]
    fn a_plain_word_means_what_yaml_1_1_says(#[case] word: &str, #[case] meaning: Plain) {
        assert_eq!(Plain::read(word), meaning);
    }
}
