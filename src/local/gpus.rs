//! GPUs of one machine, dealt to servers.

use teebench_api::campaign::EngineSettings;

/// GPUs of each server of an arm: dealt in turn over the visible ones. `Err` says why they do not suffice.
pub fn deal_gpus(
    visible: &[String],
    servers: u32,
    settings: &EngineSettings,
    already_taken: u32,
) -> Result<Vec<Vec<String>>, String> {
    let each = settings.gpus_per_server();
    let may_share = settings.kv_cache_bytes.is_some() || settings.num_gpu_blocks.is_some();
    let wanted = servers.saturating_mul(each).saturating_add(already_taken);
    if visible.is_empty() {
        return Err("no GPU is visible; install the driver, or use --simulate".into());
    }
    let available = u32::try_from(visible.len()).unwrap_or(u32::MAX);
    if each > available {
        return Err(format!("a server needs {each} GPUs and {available} are visible; lower tensorParallelSize"));
    }
    if wanted > available && !may_share {
        return Err(format!(
            "{wanted} GPUs are needed and {available} are visible; set kvCacheBytes or numGpuBlocks so that servers \
             may share a GPU, or run one arm at a time with --arm"
        ));
    }
    let at = |index: u32| visible[(index % available) as usize].clone();
    Ok((0..servers).map(|server| (0..each).map(|gpu| at(already_taken + server * each + gpu)).collect()).collect())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::one_each("01", 2, 1, None, 0, Ok("0|1"))]
    #[case::second_arm_goes_on_where_the_first_ended("0123", 2, 1, None, 2, Ok("2|3"))]
    #[case::two_each("4567", 2, 2, None, 0, Ok("4,5|6,7"))]
    #[case::sharing_needs_a_bounded_cache("0", 2, 1, None, 0, Err("kvCacheBytes"))]
    #[case::sharing_with_a_bounded_cache("0", 2, 1, Some(512), 0, Ok("0|0"))]
    #[case::too_few_for_one("0", 1, 2, Some(512), 0, Err("tensorParallelSize"))]
    #[case::none("", 1, 1, None, 0, Err("--simulate"))]
    fn gpus_are_dealt_in_turn(
        #[case] visible: &str,
        #[case] servers: u32,
        #[case] each: u32,
        #[case] blocks: Option<u32>,
        #[case] taken: u32,
        #[case] expected: Result<&str, &str>,
    ) {
        let visible: Vec<String> = visible.chars().map(String::from).collect();
        let settings =
            EngineSettings { tensor_parallel_size: Some(each), num_gpu_blocks: blocks, ..EngineSettings::default() };
        match (deal_gpus(&visible, servers, &settings, taken), expected) {
            (Ok(dealt), Ok(expected)) => {
                let dealt: Vec<String> = dealt.iter().map(|gpus| gpus.join(",")).collect();
                assert_eq!(dealt.join("|"), expected);
            }
            (Err(message), Err(word)) => assert!(message.contains(word), "{message}"),
            (found, expected) => panic!("{found:?} is not {expected:?}"),
        }
    }
}
