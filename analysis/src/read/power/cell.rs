//! One cell of a power file.

use jiff::civil::DateTime;

/// Whether a cell says that there is no value.
pub(super) fn blank(cell: &str) -> bool {
    let cell = cell.trim();
    cell.is_empty() || cell.starts_with('[') || matches!(cell.to_ascii_lowercase().as_str(), "n/a" | "nan" | "none")
}

/// A number with or without a unit; `None` for what the device does not have.
pub(super) fn number(cell: &str) -> Result<Option<f64>, ()> {
    if blank(cell) {
        return Ok(None);
    }
    let digits = cell.split_whitespace().next().unwrap_or_default().trim_end_matches(['%', 'W', 'C']);
    digits.parse::<f64>().ok().filter(|value| value.is_finite()).map(Some).ok_or(())
}

/// Seconds of a timestamp as `nvidia-smi` writes it, of RFC 3339 with or without a zone, or of plain seconds.
pub(super) fn moment(cell: &str) -> Option<f64> {
    if let Ok(seconds) = cell.parse::<f64>() {
        return seconds.is_finite().then_some(seconds);
    }
    if let Ok(instant) = cell.parse::<jiff::Timestamp>() {
        return Some(instant.as_duration().as_secs_f64());
    }
    let local: DateTime = cell.replacen('/', "-", 2).parse().ok()?;
    seconds(local)
}

/// A local time as seconds on a clock without a zone; `None` far from this millennium.
pub fn seconds(local: DateTime) -> Option<f64> {
    let instant = local.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
    Some(instant.as_duration().as_secs_f64())
}
