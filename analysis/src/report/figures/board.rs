//! What the boards showed during a run: power in percent of the board's own limit, shares of time, temperature.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use super::{Context, Datum, Drawn, Numbers};
use crate::{
    notebook::Order,
    read::{Attempt, Campaign, StoredRun, power::Sample, read_power, subdirectories},
    report::svg::{Curve, CurveFigure, Point, XAxis, curves},
    summary::{number, sources_by_group},
};

/// Most points of a curve: finer than a figure shows.
const MOST_POINTS: usize = 150;

/// Most boards of an experiment that are drawn.
const MOST_BOARDS: usize = 8;

/// One board during the first run that counts of a condition on an arm.
#[derive(Clone, Debug, PartialEq)]
pub struct Board {
    /// The condition's slug.
    pub condition: String,
    /// The arm.
    pub arm: String,
    /// The board's uuid.
    pub uuid: String,
    /// Its own power limit in watts, where a probe read it.
    pub limit_watts: Option<f64>,
    /// Throttle reasons that were seen in the run, as NVML's bit mask.
    pub throttled: u64,
    /// Its samples, thinned.
    pub samples: Vec<Sample>,
}

/// Boards by campaign and experiment.
#[derive(Clone, Debug, Default)]
pub struct Boards {
    of: BTreeMap<(usize, String), Vec<Board>>,
}

impl Boards {
    /// Reads the power files of the first run that counts of each condition and arm. A file that cannot be read is left
    /// out: figures of boards explain others and carry no result.
    #[must_use]
    pub fn read(campaigns: &[Campaign]) -> Self {
        let mut boards = Self::default();
        for (index, sources) in sources_by_group(campaigns).into_iter().enumerate() {
            let runs = sources.into_iter().flat_map(|campaign| {
                campaign.runs.iter().filter(|run| campaign.counts(run)).map(move |run| (campaign, run))
            });
            let mut runs: Vec<(&Campaign, &StoredRun)> = runs.collect();
            // In the order in which conditions are shown.
            runs.sort_by(|(_, left), (_, right)| {
                let by_condition = Order::Natural.compare(&left.id.condition, &right.id.condition);
                by_condition.then_with(|| left.id.arm.cmp(&right.id.arm))
            });
            let mut seen: BTreeSet<(&str, &str, &str)> = BTreeSet::new();
            for (campaign, run) in runs {
                let Attempt::Read(read) = &run.content else { continue };
                let place = (run.id.experiment.as_str(), run.id.condition.as_str(), run.id.arm.as_str());
                let of = boards.of.entry((index, run.id.experiment.clone())).or_default();
                if of.len() >= MOST_BOARDS || !seen.insert(place) {
                    continue;
                }
                for (uuid, samples) in power_files(&campaign.directory.join(&run.path)) {
                    let gpus = read.energy.as_ref().map(|energy| energy.gpus.as_slice()).unwrap_or_default();
                    let gpu = gpus.iter().find(|gpu| gpu.uuid == uuid);
                    of.push(Board {
                        condition: run.id.condition.clone(),
                        arm: run.id.arm.clone(),
                        limit_watts: gpu.and_then(|gpu| gpu.power_limit_watts),
                        throttled: gpu.map_or(0, |gpu| gpu.throttle_reasons),
                        uuid,
                        samples,
                    });
                }
            }
        }
        boards
    }

    /// Those of an experiment.
    pub(in crate::report) fn of(&self, campaign: usize, experiment: &str) -> &[Board] {
        self.of.get(&(campaign, experiment.to_owned())).map(Vec::as_slice).unwrap_or_default()
    }
}

/// Thinned samples of each distinct GPU of a run, by uuid.
fn power_files(run: &Path) -> BTreeMap<String, Vec<Sample>> {
    let mut found = BTreeMap::new();
    let servers = subdirectories(&run.join("servers")).unwrap_or_default();
    for entry in servers.iter().filter_map(|server| fs::read_dir(server).ok()).flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(uuid) = name.strip_prefix("power-").and_then(|rest| rest.strip_suffix(".csv")) else { continue };
        if found.contains_key(uuid) {
            continue;
        }
        let Ok(file) = read_power(&entry.path()) else { continue };
        let samples: Vec<Sample> = file.devices.into_iter().flat_map(|device| device.samples).collect();
        let step = samples.len().div_ceil(MOST_POINTS).max(1);
        found.insert(uuid.to_owned(), samples.into_iter().step_by(step).collect());
    }
    found
}

/// A series of samples.
struct Series {
    key: &'static str,
    title: &'static str,
    unit: &'static str,
    read: fn(&Board, &Sample) -> Option<f64>,
}

const SERIES: [Series; 4] = [
    Series {
        key: "power",
        title: "Power of the boards",
        unit: "% of own limit",
        read: |board, sample| Some(100.0 * sample.power_w? / board.limit_watts.filter(|limit| *limit > 0.0)?),
    },
    Series { key: "gpu", title: "GPU utilisation", unit: "%", read: |_, sample| sample.gpu_percent },
    Series { key: "memory", title: "Memory utilisation", unit: "%", read: |_, sample| sample.memory_percent },
    Series {
        key: "temperature",
        title: "Temperature of the boards",
        unit: "°C",
        read: |_, sample| sample.temperature_celsius,
    },
];

/// Figures over time.
pub fn figures(context: Context<'_>) -> Vec<Drawn> {
    SERIES.iter().filter_map(|series| figure(context, series)).collect()
}

fn figure(context: Context<'_>, series: &Series) -> Option<Drawn> {
    let mut drawn: Vec<(&Board, Vec<Point>)> = Vec::new();
    for board in context.boards {
        let begin = board.samples.first().map_or(0.0, |sample| sample.at_s);
        let points: Vec<Point> = board
            .samples
            .iter()
            .filter_map(|sample| {
                Some(Point { x: sample.at_s - begin, y: (series.read)(board, sample)?, interval: None })
            })
            .collect();
        if points.len() > 1 {
            drawn.push((board, points));
        }
    }
    if drawn.is_empty() {
        return None;
    }
    let named = |board: &Board| {
        let conditions = &context.experiment.conditions;
        let condition = conditions.iter().find(|condition| condition.slug == board.condition);
        let throttled = if board.throttled_by_fault() { " (throttled)" } else { "" };
        let name = condition.map_or(board.condition.as_str(), |condition| &condition.name);
        format!("{name} · {}{}{throttled}", board.arm, ordinal(board, context.boards))
    };
    let peak = |points: &[Point]| points.iter().map(|point| point.y).fold(f64::NEG_INFINITY, f64::max);
    let described: Vec<String> = drawn
        .iter()
        .map(|(board, points)| format!("{}: peak {} {}", named(board), number(peak(points)), series.unit))
        .collect();
    let rows = drawn.iter().flat_map(|(board, points)| {
        points.iter().map(move |point| {
            vec![Datum::text(named(board)), Datum::text(&board.uuid), Datum::number(point.x), Datum::number(point.y)]
        })
    });
    let numbers = Numbers { columns: vec!["condition and arm", "GPU", "seconds", series.unit], rows: rows.collect() };
    let id = format!("{}-board-{}", context.id, series.key);
    let figure = CurveFigure {
        heading: context.heading(&id, series.title, described.join("; ")),
        x: XAxis { title: "seconds from the first sample".to_owned(), logarithmic: false, names: Vec::new() },
        unit: series.unit.to_owned(),
        from_zero: series.key != "temperature",
        curves: drawn
            .into_iter()
            .enumerate()
            .map(|(index, (board, points))| Curve {
                label: named(board),
                series: index,
                dashes: context.series(&board.arm),
                points,
            })
            .collect(),
        marks: Vec::new(),
    };
    Some(Drawn {
        id,
        title: series.title.to_owned(),
        unit: series.unit.to_owned(),
        caption: format!(
            "One run of each condition and arm, the first that counts; it explains the figures above and carries no \
             result. Runs in which a board was slowed down by heat or a fault are marked.{}",
            left_out(context)
        ),
        svg: curves(&figure),
        numbers,
    })
}

/// Which of its run's boards one is, where there are several.
fn ordinal(board: &Board, boards: &[Board]) -> String {
    let of_run = || boards.iter().filter(|other| (&other.condition, &other.arm) == (&board.condition, &board.arm));
    let several = of_run().count();
    match of_run().position(|other| other.uuid == board.uuid) {
        Some(place) if several > 1 => format!(" · GPU {} of {several}", place + 1),
        _ => String::new(),
    }
}

/// What is said where more boards were read than are drawn.
fn left_out(context: Context<'_>) -> String {
    let conditions = context.experiment.conditions.iter();
    let ran: BTreeSet<(&str, &str)> = conditions
        .flat_map(|condition| condition.cells.iter().map(move |cell| (condition.slug.as_str(), cell)))
        .filter(|(_, cell)| cell.runs > 0)
        .map(|(slug, cell)| (slug, cell.name.arm.as_str()))
        .collect();
    let drawn: BTreeSet<(&str, &str)> =
        context.boards.iter().map(|board| (board.condition.as_str(), board.arm.as_str())).collect();
    if context.boards.len() < MOST_BOARDS || drawn.len() >= ran.len() {
        return String::new();
    }
    format!(" Drawn: the first {} of {}.", drawn.len(), ran.len())
}

impl Board {
    /// NVML's reasons that slow a board down for another cause than its load: hardware slowdown (0x8), software thermal
    /// (0x20), hardware thermal (0x40), power brake (0x80).
    const fn throttled_by_fault(&self) -> bool {
        self.throttled & 0xe8 != 0
    }
}
