//! Samples in `nvidia-smi`'s CSV format, byte for byte what this command writes at one row a second, in UTC:
//!
//! ```text
//! nvidia-smi --format=csv -l 1 --query-gpu=timestamp,power.draw,utilization.gpu,utilization.memory,\
//!     clocks.current.graphics,clocks.current.memory,temperature.gpu
//! ```
//!
//! Tools that read these files convert every cell to a number, so a row with a reading missing is left out and counted.

use jiff::Timestamp;

use crate::sampler::Sample;

/// The first line, without its line feed.
pub const HEADER: &str = "timestamp, power.draw [W], utilization.gpu [%], utilization.memory [%], \
                          clocks.current.graphics [MHz], clocks.current.memory [MHz], temperature.gpu";

const NANOSECONDS_IN_SECOND: u64 = 1_000_000_000;

/// A CSV file's text, and what it leaves out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PowerCsv {
    /// Header and rows.
    pub text: String,
    /// Rows written.
    pub rows: u64,
    /// Seconds that have no row, since a reading was missing.
    pub dropped: u64,
}

/// One row without its line feed; `None` when a reading is missing.
///
/// `power.draw` is the average of the last second where the GPU gives one, as in `nvidia-smi` since Ampere, else the
/// instant power.
pub fn row(sample: &Sample) -> Option<String> {
    let timestamp = Timestamp::from_nanosecond(i128::from(sample.unix_ns)).ok()?;
    let watts = sample.power_average_mw.or(sample.power_instant_mw)? as f64 / 1000.0;
    Some(format!(
        "{}, {watts:.2} W, {} %, {} %, {} MHz, {} MHz, {}",
        timestamp.strftime("%Y/%m/%d %H:%M:%S%.3f"),
        sample.utilization_gpu_percent?,
        sample.utilization_memory_percent?,
        sample.clock_graphics_mhz?,
        sample.clock_memory_mhz?,
        sample.temperature_celsius?,
    ))
}

/// A row for each second: the first sample in it that has every reading.
///
/// The seconds from the first to the last sample count as dropped where they have no row, but for the first one when
/// the samples begin in its middle: its row lies before them.
pub fn one_row_a_second<'a>(samples: impl Iterator<Item = &'a Sample>) -> PowerCsv {
    let mut text = format!("{HEADER}\n");
    let mut rows = 0;
    let mut first_with_row = None;
    let mut seconds: Option<(u64, u64)> = None;
    let mut last_with_row = None;
    for sample in samples {
        let second = sample.unix_ns / NANOSECONDS_IN_SECOND;
        let (first, last) = seconds.unwrap_or((second, second));
        seconds = Some((first, last.max(second)));
        if last_with_row.is_some_and(|written| second <= written) {
            continue;
        }
        if let Some(row) = row(sample) {
            text.push_str(&row);
            text.push('\n');
            rows += 1;
            first_with_row.get_or_insert(second);
            last_with_row = Some(second);
        }
    }
    let spanned = seconds.map_or(0, |(first, last)| {
        let begins_late = first_with_row.is_some_and(|with_row| with_row > first);
        last - first + 1 - u64::from(begins_late)
    });
    PowerCsv { text, rows, dropped: spanned - rows }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// A capture of the command in this module's documentation on an H200 (driver 580.159.04).
    const CAPTURE: &str = include_str!("../../tests/data/smi_1hz.csv");

    fn parsed(line: &str) -> Sample {
        let cells: Vec<&str> = line.split(", ").collect();
        let number = |cell: &str| cell.split(' ').next().unwrap().parse::<f64>().unwrap();
        let time = cells[0].replace('/', "-").replacen(' ', "T", 1) + "Z";
        Sample {
            unix_ns: u64::try_from(time.parse::<Timestamp>().unwrap().as_nanosecond()).unwrap(),
            power_average_mw: Some((number(cells[1]) * 1000.0).round() as u64),
            utilization_gpu_percent: Some(number(cells[2]) as u32),
            utilization_memory_percent: Some(number(cells[3]) as u32),
            clock_graphics_mhz: Some(number(cells[4]) as u32),
            clock_memory_mhz: Some(number(cells[5]) as u32),
            temperature_celsius: Some(number(cells[6]) as u32),
            ..Sample::default()
        }
    }

    #[test]
    fn a_real_capture_is_written_again_byte_for_byte() {
        let samples: Vec<Sample> = CAPTURE.lines().skip(1).map(parsed).collect();
        let csv = one_row_a_second(samples.iter());
        assert_eq!(csv.text, CAPTURE);
        assert_eq!((csv.rows, csv.dropped), (48, 0));
    }

    fn full(unix_ms: u64) -> Sample {
        let template = parsed(CAPTURE.lines().nth(1).unwrap());
        Sample { unix_ns: unix_ms * 1_000_000, ..template }
    }

    fn fast_only(unix_ms: u64) -> Sample {
        Sample { unix_ns: unix_ms * 1_000_000, power_instant_mw: Some(1), ..Sample::default() }
    }

    #[rstest]
    #[case::one_row_a_second(vec![full(1_000), fast_only(1_500), full(2_000), fast_only(2_900)], 2, 0)]
    #[case::a_missing_reading_drops_its_second(vec![full(1_000), fast_only(2_000), full(3_000)], 2, 1)]
    #[case::a_second_without_samples_is_dropped(vec![full(1_000), full(3_000)], 2, 1)]
    #[case::a_range_may_begin_between_rows(vec![fast_only(1_500), full(2_000)], 1, 0)]
    #[case::a_later_complete_sample_saves_its_second(vec![full(1_000), fast_only(2_000), full(2_300)], 2, 0)]
    #[case::a_clock_set_back_writes_no_row_twice(vec![full(5_000), full(4_000), full(5_500)], 1, 0)]
    #[case::nothing_is_no_row(vec![], 0, 0)]
    #[case::nothing_numeric_is_all_dropped(vec![fast_only(1_000), fast_only(2_000)], 0, 2)]
    fn rows_and_dropped_rows_add_up(#[case] samples: Vec<Sample>, #[case] rows: u64, #[case] dropped: u64) {
        let csv = one_row_a_second(samples.iter());
        assert_eq!((csv.rows, csv.dropped), (rows, dropped));
        assert_eq!(csv.text.lines().count() as u64, rows + 1);
    }

    #[rstest]
    #[case(79_490, "79.49 W")]
    #[case(79_494, "79.49 W")]
    #[case(700_000, "700.00 W")]
    #[case(5, "0.01 W")]
    fn power_has_two_decimals(#[case] milliwatts: u64, #[case] expected: &str) {
        let row = row(&Sample { power_average_mw: Some(milliwatts), ..full(1_000) }).unwrap();
        assert_eq!(row.split(", ").nth(1), Some(expected));
    }

    #[test]
    fn a_gpu_without_an_average_is_written_with_its_instant_power() {
        let sample = Sample { power_average_mw: None, power_instant_mw: Some(123_456), ..full(1_000) };
        assert!(row(&sample).unwrap().contains(", 123.46 W, "));
    }
}
