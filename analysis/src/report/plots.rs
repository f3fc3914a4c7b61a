//! Figures as files: SVG that stands alone, PNG of it, and the numbers behind it as CSV.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use maud::Markup;
use resvg::{
    tiny_skia::{Pixmap, Transform},
    usvg::{self, fontdb::Database},
};

use super::{
    figures::{Context, Drawn, has_runs, of_experiment},
    html::Sources,
    svg::SERIES,
};
use crate::summary::Summary;

/// Pixels for each unit of a figure: sharp on paper at the width of a column.
const SCALE: f32 = 3.0;

/// Colours of the series, those of the page on paper.
const COLOURS: [&str; SERIES] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b08a00", "#3a8fc4", "#444444"];

/// Rules of a figure that stands alone. Programs other than browsers know no variables, so colours are spelled out.
const STYLE: &str = include_str!("plots.css");

/// Faces that are wanted for text, the first that is there.
const FACES: [&str; 5] = ["DejaVu Sans", "Liberation Sans", "Noto Sans", "Arial", "Helvetica"];

/// A figure as a file's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plot {
    /// Name of its files, without an ending.
    pub name: String,
    /// The drawing.
    pub svg: String,
    /// The numbers behind it.
    pub csv: String,
}

/// Why plots were not written, or not all.
#[derive(thiserror::Error, Debug)]
pub enum PlotError {
    /// A file cannot be written.
    #[error("{path}: cannot be written")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Text of PNG files needs a font.
    #[error(
        "this machine has no font, so that PNG files would have no text; SVG and CSV are written. Install one, for instance fonts-dejavu-core"
    )]
    NoFont,
    /// A figure is no SVG that can be drawn.
    #[error("figure {name} cannot be drawn as PNG: {reason}")]
    Undrawable {
        /// Which.
        name: String,
        /// Why.
        reason: String,
    },
}

/// All figures of a summary.
#[must_use]
pub fn plots(summary: &Summary, sources: &Sources) -> Vec<Plot> {
    let several = summary.campaigns.len() > 1;
    let mut plots = Vec::new();
    for (index, campaign) in summary.campaigns.iter().enumerate() {
        for experiment in campaign.experiments.iter().filter(|experiment| has_runs(experiment)) {
            let id = if several { format!("{}-{}", index + 1, experiment.name) } else { experiment.name.clone() };
            let boards = sources.boards.of(index, &experiment.name);
            let drawn = of_experiment(Context { id: &id, campaign, experiment, boards });
            plots.extend(drawn.into_iter().map(|drawn| plot(&drawn)));
        }
    }
    plots
}

fn plot(Drawn { id, svg, numbers, .. }: &Drawn) -> Plot {
    Plot { name: file_name(id), svg: alone(svg), csv: numbers.csv() }
}

/// An id as a file's name: what names of arms and routers cannot have in a path is no part of it.
fn file_name(id: &str) -> String {
    id.chars().map(|sign| if sign.is_ascii_alphanumeric() || "-_.".contains(sign) { sign } else { '-' }).collect()
}

/// A figure of the page as a document of its own.
fn alone(svg: &Markup) -> String {
    let series: String = COLOURS
        .iter()
        .enumerate()
        .map(|(index, colour)| {
            let of = |class: &str| format!(".series-{index} .{class}");
            format!(
                "{}, {}, {} {{ fill: {colour}; }} {}, {} {{ stroke: {colour}; }}\n",
                of("bar"),
                of("point"),
                of("band"),
                of("curve"),
                of("place")
            )
        })
        .collect();
    let body = &svg.0;
    let open = body.find('>').map_or(body.len(), |end| end + 1);
    let head = body[..open].replacen("<svg ", "<svg xmlns=\"http://www.w3.org/2000/svg\" ", 1);
    format!(
        "{head}<style>{STYLE}{series}</style><rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>{}",
        &body[open..]
    )
}

/// Writes each plot as `<name>.svg`, `<name>.png` and `<name>.csv` into a directory, which is made when it is not there.
///
/// # Errors
/// When a file cannot be written, or there is no font for PNG files; the others are then written all the same.
pub fn write_plots(plots: &[Plot], directory: &Path) -> Result<(), PlotError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| PlotError::Io { path, source }
    };
    fs::create_dir_all(directory).map_err(at(directory))?;
    let write = |name: &str, ending: &str, bytes: &[u8]| {
        let path = directory.join(format!("{name}.{ending}"));
        fs::write(&path, bytes).map_err(at(&path))
    };
    for Plot { name, svg, csv } in plots {
        write(name, "svg", svg.as_bytes())?;
        write(name, "csv", csv.as_bytes())?;
    }
    let options = options()?;
    for Plot { name, svg, .. } in plots {
        write(name, "png", &png(name, svg, &options)?)?;
    }
    Ok(())
}

fn options() -> Result<usvg::Options<'static>, PlotError> {
    let mut fonts = Database::new();
    fonts.load_system_fonts();
    let families = || fonts.faces().flat_map(|face| face.families.iter().map(|family| family.0.clone()));
    let wanted = FACES.iter().map(|face| (*face).to_owned()).find(|face| families().any(|known| known == *face));
    let Some(family) = wanted.or_else(|| families().next()) else { return Err(PlotError::NoFont) };
    fonts.set_sans_serif_family(family.clone());
    Ok(usvg::Options { font_family: family, fontdb: Arc::new(fonts), ..usvg::Options::default() })
}

fn png(name: &str, svg: &str, options: &usvg::Options<'_>) -> Result<Vec<u8>, PlotError> {
    let undrawable = |reason: String| PlotError::Undrawable { name: name.to_owned(), reason };
    let tree = usvg::Tree::from_str(svg, options).map_err(|error| undrawable(error.to_string()))?;
    let size = tree.size().to_int_size().scale_by(SCALE).ok_or_else(|| undrawable("it has no size".to_owned()))?;
    let mut pixels =
        Pixmap::new(size.width(), size.height()).ok_or_else(|| undrawable("it is too large".to_owned()))?;
    resvg::render(&tree, Transform::from_scale(SCALE, SCALE), &mut pixels.as_mut());
    pixels.encode_png().map_err(|error| undrawable(error.to_string()))
}
