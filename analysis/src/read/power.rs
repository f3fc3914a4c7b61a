//! Power files: CSV as `nvidia-smi --format=csv -l 1` and kin write it, in all their variants.
//!
//! Names of columns may have leading blanks and units, cells may have units, and a value that a GPU does not have is
//! `[N/A]` or one of its kin. Rows of several GPUs are told apart by a column that identifies them, or else by the order
//! in which equal timestamps repeat.

mod cell;

use std::{fs, path::Path};

pub use self::cell::seconds;
use self::cell::{blank, moment, number};
use super::ReadError;

/// Samples of one file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PowerFile {
    /// The devices in the order of their first rows, each with its samples in order of time.
    pub devices: Vec<Device>,
}

/// One GPU's or CPU's samples.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Device {
    /// What the file calls it; empty where it does not say.
    pub name: String,
    /// Its samples.
    pub samples: Vec<Sample>,
}

/// One row. What the device does not have, or the file does not tell, is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// Seconds on the file's own clock, which names no time zone.
    pub at_s: f64,
    /// Power in watts.
    pub power_w: Option<f64>,
    /// Share of time with a kernel running, in percent.
    pub gpu_percent: Option<f64>,
    /// Share of time with memory accesses, in percent.
    pub memory_percent: Option<f64>,
    /// Clock of the multiprocessors in MHz.
    pub graphics_mhz: Option<f64>,
    /// Clock of the memory in MHz.
    pub memory_mhz: Option<f64>,
    /// Temperature in degrees Celsius.
    pub temperature_celsius: Option<f64>,
}

impl PowerFile {
    /// From the first sample of any device to the last, in seconds.
    #[must_use]
    pub fn span_s(&self) -> f64 {
        self.times_s().map_or(0.0, |(first, last)| last - first)
    }

    /// First and last sample of any device, in seconds on the file's own clock; `None` without a sample.
    #[must_use]
    pub fn times_s(&self) -> Option<(f64, f64)> {
        let times = || self.devices.iter().flat_map(|device| &device.samples).map(|sample| sample.at_s);
        Some((times().min_by(f64::total_cmp)?, times().max_by(f64::total_cmp)?))
    }

    /// Energy of all devices in joules: trapezoids of power over the file's own timestamps. `None` where a device has
    /// fewer than two samples with power.
    #[must_use]
    pub fn energy_joules(&self) -> Option<f64> {
        self.devices
            .iter()
            .map(|device| {
                let points: Vec<(f64, f64)> =
                    device.samples.iter().filter_map(|sample| Some((sample.at_s, sample.power_w?))).collect();
                (points.len() > 1).then(|| trapezoid(&points))
            })
            .sum::<Option<f64>>()
            .filter(|_| !self.devices.is_empty())
    }
}

/// Area under (x, y) by trapezoids.
#[must_use]
pub fn trapezoid(points: &[(f64, f64)]) -> f64 {
    points.windows(2).map(|pair| (pair[1].0 - pair[0].0) * (pair[0].1 + pair[1].1) / 2.0).sum()
}

/// What a column holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Column {
    Time,
    Device,
    Power,
    GpuShare,
    MemoryShare,
    GraphicsClock,
    MemoryClock,
    Temperature,
    Other,
}

impl Column {
    fn of(name: &str) -> Self {
        let name = name.split('[').next().unwrap_or_default().trim().trim_matches('"').to_ascii_lowercase();
        match name.as_str() {
            "timestamp" | "time" => Self::Time,
            "uuid" | "gpu_uuid" | "index" | "gpu" | "pci.bus_id" | "gpu_bus_id" | "domain" => Self::Device,
            "power.draw" | "power.draw.average" | "power" | "power_w" | "power.draw.instant" => Self::Power,
            "utilization.gpu" | "utilization" | "cpu_percent" => Self::GpuShare,
            "utilization.memory" => Self::MemoryShare,
            "clocks.current.graphics" | "clocks.gr" | "clocks.current.sm" | "clocks.sm" => Self::GraphicsClock,
            "clocks.current.memory" | "clocks.mem" => Self::MemoryClock,
            "temperature.gpu" | "temperature" => Self::Temperature,
            _ => Self::Other,
        }
    }
}

/// Reads a power file.
///
/// # Errors
/// When it cannot be read, has no column of time and power, or has a row that does not fit: the message names the line.
pub fn read_power(path: &Path) -> Result<PowerFile, ReadError> {
    let bytes = fs::read(path).map_err(|source| ReadError::Io { path: path.to_owned(), source })?;
    // Windows tools put a mark before the text.
    let text = String::from_utf8_lossy(bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&bytes)).into_owned();
    parse(&text).map_err(|reason| ReadError::Contradiction { path: path.to_owned(), reason })
}

/// Takes a file's text apart.
///
/// # Errors
/// What is not as such files are, with its line.
pub fn parse(text: &str) -> Result<PowerFile, String> {
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let Some((_, header)) = lines.next() else { return Err("is empty; a header is wanted".to_owned()) };
    let columns = columns(header)?;
    let mut file = PowerFile::default();
    let mut repeats = 0;
    let mut last = f64::NEG_INFINITY;
    for (index, line) in lines {
        let line_number = index + 1;
        let at_line = |reason: String| format!("line {line_number}: {reason}");
        let cells: Vec<&str> = line.split(',').map(|cell| cell.trim().trim_matches('"')).collect();
        if cells.len() != columns.len() {
            return Err(at_line(misfit(cells.len(), columns.len())));
        }
        let mut sample = Sample::default();
        let mut device = None;
        for (column, cell) in columns.iter().zip(&cells) {
            read_cell(*column, cell, &mut sample, &mut device).map_err(at_line)?;
        }
        if sample.at_s < last {
            return Err(at_line("the clock went back; samples are wanted in order of time".to_owned()));
        }
        repeats = if sample.at_s > last { 0 } else { repeats + 1 };
        last = sample.at_s;
        // Without a column that tells GPUs apart, they repeat one timestamp in one order.
        let device = device.unwrap_or_else(|| if repeats == 0 { String::new() } else { format!("{repeats}") });
        match file.devices.iter_mut().find(|known| known.name == device) {
            Some(known) => known.samples.push(sample),
            None => file.devices.push(Device { name: device, samples: vec![sample] }),
        }
    }
    if file.devices.is_empty() { Err("has a header and no samples".to_owned()) } else { Ok(file) }
}

fn columns(header: &str) -> Result<Vec<Column>, String> {
    if header.contains(';') && !header.contains(',') {
        return Err("line 1: cells are separated by semicolons; write it with commas (LC_ALL=C)".to_owned());
    }
    let mut columns: Vec<Column> = header.split(',').map(Column::of).collect();
    // Of several columns of one kind the first counts: the average before the instant value.
    for index in 0..columns.len() {
        if columns[..index].contains(&columns[index]) {
            columns[index] = Column::Other;
        }
    }
    for (column, name) in [(Column::Time, "timestamp"), (Column::Power, "power.draw")] {
        if !columns.contains(&column) {
            return Err(format!("line 1: there is no column {name}; query it with --query-gpu"));
        }
    }
    Ok(columns)
}

fn misfit(cells: usize, columns: usize) -> String {
    let cause = if cells > columns {
        "is the decimal mark a comma? Record it with LC_ALL=C"
    } else {
        "is the last line cut off?"
    };
    format!("has {cells} cells where the header has {columns}; {cause}")
}

fn read_cell(column: Column, cell: &str, sample: &mut Sample, device: &mut Option<String>) -> Result<(), String> {
    let value = |name: &str| number(cell).map_err(|()| format!("{name} is {cell:?}, which is no number"));
    match column {
        Column::Time => {
            sample.at_s = moment(cell).ok_or_else(|| {
                format!("timestamp is {cell:?}; YYYY/MM/DD hh:mm:ss.sss, RFC 3339 or seconds are known")
            })?;
        }
        Column::Device => *device = (!blank(cell)).then(|| cell.to_owned()),
        Column::Power => {
            sample.power_w = value("power.draw")?;
            if sample.power_w.is_some_and(|watts| watts < 0.0) {
                return Err(format!("power.draw is {cell:?}; power cannot be negative"));
            }
        }
        Column::GpuShare => sample.gpu_percent = value("utilization.gpu")?,
        Column::MemoryShare => sample.memory_percent = value("utilization.memory")?,
        Column::GraphicsClock => sample.graphics_mhz = value("clocks.current.graphics")?,
        Column::MemoryClock => sample.memory_mhz = value("clocks.current.memory")?,
        Column::Temperature => sample.temperature_celsius = value("temperature.gpu")?,
        Column::Other => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const SMI: &str = "timestamp, power.draw [W], utilization.gpu [%], utilization.memory [%], \
        clocks.current.graphics [MHz], clocks.current.memory [MHz], temperature.gpu\n";

    #[test]
    fn what_nvidia_smi_writes_is_read_with_its_units() {
        let file =
            parse(&format!("{SMI}2026/11/22 13:50:30.500, 398.71 W, 7 %, 1 %, 1980 MHz, 3201 MHz, 45\n")).unwrap();
        let sample = file.devices[0].samples[0];
        assert_eq!(
            sample,
            Sample {
                at_s: sample.at_s,
                power_w: Some(398.71),
                gpu_percent: Some(7.0),
                memory_percent: Some(1.0),
                graphics_mhz: Some(1980.0),
                memory_mhz: Some(3201.0),
                temperature_celsius: Some(45.0)
            }
        );
        assert!((sample.at_s.fract() - 0.5).abs() < 1e-6);
    }

    #[rstest]
    #[case::no_units("timestamp,power.draw\n2026/11/22 13:50:30.000,100\n2026/11/22 13:50:31.000,200\n")]
    #[case::blanks_and_units(
        " timestamp , power.draw [W] \n2026/11/22 13:50:30.000, 100.00 W\n2026/11/22 13:50:31.000, 200 W\n"
    )]
    #[case::iso("timestamp,power.draw\n2026-11-22T13:50:30,100\n2026-11-22T13:50:31,200\n")]
    #[case::seconds("timestamp,power_w\n1000.0,100\n1001.0,200\n")]
    #[case::average_before_instant("timestamp,power.draw.average,power.draw.instant\n1,100,7\n2,200,8\n")]
    #[case::windows("\u{20}timestamp,power.draw\r\n1,100\r\n2,200\r\n")]
    fn every_variant_gives_the_same_energy(#[case] text: &str) {
        let file = parse(text).unwrap();
        assert_eq!(file.energy_joules(), Some(150.0));
        assert_eq!(file.span_s(), 1.0);
    }

    #[rstest]
    fn what_a_gpu_does_not_have_is_absent_and_never_zero(
        #[values("[N/A]", "N/A", "[Not Supported]", "[Unknown Error]", "[GPU requires reset]", "nan", "")] cell: &str,
    ) {
        let file = parse(&format!("timestamp, power.draw [W]\n1, {cell}\n2, 10 W\n")).unwrap();
        assert_eq!(file.devices[0].samples[0].power_w, None);
        assert_eq!(file.energy_joules(), None);
    }

    #[rstest]
    #[case::by_index("timestamp,index,power.draw\n1,0,100\n1,1,50\n2,0,100\n2,1,50\n")]
    #[case::by_order("timestamp,power.draw\n1,100\n1,50\n2,100\n2,50\n")]
    fn power_of_several_gpus_is_summed(#[case] text: &str) {
        let file = parse(text).unwrap();
        assert_eq!(file.devices.len(), 2);
        assert_eq!(file.energy_joules(), Some(150.0));
    }

    #[rstest]
    #[case::empty("", "is empty")]
    #[case::no_samples("timestamp, power.draw [W]\n", "no samples")]
    #[case::no_power("timestamp, temperature.gpu\n1, 2\n", "no column power.draw")]
    #[case::semicolons("timestamp; power.draw [W]\n", "line 1: cells are separated by semicolons")]
    #[case::decimal_comma(
        "timestamp, power.draw [W]\n1, 398,71 W\n",
        "line 2: has 3 cells where the header has 2; is the decimal mark a comma"
    )]
    #[case::cut_off("timestamp, power.draw [W]\n1, 3 W\n2\n", "line 3: has 1 cells")]
    #[case::text("timestamp, power.draw [W]\n1, much\n", "line 2: power.draw is \"much\"")]
    #[case::negative("timestamp, power.draw [W]\n1, -3 W\n", "power cannot be negative")]
    #[case::american_clock("timestamp, power.draw [W]\n11/22/2026 1:50 PM, 3 W\n", "line 2: timestamp is")]
    #[case::clock_went_back("timestamp, power.draw [W]\n5, 3 W\n4, 3 W\n", "line 3: the clock went back")]
    fn what_cannot_be_read_is_refused_with_line_and_reason(#[case] text: &str, #[case] reason: &str) {
        let error = parse(text).unwrap_err();
        assert!(error.contains(reason), "{error}");
    }
}
