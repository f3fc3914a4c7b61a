//! The command line of `vllm serve`, by what was recorded of vLLM itself: its flags, which of them take values, and
//! their choices.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Flags of `vllm serve` as vLLM 0.25.1 tells them.
const RECORDED: &str = include_str!("../../data/vllm-0.25.1-serve-flags.json");

/// The flags that vLLM knows.
#[derive(Deserialize, Debug)]
pub(super) struct Known {
    flags: Vec<Flag>,
}

#[derive(Deserialize, Debug)]
struct Flag {
    names: Vec<String>,
    takes_value: bool,
    many: bool,
    choices: Option<Vec<String>>,
}

/// What was given, by each flag's first name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Given {
    /// Directory or repository of the model.
    pub model: String,
    values: BTreeMap<String, Vec<String>>,
    switches: BTreeMap<String, bool>,
}

impl Given {
    /// The first value of a flag.
    pub(super) fn value(&self, flag: &str) -> Option<&str> {
        self.values.get(flag)?.first().map(String::as_str)
    }

    /// Whether a switch was given, and which way.
    pub(super) fn switch(&self, flag: &str) -> Option<bool> {
        self.switches.get(flag).copied()
    }
}

impl Known {
    /// What was recorded.
    pub(super) fn recorded() -> Self {
        serde_json::from_str(RECORDED).expect("what was recorded is part of this program, and a test reads it")
    }

    /// Reads a command line; the message of one that will not do is argparse's.
    pub(super) fn parse(&self, words: impl Iterator<Item = String>) -> Result<Given, String> {
        let mut words = words.peekable();
        let mut given = Given::default();
        let mut unknown = Vec::new();
        while let Some(word) = words.next() {
            if !word.starts_with('-') {
                if given.model.is_empty() {
                    given.model = word;
                } else {
                    unknown.push(word);
                }
                continue;
            }
            let (name, joined) = match word.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (word, None),
            };
            let Some(flag) = self.flags.iter().find(|flag| flag.names.contains(&name)) else {
                unknown.push(name);
                continue;
            };
            let first = flag.names[0].clone();
            if !flag.takes_value {
                if let Some(value) = joined {
                    return Err(format!("argument {}: ignored explicit argument '{value}'", flag.names.join("/")));
                }
                // Of a switch's names, those after the first are its contrary or a short form of it.
                given.switches.insert(first, !name.starts_with("--no-"));
                continue;
            }
            let mut values: Vec<String> = joined.into_iter().collect();
            let wanted = if flag.many { usize::MAX } else { 1 };
            while values.len() < wanted
                && let Some(value) = words.next_if(|word| !word.starts_with("--"))
            {
                values.push(value);
            }
            flag.check(&values)?;
            given.values.insert(first, values);
        }
        if unknown.is_empty() { Ok(given) } else { Err(format!("unrecognized arguments: {}", unknown.join(" "))) }
    }
}

impl Flag {
    fn check(&self, values: &[String]) -> Result<(), String> {
        let names = self.names.join("/");
        if values.is_empty() {
            return Err(format!(
                "argument {names}: expected {} argument",
                if self.many { "at least one" } else { "one" }
            ));
        }
        let Some(choices) = &self.choices else { return Ok(()) };
        match values.iter().find(|value| !choices.contains(value)) {
            Some(value) => {
                let choices: Vec<String> = choices.iter().map(|choice| format!("'{choice}'")).collect();
                Err(format!("argument {names}: invalid choice: '{value}' (choose from {})", choices.join(", ")))
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn parse(line: &str) -> Result<Given, String> {
        Known::recorded().parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn what_the_operator_gives_is_understood() {
        let given = parse(
            "/models/m --host 0.0.0.0 --port 8000 --served-model-name m --max-num-seqs 4 --gpu-memory-utilization=0.90 \
             --dtype bfloat16 --no-enable-prefix-caching --enforce-eager",
        )
        .unwrap();

        assert_eq!(given.model, "/models/m");
        assert_eq!(given.value("--max-num-seqs"), Some("4"));
        assert_eq!(given.value("--gpu-memory-utilization"), Some("0.90"));
        assert_eq!(given.value("--served-model-name"), Some("m"));
        assert_eq!(given.switch("--enable-prefix-caching"), Some(false));
        assert_eq!(given.switch("--enforce-eager"), Some(true));
        assert_eq!(given.switch("--async-scheduling"), None);
    }

    #[rstest]
    #[case::unknown_flag("m --no-such-flag", "unrecognized arguments: --no-such-flag")]
    #[case::second_model("m n", "unrecognized arguments: n")]
    #[case::no_value("m --port", "argument --port: expected one argument")]
    #[case::choice("m --dtype int3", "argument --dtype: invalid choice: 'int3' (choose from 'auto'")]
    #[case::value_for_a_switch("m --enforce-eager=yes", "ignored explicit argument 'yes'")]
    fn what_vllm_does_not_know_is_refused_in_its_words(#[case] line: &str, #[case] words: &str) {
        let refusal = parse(line).unwrap_err();

        assert!(refusal.contains(words), "{refusal}");
    }
}
