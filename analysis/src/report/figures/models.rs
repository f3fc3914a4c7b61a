//! Energy and cost over the size of the model, on a logarithmic axis.

use super::{
    Context, Drawn,
    medians::{self, Setting},
};
use crate::{
    metrics::Measure,
    notebook::model_size,
    report::svg::{Point, XAxis},
    summary::{Cell, CellName},
};

/// What is drawn over the size of the model.
const OVER_SIZE: [Measure; 3] =
    [Measure::JoulesPerOutputToken, Measure::JoulesPerTotalToken, Measure::JoulesPerRequest];

/// A figure for each kind of energy, where two models or more have a size and a figure.
pub fn figures(context: Context<'_>) -> Vec<Drawn> {
    OVER_SIZE.into_iter().filter_map(|measure| figure(context, measure)).collect()
}

fn figure(context: Context<'_>, measure: Measure) -> Option<Drawn> {
    let conditions = &context.experiment.conditions;
    let sized = || conditions.iter().filter_map(|condition| Some((condition, model_size(&condition.model)?)));
    let mut names: Vec<(f64, String)> = sized().map(|(condition, size)| (size, condition.model.clone())).collect();
    names.sort_by(|left, right| left.0.total_cmp(&right.0));
    names.dedup();
    // Several conditions of one model would be several points at one place.
    if names.len() < 2 || names.len() != conditions.len() {
        return None;
    }
    let mut drawn: Vec<(&CellName, Vec<Point>)> = Vec::new();
    let mut cells: Vec<&Cell> = Vec::new();
    for (condition, size) in sized() {
        for cell in &condition.cells {
            let Some(point) = medians::point(size, cell, measure) else { continue };
            cells.push(cell);
            match drawn.iter_mut().find(|(name, _)| **name == cell.name) {
                Some((_, points)) => points.push(point),
                None => drawn.push((&cell.name, vec![point])),
            }
        }
    }
    if drawn.iter().all(|(_, points)| points.len() < 2) {
        return None;
    }
    for (_, points) in &mut drawn {
        points.sort_by(|left, right| left.x.total_cmp(&right.x));
    }
    let setting = Setting {
        id: "size".to_owned(),
        title: "model size".to_owned(),
        axis: XAxis { title: "model, by parameters on a logarithmic axis".to_owned(), logarithmic: true, names },
        column: "billion parameters",
        marks: Vec::new(),
        note: "",
    };
    Some(medians::figure(context, measure, setting, drawn, cells.iter().map(|cell| cell.runs)))
}
