//! Numbers for people.

use rust_decimal::Decimal;

use super::Figures;

/// A number with about four significant digits and thin groups of thousands, for instance `12 345`, `12.35`, `0.0124`.
#[must_use]
pub fn number(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let magnitude = value.abs();
    let places = match () {
        () if magnitude >= 1000.0 || magnitude == 0.0 => 0,
        () if magnitude >= 100.0 => 1,
        () if magnitude >= 10.0 => 2,
        () if magnitude >= 1.0 => 3,
        () => 4,
    };
    let text = format!("{value:.places$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    grouped(text)
}

fn grouped(text: &str) -> String {
    let (sign, digits) = text.strip_prefix('-').map_or(("", text), |digits| ("−", digits));
    let (whole, fraction) = digits.split_once('.').map_or((digits, None), |(whole, fraction)| (whole, Some(fraction)));
    let mut out = String::from(sign);
    for (position, digit) in whole.chars().enumerate() {
        if position > 0 && (whole.len() - position).is_multiple_of(3) {
            out.push(NARROW_SPACE);
        }
        out.push(digit);
    }
    if let Some(fraction) = fraction {
        out.push('.');
        out.push_str(fraction);
    }
    out
}

/// A narrow space at which no line breaks.
const NARROW_SPACE: char = '\u{202f}';

/// A percentage with its sign, for instance `−7.1 %`.
#[must_use]
pub fn signed_percent(percent: f64) -> String {
    format!("{}{NARROW_SPACE}%", signed(percent))
}

/// A change in percent with its interval, for instance `−7.1 % [−7.9, −6.4]`.
#[must_use]
pub fn percent_interval(figures: &Figures) -> String {
    let change = signed_percent(figures.change_percent);
    match figures.interval {
        Some(interval) => {
            format!("{change} [{}, {}]", signed(100.0 * (interval.low - 1.0)), signed(100.0 * (interval.high - 1.0)))
        }
        None => format!("{change} (n = 1: no interval)"),
    }
}

fn signed(percent: f64) -> String {
    let places = if percent.abs() < 1.0 { 2 } else { 1 };
    let rounded = format!("{:.places$}", percent.abs());
    let sign = match () {
        () if rounded.chars().all(|character| matches!(character, '0' | '.')) => "±",
        () if percent < 0.0 => "−",
        () => "+",
    };
    format!("{sign}{rounded}")
}

/// An amount of money with at least two decimal places.
#[must_use]
pub fn amount(amount: Decimal) -> String {
    let mut amount = amount.normalize();
    if amount.scale() < 2 {
        amount.rescale(2);
    }
    amount.to_string()
}

/// A count with its noun, for instance `1 pair`, `6 pairs`.
pub fn counted(count: u32, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// Names in a row, for instance `a, b and c`.
pub fn listed<T: AsRef<str>>(names: &[T]) -> String {
    match names {
        [] => String::new(),
        [only] => only.as_ref().to_owned(),
        [first @ .., last] => {
            let first: Vec<&str> = first.iter().map(AsRef::as_ref).collect();
            format!("{} and {}", first.join(", "), last.as_ref())
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(12_345.6, "12\u{202f}346")]
    #[case(-1_234_567.0, "−1\u{202f}234\u{202f}567")]
    #[case(512.0, "512")]
    #[case(12.346, "12.35")]
    #[case(0.012_44, "0.0124")]
    #[case(0.0, "0")]
    fn numbers_read_well(#[case] value: f64, #[case] expected: &str) {
        assert_eq!(number(value), expected);
    }

    #[rstest]
    #[case(-7.123, "−7.1\u{202f}%")]
    #[case(0.123, "+0.12\u{202f}%")]
    #[case(-0.001, "±0.00\u{202f}%")]
    fn percentages_carry_their_sign(#[case] value: f64, #[case] expected: &str) {
        assert_eq!(signed_percent(value), expected);
    }
}
