//! Figures as inline SVG: crisp at any size, text selectable, colours from the page's style sheet so that they follow
//! light and dark.

mod axis;
mod curve;
mod forest;
mod frame;
mod map;
mod marks;
mod rows;

use maud::{Markup, html};

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

/// Estimated width of a character of 12 units in a sans-serif face.
const CHARACTER: f64 = 6.7;

/// Estimated width of text of 12 units.
fn text_width(text: &str) -> f64 {
    CHARACTER * text.chars().count() as f64
}

/// A name at the left of a row, within the room that ends at `right`: what is too long ends in an ellipsis, and is whole
/// for those who point at it and in the table of numbers.
fn row_label(text: &str, right: f64, y: f64) -> Markup {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a figure is a few hundred units wide")]
    let most = (right / CHARACTER).max(2.0) as usize;
    let shown = if text.chars().count() > most {
        text.chars().take(most - 1).chain(['…']).collect()
    } else {
        text.to_owned()
    };
    html! {
        text class="label" x=(at(right)) y=(at(y + 4.0)) text-anchor="end" {
            @if shown != text { title { (text) } }
            (shown)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_longer_than_its_room_is_shortened_and_stands_whole_in_its_title() {
        let whole = row_label("hr-tree / direct", 160.0, 0.0).into_string();
        assert!(whole.contains(">hr-tree / direct<") && !whole.contains("<title>"), "{whole}");
        let cut = row_label("a-router-of-a-long-name / another-one, cc-on", 160.0, 0.0).into_string();
        assert!(cut.contains("<title>a-router-of-a-long-name / another-one, cc-on</title>"), "{cut}");
        let shown = cut.rsplit("</title>").next().unwrap().split('<').next().unwrap();
        assert!(shown.ends_with('…') && text_width(shown) <= 160.0, "{shown}");
    }
}
