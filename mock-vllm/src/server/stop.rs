//! Stop strings: the text is held back as far as it could become one.

/// Watches the text of one choice for its stop strings.
#[derive(Clone, Debug, Default)]
pub struct StopMatcher {
    stops: Vec<String>,
    held: String,
}

/// What may be sent after a token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Released {
    /// Text that can no longer be part of a stop string.
    pub text: String,
    /// The stop string that appeared right after it.
    pub stopped_by: Option<String>,
}

impl StopMatcher {
    /// Watches for these strings; empty ones match nothing.
    #[must_use]
    pub fn new(stops: &[String]) -> Self {
        Self { stops: stops.iter().filter(|stop| !stop.is_empty()).cloned().collect(), held: String::new() }
    }

    /// Takes the text of the next token; with `last` nothing is held back.
    pub fn push(&mut self, text: &str, last: bool) -> Released {
        self.held.push_str(text);
        let found = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str()).map(|at| (at, stop))).min();
        if let Some((at, stop)) = found {
            let stopped_by = Some(stop.clone());
            self.held.truncate(at);
            return Released { text: std::mem::take(&mut self.held), stopped_by };
        }
        let longest = self.stops.iter().map(String::len).max().unwrap_or(0);
        let keep = if last { 0 } else { longest.saturating_sub(1).min(self.held.len()) };
        let cut = self.held.floor_char_boundary(self.held.len() - keep);
        let rest = self.held.split_off(cut);
        Released { text: std::mem::replace(&mut self.held, rest), stopped_by: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::none(&[], &[" the", " dog"], " the dog", None)]
    #[case::absent(&["cat"], &[" the", " dog"], " the dog", None)]
    #[case::inside_a_token(&["do"], &[" the", " dog"], " the ", Some("do"))]
    #[case::across_tokens(&["he d"], &[" the", " dog"], " t", Some("he d"))]
    #[case::the_first_one_counts(&["dog", "the"], &[" the", " dog"], " ", Some("the"))]
    #[case::empty_is_ignored(&[""], &[" the"], " the", None)]
    fn text_ends_before_the_stop_string(
        #[case] stops: &[&str],
        #[case] tokens: &[&str],
        #[case] text: &str,
        #[case] stopped_by: Option<&str>,
    ) {
        let stops: Vec<String> = stops.iter().map(|&stop| stop.to_owned()).collect();
        let mut matcher = StopMatcher::new(&stops);
        let mut sent = String::new();
        let mut stopped = None;
        for (index, token) in tokens.iter().enumerate() {
            let released = matcher.push(token, index + 1 == tokens.len());
            sent.push_str(&released.text);
            stopped = released.stopped_by;
            if stopped.is_some() {
                break;
            }
        }
        assert_eq!((sent.as_str(), stopped.as_deref()), (text, stopped_by));
    }
}
