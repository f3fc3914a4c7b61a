//! Figures as inline SVG: crisp at any size, text selectable, colours from the page's style sheet so that they follow
//! light and dark.

mod axis;
mod curve;
mod forest;
mod frame;
mod map;
mod marks;
mod rows;

pub use self::{
    curve::{Curve, CurveFigure, Place, Point, XAxis, curves},
    forest::{Comparison, ForestFigure, forest},
    frame::Heading,
    map::{MapFigure, Shaded, map},
    marks::marker,
    rows::{Mark, Row, RowFigure, rows},
};

/// Width of every figure in its own units; on a phone it shrinks to about two thirds, which text of 13 units bears.
const WIDTH: f64 = 560.0;

/// Series that have a colour and a shape of their own; later ones begin anew.
pub const SERIES: usize = 7;

/// A coordinate to a tenth of a unit: finer than any screen, and half the bytes.
fn at(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// Estimated width of text of 12 units in a sans-serif face.
fn text_width(text: &str) -> f64 {
    6.7 * text.chars().count() as f64
}
