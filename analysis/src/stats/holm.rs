//! Holm's correction for several tests.

/// p-values adjusted by Holm's step-down method (*Scandinavian Journal of Statistics* 6 (1979)), in the given order.
#[must_use]
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&left, &right| p_values[left].total_cmp(&p_values[right]));
    let mut adjusted = vec![0.0; p_values.len()];
    let mut largest = 0.0_f64;
    for (position, &index) in order.iter().enumerate() {
        largest = largest.max((p_values.len() - position) as f64 * p_values[index]).min(1.0);
        adjusted[index] = largest;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_family_of_one_is_left_alone() {
        assert_eq!(holm(&[0.031_25]), [0.031_25]);
    }

    proptest! {
        #[test]
        fn adjusted_values_are_never_smaller_and_keep_their_order(values in proptest::collection::vec(0.0..1.0_f64, 1..9)) {
            let adjusted = holm(&values);
            for (left, right) in (0..values.len()).flat_map(|left| (0..values.len()).map(move |right| (left, right))) {
                prop_assert!(adjusted[left] >= values[left]);
                prop_assert!(values[left] > values[right] || adjusted[left] <= adjusted[right]);
            }
        }
    }
}
