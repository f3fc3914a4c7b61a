//! One power file of a run from those of its servers' GPUs.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use jiff::{Timestamp, fmt::strtime, tz::TimeZone};

use crate::read::{ReadError, power::Sample, read_power, subdirectories};

/// The columns, with the blanks and units of `nvidia-smi`.
const HEADER: &str = "timestamp, power.draw [W], utilization.gpu [%], utilization.memory [%], \
    clocks.current.graphics [MHz], clocks.current.memory [MHz], temperature.gpu";

/// The power of all distinct GPUs of an attempt, a row a second: power summed, the rest averaged, rows without a number
/// in every cell left out. The inner error is the reason why there is none.
pub(super) fn merged(directory: &Path) -> Result<Result<String, String>, ReadError> {
    let servers = directory.join("servers");
    if !servers.is_dir() {
        return Ok(Err("no server recorded power".to_owned()));
    }
    // Several servers may share one GPU: a file's name is its GPU's uuid.
    let mut gpus: BTreeMap<String, Vec<Sample>> = BTreeMap::new();
    for server in subdirectories(&servers)? {
        let at = |source| ReadError::Io { path: server.clone(), source };
        for entry in fs::read_dir(&server).map_err(at)? {
            let path = entry.map_err(at)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with("power-") && name.ends_with(".csv") && !gpus.contains_key(&name) {
                let samples = read_power(&path)?.devices.into_iter().flat_map(|device| device.samples).collect();
                gpus.insert(name, samples);
            }
        }
    }
    let rows = rows(&gpus.into_values().collect::<Vec<_>>());
    if rows.is_empty() {
        return Ok(Err("no second in which every GPU has a power, clocks and a temperature".to_owned()));
    }
    let mut text = format!("{HEADER}\n");
    for row in rows {
        write_row(&mut text, &row);
    }
    Ok(Ok(text))
}

/// Numbers of one row: seconds, then the columns.
type Row = [f64; 7];

/// Seconds in which every GPU has all values.
fn rows(gpus: &[Vec<Sample>]) -> Vec<Row> {
    let mut seconds: BTreeMap<i64, Vec<Row>> = BTreeMap::new();
    for samples in gpus {
        let mut last = None;
        for row in samples.iter().filter_map(complete) {
            #[expect(clippy::cast_possible_truncation, reason = "seconds since 1970 fit")]
            let second = row[0].floor() as i64;
            if last != Some(second) {
                seconds.entry(second).or_default().push(row);
                last = Some(second);
            }
        }
    }
    seconds.into_values().filter(|rows| rows.len() == gpus.len()).map(|rows| combined(&rows)).collect()
}

fn complete(sample: &Sample) -> Option<Row> {
    let Sample { at_s, power_w, gpu_percent, memory_percent, graphics_mhz, memory_mhz, temperature_celsius } = *sample;
    Some([at_s, power_w?, gpu_percent?, memory_percent?, graphics_mhz?, memory_mhz?, temperature_celsius?])
}

fn combined(rows: &[Row]) -> Row {
    let mut sums = [0.0; 7];
    for row in rows {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += value;
        }
    }
    let [_, power, ref rest @ ..] = sums;
    let mean = |value: &f64| value / rows.len() as f64;
    let [gpu, memory, graphics, clock, temperature] = rest.each_ref().map(mean);
    [rows[0][0], power, gpu, memory, graphics, clock, temperature]
}

fn write_row(text: &mut String, row: &Row) {
    let [at_s, power, gpu, memory, graphics, clock, temperature] = *row;
    #[expect(clippy::cast_possible_truncation, reason = "milliseconds since 1970 fit")]
    let time = Timestamp::from_millisecond((at_s * 1e3).round() as i64).unwrap_or(Timestamp::UNIX_EPOCH);
    let shown = strtime::format("%Y/%m/%d %H:%M:%S%.3f", &time.to_zoned(TimeZone::UTC)).unwrap_or_default();
    let _ = writeln!(
        text,
        "{shown}, {power:.2} W, {gpu:.0} %, {memory:.0} %, {graphics:.0} MHz, {clock:.0} MHz, {temperature:.0}"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(directory: &Path, server: &str, gpu: &str, rows: &str) {
        let server = directory.join("servers").join(server);
        fs::create_dir_all(&server).unwrap();
        fs::write(server.join(format!("power-{gpu}.csv")), format!("{HEADER}\n{rows}")).unwrap();
    }

    #[test]
    fn power_is_summed_over_distinct_gpus_and_the_rest_averaged() {
        let run = tempfile::tempdir().unwrap();
        let first = "2026/11/22 13:50:30.721, 100.50 W, 50 %, 10 %, 1980 MHz, 3201 MHz, 40\n\
            2026/11/22 13:50:31.723, [N/A], 0 %, 0 %, 1980 MHz, 3201 MHz, 40\n";
        let second = "2026/11/22 13:50:30.800, 200.25 W, 100 %, 20 %, 1000 MHz, 3201 MHz, 60\n\
            2026/11/22 13:50:31.800, 200 W, 0 %, 0 %, 1980 MHz, 3201 MHz, 40\n";
        write(run.path(), "0", "GPU-a", first);
        write(run.path(), "1", "GPU-a", first);
        write(run.path(), "2", "GPU-b", second);
        let expected = format!("{HEADER}\n2026/11/22 13:50:30.721, 300.75 W, 75 %, 15 %, 1490 MHz, 3201 MHz, 50\n");
        assert_eq!(merged(run.path()).unwrap(), Ok(expected));
    }

    #[test]
    fn a_run_without_power_says_so() {
        let run = tempfile::tempdir().unwrap();
        assert_eq!(merged(run.path()).unwrap(), Err("no server recorded power".to_owned()));
    }
}
