//! Which of the machine's GPUs a process sees by `CUDA_VISIBLE_DEVICES`.
//!
//! The rules are CUDA's (programming guide, "CUDA Environment Variables"): indices or UUID prefixes, in order, and
//! the list ends at the first entry that names no GPU.

/// Positions in `uuids` that the variable's value makes visible; all of them when it is not set.
///
/// # Errors
/// The entry that this program cannot map to a whole GPU (a MIG instance).
pub(super) fn visible_gpus(uuids: &[String], variable: Option<&str>) -> Result<Vec<usize>, String> {
    let Some(list) = variable else { return Ok((0..uuids.len()).collect()) };
    let mut positions = Vec::new();
    for entry in list.split(',').map(str::trim) {
        if entry.starts_with("MIG-") {
            return Err(format!("CUDA_VISIBLE_DEVICES entry {entry:?} is a part of a GPU: name whole GPUs"));
        }
        let position = match entry.parse::<usize>() {
            Ok(index) => (index < uuids.len()).then_some(index),
            Err(_) => the_only(uuids, entry),
        };
        match position {
            Some(position) if !positions.contains(&position) => positions.push(position),
            _ => break,
        }
    }
    Ok(positions)
}

fn the_only(uuids: &[String], prefix: &str) -> Option<usize> {
    if !prefix.starts_with("GPU-") {
        return None;
    }
    let mut matching = uuids.iter().enumerate().filter(|(_, uuid)| uuid.starts_with(prefix));
    let (position, _) = matching.next()?;
    matching.next().is_none().then_some(position)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(None, vec![0, 1, 2])]
    #[case(Some(""), vec![])]
    #[case(Some("2,0"), vec![2, 0])]
    #[case(Some(" 1 , 2"), vec![1, 2])]
    #[case(Some("GPU-b1"), vec![1])]
    #[case(Some("0,-1,2"), vec![0])]
    #[case(Some("0,9,2"), vec![0])]
    #[case(Some("GPU-"), vec![])]
    #[case(Some("NoDevFiles"), vec![])]
    fn the_list_is_read_as_cuda_reads_it(#[case] variable: Option<&str>, #[case] expected: Vec<usize>) {
        let uuids = ["GPU-a0", "GPU-b1", "GPU-b2"].map(str::to_owned);
        assert_eq!(visible_gpus(&uuids, variable), Ok(expected));
    }

    #[test]
    fn a_part_of_a_gpu_is_refused_by_name() {
        assert!(visible_gpus(&["GPU-a".to_owned()], Some("MIG-c0ffee")).unwrap_err().contains("MIG-c0ffee"));
    }
}
