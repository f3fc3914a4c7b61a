//! What every figure has: its size, its name and description for those who cannot see it, the title of its axis, and the
//! stamp of simulated figures.

use maud::{Markup, html};

use super::{WIDTH, at, text_width};

/// Room that the stamp takes at the right of the axis' title.
const STAMP: f64 = 84.0;

/// Name and description of a figure.
pub struct Heading {
    /// Unique in the page; links title and description to the figure.
    pub id: String,
    /// What is shown.
    pub title: String,
    /// What is shown, for those who cannot see it.
    pub description: String,
    /// Whether figures are simulated.
    pub simulated: bool,
}

impl Heading {
    /// A figure of this height around `body`. The title of its axis stands below `middle`, or left of it to leave room
    /// for the stamp.
    pub(super) fn around(&self, height: f64, middle: f64, axis: &str, body: &Markup) -> Markup {
        let Self { id, title, description, simulated } = self;
        let (title_id, description_id) = (format!("{id}-title"), format!("{id}-desc"));
        let foot = at(height - 7.0);
        let right = WIDTH - if *simulated { STAMP } else { 0.0 };
        html! {
            svg class="figure" viewBox={ "0 0 " (at(WIDTH)) " " (at(height)) } role="img"
                aria-labelledby={ (title_id) " " (description_id) } {
                title id=(title_id) { (title) }
                desc id=(description_id) { (description) }
                (body)
                text class="unit" x=(at(middle.min(right - text_width(axis) / 2.0))) y=(foot) text-anchor="middle" { (axis) }
                @if *simulated {
                    text class="stamp" x=(at(WIDTH)) y=(foot) text-anchor="end" { "SIMULATED" }
                }
            }
        }
    }
}
