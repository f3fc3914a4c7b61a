//! Marks: each series has a shape of its own, so that colour is never the only difference.

use maud::{Markup, html};

use super::at;

/// Half the width of a mark.
const SIZE: f64 = 5.0;

/// The mark of a series at a place.
pub fn marker(series: usize, x: f64, y: f64, class: &str) -> Markup {
    let s = SIZE;
    match series % 4 {
        0 => html! { circle class=(class) cx=(at(x)) cy=(at(y)) r=(at(s)) {} },
        1 => polygon(class, &[(x, y - 1.25 * s), (x + 1.25 * s, y), (x, y + 1.25 * s), (x - 1.25 * s, y)]),
        2 => polygon(class, &[(x - s, y - s), (x + s, y - s), (x + s, y + s), (x - s, y + s)]),
        _ => polygon(class, &[(x, y - 1.2 * s), (x + 1.2 * s, y + s), (x - 1.2 * s, y + s)]),
    }
}

fn polygon(class: &str, points: &[(f64, f64)]) -> Markup {
    let points: Vec<String> = points.iter().map(|(x, y)| format!("{},{}", at(*x), at(*y))).collect();
    html! { polygon class=(class) points=(points.join(" ")) {} }
}
