//! An error and its causes as one line of text.

use std::error::Error;

/// The error's text and its causes', each after a colon. A cause that the text before it ends with already is not told
/// again.
#[must_use]
pub fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    for cause in std::iter::successors(error.source(), |cause| (*cause).source()) {
        let told = cause.to_string();
        if !text.ends_with(&told) {
            text.push_str(": ");
            text.push_str(&told);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Told {
        text: &'static str,
        #[source]
        cause: Option<Box<Told>>,
    }

    fn told(texts: &[&'static str]) -> Told {
        let (first, rest) = texts.split_first().expect("an error has a text");
        Told { text: first, cause: (!rest.is_empty()).then(|| Box::new(told(rest))) }
    }

    #[test]
    fn every_cause_is_told_once() {
        assert_eq!(with_causes(&told(&["no answer"])), "no answer");
        assert_eq!(
            with_causes(&told(&["no answer", "cannot connect", "refused"])),
            "no answer: cannot connect: refused"
        );
        assert_eq!(with_causes(&told(&["no answer: refused", "refused"])), "no answer: refused");
    }
}
