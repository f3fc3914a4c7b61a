//! A server's `/metrics`: counters and gauges summed over their labels, and what changed between two readings.

use std::collections::BTreeMap;

/// One reading: each series' name with the sum over its labels, and the labels of information series.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MetricsText {
    sums: BTreeMap<String, f64>,
    labels: BTreeMap<String, BTreeMap<String, String>>,
}

impl MetricsText {
    /// Reads the Prometheus text format; lines that are not samples are passed over.
    pub fn parse(text: &str) -> Self {
        let mut found = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let Ok(value) = value.parse::<f64>() else { continue };
            let (name, labels) = series.split_once('{').map_or((series, ""), |(name, labels)| (name, labels));
            *found.sums.entry(name.to_owned()).or_insert(0.0) += value;
            if name.ends_with("_info") {
                found.labels.entry(name.to_owned()).or_insert_with(|| parse_labels(labels.trim_end_matches('}')));
            }
        }
        found
    }

    /// The sum of a series over its labels.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.sums.get(name).copied()
    }

    /// A label of an information series.
    pub fn label(&self, name: &str, label: &str) -> Option<&str> {
        self.labels.get(name)?.get(label).map(String::as_str)
    }

    /// The KV blocks of the server's pool.
    pub fn num_gpu_blocks(&self) -> Option<u64> {
        self.label("vllm:cache_config_info", "num_gpu_blocks")?.parse().ok()
    }

    /// How much each counter grew since an earlier reading. A counter that fell started anew and is left out.
    pub fn growth_since(&self, earlier: &Self) -> BTreeMap<String, f64> {
        self.sums
            .iter()
            .filter(|(name, _)| ["_total", "_sum", "_count"].iter().any(|end| name.ends_with(end)))
            .filter_map(|(name, now)| {
                let growth = now - earlier.get(name).unwrap_or(0.0);
                (growth >= 0.0).then(|| (name.clone(), growth))
            })
            .collect()
    }
}

fn parse_labels(text: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once("=\"") {
        let Some((value, tail)) = after.split_once('"') else { break };
        labels.insert(name.trim_start_matches([',', ' ']).to_owned(), value.to_owned());
        rest = tail;
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# HELP vllm:prefix_cache_hits_total x\n\
        # TYPE vllm:prefix_cache_hits_total counter\n\
        vllm:prefix_cache_hits_total{engine=\"0\",model_name=\"m\"} 1216.0\n\
        vllm:prefix_cache_hits_total{engine=\"1\",model_name=\"m\"} 4.0\n\
        vllm:num_requests_running{engine=\"0\"} 0.0\n\
        vllm:cache_config_info{block_size=\"16\",engine=\"0\",num_gpu_blocks=\"7000\"} 1.0\n\
        not a sample\n";

    #[test]
    fn a_series_is_the_sum_over_its_labels() {
        let metrics = MetricsText::parse(TEXT);

        assert_eq!(metrics.get("vllm:prefix_cache_hits_total"), Some(1220.0));
        assert_eq!(metrics.num_gpu_blocks(), Some(7000));
        assert_eq!(metrics.get("vllm:absent"), None);
    }

    #[test]
    fn growth_leaves_gauges_and_restarted_counters_out() {
        let earlier = MetricsText::parse("a_total 5\nb_total 9\ng 1\n");
        let later = MetricsText::parse("a_total 7\nb_total 2\ng 4\nc_count 3\n");

        let growth = later.growth_since(&earlier);

        assert_eq!(growth, BTreeMap::from([("a_total".to_owned(), 2.0), ("c_count".to_owned(), 3.0)]));
    }
}
