//! Maps: a value for each pair of settings, as a grid of shaded fields with the value written in each.

use maud::{Markup, html};

use super::{Heading, WIDTH, at};

const LEFT: f64 = 82.0;
const TOP: f64 = 8.0;
const FIELD: f64 = 50.0;
const AXIS: f64 = 46.0;

/// Shade of the strongest field: text on it must stay readable.
const STRONGEST: f64 = 0.5;

/// A map.
pub struct MapFigure {
    /// Its name and description.
    pub heading: Heading,
    /// What columns and rows are.
    pub axes: (String, String),
    /// Names of the columns.
    pub columns: Vec<String>,
    /// Names of the rows, the lowest first.
    pub rows: Vec<String>,
    /// The fields, row by row.
    pub fields: Vec<Vec<Option<Shaded>>>,
}

/// A field.
pub struct Shaded {
    /// What is written in it, and below.
    pub text: (String, String),
    /// From -1 to 1: how strongly it is shaded, and in which of two colours.
    pub strength: f64,
}

/// Draws the map.
pub fn map(figure: &MapFigure) -> Markup {
    let width = (WIDTH - LEFT) / figure.columns.len().max(1) as f64;
    let bottom = TOP + FIELD * figure.rows.len() as f64;
    let drawn = html! {
        @for (row, name) in figure.rows.iter().enumerate() {
            @let y = bottom - FIELD * (row + 1) as f64;
            text class="label" x=(at(LEFT - 10.0)) y=(at(y + FIELD / 2.0 + 4.0)) text-anchor="end" { (name) }
            @for (column, field) in figure.fields[row].iter().enumerate() {
                (shaded(field.as_ref(), LEFT + width * column as f64, y, width))
            }
        }
        @for (column, name) in figure.columns.iter().enumerate() {
            @let x = LEFT + width * (column as f64 + 0.5);
            text class="tick" x=(at(x)) y=(at(bottom + 17.0)) text-anchor="middle" { (name) }
        }
    };
    let axis = format!("{} · vertically {}", figure.axes.0, figure.axes.1);
    figure.heading.around(bottom + AXIS, f64::midpoint(LEFT, WIDTH), &axis, &drawn)
}

fn shaded(field: Option<&Shaded>, x: f64, y: f64, width: f64) -> Markup {
    let (left, top, wide, high) = (at(x + 1.5), at(y + 1.5), at(width - 3.0), at(FIELD - 3.0));
    let middle = at(x + width / 2.0);
    html! {
        @match field {
            Some(Shaded { text: (value, below), strength }) => {
                @let class = if *strength < 0.0 { "field falling" } else { "field rising" };
                @let opacity = format!("{:.2}", 0.04 + STRONGEST * strength.abs().min(1.0));
                rect class=(class) fill-opacity=(opacity) x=(left) y=(top) width=(wide) height=(high) rx="3" {}
                text class="value" x=(middle) y=(at(y + if below.is_empty() { 29.0 } else { 23.0 })) text-anchor="middle" { (value) }
                text class="tick" x=(middle) y=(at(y + 39.0)) text-anchor="middle" { (below) }
            }
            None => {
                rect class="field empty" x=(left) y=(top) width=(wide) height=(high) rx="3" {}
                text class="absent" x=(middle) y=(at(y + 29.0)) text-anchor="middle" { "–" }
            }
        }
    }
}
