//! Minimisation without derivatives by a simplex that moves, stretches and shrinks (Nelder and Mead, 1965).

/// Minimises `cost` from `start`, with a first simplex of edge `edge`; returns the best point and its cost.
pub fn minimise(start: &[f64], edge: f64, evaluations: usize, cost: impl Fn(&[f64]) -> f64) -> (Vec<f64>, f64) {
    let size = start.len();
    let mut corners: Vec<(Vec<f64>, f64)> = (0..=size)
        .map(|corner| {
            let mut point = start.to_vec();
            if corner < size {
                point[corner] += edge;
            }
            let value = cost(&point);
            (point, value)
        })
        .collect();
    for _ in 0..evaluations {
        corners.sort_by(|left, right| left.1.total_cmp(&right.1));
        let (worst, worst_cost) = corners[size].clone();
        let centre: Vec<f64> = (0..size)
            .map(|axis| corners[..size].iter().map(|corner| corner.0[axis]).sum::<f64>() / size as f64)
            .collect();
        let along = |step: f64| -> (Vec<f64>, f64) {
            let point: Vec<f64> =
                centre.iter().zip(&worst).map(|(centre, worst)| centre + step * (centre - worst)).collect();
            let value = cost(&point);
            (point, value)
        };
        let reflected = along(1.0);
        corners[size] = if reflected.1 < corners[0].1 {
            let expanded = along(2.0);
            if expanded.1 < reflected.1 { expanded } else { reflected }
        } else if reflected.1 < corners[size - 1].1 {
            reflected
        } else {
            let contracted = if reflected.1 < worst_cost { along(0.5) } else { along(-0.5) };
            if contracted.1 < worst_cost.min(reflected.1) {
                contracted
            } else {
                shrink(&mut corners, &cost);
                continue;
            }
        };
    }
    corners.sort_by(|left, right| left.1.total_cmp(&right.1));
    corners.swap_remove(0)
}

/// Moves all corners halfway to the best one, which comes first.
fn shrink(corners: &mut [(Vec<f64>, f64)], cost: &impl Fn(&[f64]) -> f64) {
    let best = corners[0].0.clone();
    for (point, value) in &mut corners[1..] {
        for (axis, best) in point.iter_mut().zip(&best) {
            *axis = f64::midpoint(*axis, *best);
        }
        *value = cost(point);
    }
}
