//! What names of directories say, and the orders in which conditions are shown.

use std::cmp::Ordering;

/// What an experiment's directory asks, told by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `throughput_latency`: conditions are models.
    ThroughputLatency,
    /// `throughput_latency_mns-calibration`: a model with several max-num-seqs.
    Calibration,
    /// `saturation_point` and its sweeps: a model at several concurrencies.
    Saturation,
    /// `sequence_overhead`: input by output lengths.
    Sequence,
    /// `energy`: conditions are models.
    Energy,
    /// Any other name.
    Other,
}

impl Kind {
    /// The kind of an experiment's directory.
    #[must_use]
    pub fn of(directory: &str) -> Self {
        match directory {
            "throughput_latency" => Self::ThroughputLatency,
            "throughput_latency_mns-calibration" => Self::Calibration,
            "sequence_overhead" => Self::Sequence,
            "energy" => Self::Energy,
            name if name == "saturation_point" || name.starts_with("saturation_point_sweep_") => Self::Saturation,
            _ => Self::Other,
        }
    }
}

/// What a condition's name says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Label {
    /// `<Model> <size>B`, or any other name.
    Model(String),
    /// `<Model>-mns-<n>`.
    MaxNumSeqs {
        /// The model.
        model: String,
        /// Its max-num-seqs.
        max_num_seqs: u32,
    },
    /// `..._<concurrency>`.
    Concurrency {
        /// What stands before the number.
        model: String,
        /// Most requests in flight.
        concurrency: u32,
    },
    /// `input_<X>_output_<Y>`.
    Lengths {
        /// Tokens of each prompt.
        input: u32,
        /// Tokens of each output.
        output: u32,
    },
}

impl Label {
    /// Reads a condition's name as its experiment's kind writes it. A router's `@<router>` at the end is set aside.
    ///
    /// # Errors
    /// The form that is wanted, when the name does not have it.
    pub fn parse(kind: Kind, name: &str) -> Result<Self, &'static str> {
        let name = name.rsplit_once('@').map_or(name, |(before, _)| before);
        let number = |text: &str| text.parse::<u32>().ok();
        match kind {
            Kind::ThroughputLatency | Kind::Energy | Kind::Other => Ok(Self::Model(name.to_owned())),
            Kind::Calibration => name
                .rsplit_once("-mns-")
                .and_then(|(model, n)| Some(Self::MaxNumSeqs { model: model.to_owned(), max_num_seqs: number(n)? }))
                .ok_or("<Model>-mns-<number>"),
            Kind::Saturation => name
                .rsplit_once('_')
                .and_then(|(model, n)| Some(Self::Concurrency { model: model.to_owned(), concurrency: number(n)? }))
                .ok_or("<name>_<concurrency>"),
            Kind::Sequence => name
                .strip_prefix("input_")
                .and_then(|rest| rest.split_once("_output_"))
                .and_then(|(input, output)| Some(Self::Lengths { input: number(input)?, output: number(output)? }))
                .ok_or("input_<tokens>_output_<tokens>"),
        }
    }

    /// The model that the name has, if it has one.
    #[must_use]
    pub fn model(&self) -> Option<&str> {
        match self {
            Self::Model(model) | Self::MaxNumSeqs { model, .. } | Self::Concurrency { model, .. } => Some(model),
            Self::Lengths { .. } => None,
        }
    }

    /// The max-num-seqs that the name has.
    pub(super) fn max_num_seqs(&self) -> Option<u32> {
        match self {
            Self::MaxNumSeqs { max_num_seqs, .. } => Some(*max_num_seqs),
            Self::Model(_) | Self::Concurrency { .. } | Self::Lengths { .. } => None,
        }
    }

    /// Tokens of each prompt and of each output, where the name has them.
    pub(super) fn lengths(&self) -> Option<(u32, u32)> {
        match self {
            Self::Lengths { input, output } => Some((*input, *output)),
            Self::Model(_) | Self::MaxNumSeqs { .. } | Self::Concurrency { .. } => None,
        }
    }
}

/// A model's parameters in billions, from `0.5B`, `8B` or `8x7B` in its name; `None` when there is nothing of the kind.
#[must_use]
pub fn model_size(name: &str) -> Option<f64> {
    name.split(|character: char| character.is_whitespace() || matches!(character, '-' | '_' | '/')).find_map(|word| {
        let billions = word.strip_suffix(['B', 'b'])?;
        match billions.split_once('x') {
            Some((experts, size)) => Some(positive(experts)? * positive(size)?),
            None => positive(billions),
        }
    })
}

fn positive(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    text.parse::<f64>().ok().filter(|number| plain && *number > 0.0)
}

/// An order of conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// By bytes.
    Lexicographic,
    /// Runs of digits as numbers, letters whatever their case.
    Natural,
    /// By the model's size, those without one last; equal sizes in natural order.
    ModelSize,
}

impl Order {
    /// Compares two names.
    #[must_use]
    pub fn compare(self, left: &str, right: &str) -> Ordering {
        match self {
            Self::Lexicographic => left.cmp(right),
            Self::Natural => natural(left, right).then_with(|| left.cmp(right)),
            Self::ModelSize => {
                let size = |name| model_size(name).unwrap_or(f64::INFINITY);
                size(left).total_cmp(&size(right)).then_with(|| Self::Natural.compare(left, right))
            }
        }
    }
}

fn natural(left: &str, right: &str) -> Ordering {
    let (mut left, mut right) = (left, right);
    loop {
        let (a, rest_of_left) = part(left);
        let (b, rest_of_right) = part(right);
        let both_numbers = |text: &str| text.starts_with(|first: char| first.is_ascii_digit());
        let order = if both_numbers(a) && both_numbers(b) {
            // Without leading zeros the longer number is the greater one, however long it is.
            let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
            a.len().cmp(&b.len()).then_with(|| a.cmp(b))
        } else {
            a.to_lowercase().cmp(&b.to_lowercase())
        };
        if order != Ordering::Equal || (a.is_empty() && b.is_empty()) {
            return order;
        }
        (left, right) = (rest_of_left, rest_of_right);
    }
}

/// The first run of digits or of other characters, and what follows it.
fn part(text: &str) -> (&str, &str) {
    let Some(first) = text.chars().next() else { return ("", "") };
    let digits = first.is_ascii_digit();
    let end = text.find(|character: char| character.is_ascii_digit() != digits).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::model(Kind::ThroughputLatency, "Llama3.1 8B", Label::Model("Llama3.1 8B".into()))]
    #[case::calibration(Kind::Calibration, "Gemma3 1B-mns-512", Label::MaxNumSeqs { model: "Gemma3 1B".into(), max_num_seqs: 512 })]
    #[case::saturation(Kind::Saturation, "Llama3.1 8B_64", Label::Concurrency { model: "Llama3.1 8B".into(), concurrency: 64 })]
    #[case::more_underscores(Kind::Saturation, "my_model_7", Label::Concurrency { model: "my_model".into(), concurrency: 7 })]
    #[case::sequence(Kind::Sequence, "input_128_output_2048", Label::Lengths { input: 128, output: 2048 })]
    #[case::router(Kind::Saturation, "Llama3.1 8B_64@hr-tree", Label::Concurrency { model: "Llama3.1 8B".into(), concurrency: 64 })]
    fn n5_names_of_conditions_are_parsed(#[case] kind: Kind, #[case] name: &str, #[case] expected: Label) {
        assert_eq!(Label::parse(kind, name), Ok(expected));
    }

    #[rstest]
    #[case(Kind::Calibration, "Gemma3 1B", "-mns-<number>")]
    #[case(Kind::Saturation, "Llama3.1 8B_many", "_<concurrency>")]
    #[case(Kind::Sequence, "input_x_output_5", "input_<tokens>")]
    fn n5_another_form_is_refused_with_the_one_that_is_wanted(
        #[case] kind: Kind,
        #[case] name: &str,
        #[case] form: &str,
    ) {
        assert!(Label::parse(kind, name).unwrap_err().contains(form));
    }

    #[rstest]
    #[case("Qwen2.5 0.5B", Some(0.5))]
    #[case("Mixtral 8x7B", Some(56.0))]
    #[case("Mistral 24B-mns-128", Some(24.0))]
    #[case("meta-llama/Llama-3.1-8B-Instruct", Some(8.0))]
    #[case("Phi mini", None)]
    #[case("B", None)]
    #[case("-3B", Some(3.0))]
    #[case("1e3B", None)]
    fn n6_sizes_of_models_are_read(#[case] name: &str, #[case] expected: Option<f64>) {
        assert_eq!(model_size(name), expected);
    }

    #[rstest]
    #[case::lexicographic(Order::Lexicographic, &["Gemma 10", "Gemma 9", "alpha"])]
    #[case::natural(Order::Natural, &["alpha", "Gemma 9", "Gemma 10"])]
    fn n7_conditions_have_orders(#[case] order: Order, #[case] expected: &[&str]) {
        let mut names = vec!["Gemma 9", "alpha", "Gemma 10"];
        names.sort_by(|left, right| order.compare(left, right));
        assert_eq!(names, expected);
    }

    #[test]
    fn n8_models_are_ordered_by_size_and_those_without_one_come_last() {
        let mut names = vec!["Phi", "Qwen3 32B", "Gemma3 1B", "Mixtral 8x7B", "Llama3.1 8B"];
        names.sort_by(|left, right| Order::ModelSize.compare(left, right));
        assert_eq!(names, ["Gemma3 1B", "Llama3.1 8B", "Qwen3 32B", "Mixtral 8x7B", "Phi"]);
    }

    proptest::proptest! {
        #[test]
        fn the_natural_order_is_an_order(names in proptest::collection::vec("[aB0-9]{0,6}", 3)) {
            let compare = |left: usize, right: usize| Order::Natural.compare(&names[left], &names[right]);
            proptest::prop_assert_eq!(compare(0, 1), compare(1, 0).reverse());
            if compare(0, 1).is_le() && compare(1, 2).is_le() {
                proptest::prop_assert!(compare(0, 2).is_le());
            }
        }
    }
}
