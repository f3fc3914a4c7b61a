//! A scanner over JSON that finds the few fields that routing needs without building a document.
//!
//! It accepts some texts that are no JSON: the worker judges the body, the router only looks for a prompt in it.

use memchr::memchr;

use super::quote::{Closing, closing_quote};

/// The inside of a JSON string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text {
    /// First byte after the opening quote.
    pub start: usize,
    /// The closing quote.
    pub end: usize,
    /// True if its bytes are what [`canonical`] would make of them.
    pub is_canonical: bool,
}

/// A position in a body. Every method returns none where the text cannot be JSON, and the scan ends there.
#[derive(Debug)]
pub struct Scanner<'a> {
    body: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    /// Starts at the beginning of a body.
    pub fn new(body: &'a [u8]) -> Self {
        Self { body, at: 0 }
    }

    /// Position in the body.
    pub fn position(&self) -> usize {
        self.at
    }

    /// The next byte that is no white space, without taking it.
    pub fn peek(&mut self) -> Option<u8> {
        while self.body.get(self.at).is_some_and(|byte| matches!(byte, b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
        self.body.get(self.at).copied()
    }

    /// Takes `wanted` if it is next.
    fn take(&mut self, wanted: u8) -> Option<()> {
        (self.peek()? == wanted).then(|| self.at += 1)
    }

    /// Takes a string.
    pub fn string(&mut self) -> Option<Text> {
        self.take(b'"')?;
        let start = self.at;
        let Closing { length, is_canonical } = closing_quote(&self.body[start..])?;
        self.at = start + length + 1;
        Some(Text { start, end: start + length, is_canonical })
    }

    /// Takes an object; `field` must take each value.
    pub fn object(&mut self, mut field: impl FnMut(&mut Self, &[u8]) -> Option<()>) -> Option<()> {
        self.take(b'{')?;
        if self.take(b'}').is_some() {
            return Some(());
        }
        loop {
            let key = self.string()?;
            self.take(b':')?;
            let body = self.body;
            field(self, &body[key.start..key.end])?;
            if self.take(b',').is_none() {
                return self.take(b'}');
            }
        }
    }

    /// Takes an array; `element` must take each value.
    pub fn array(&mut self, mut element: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.take(b'[')?;
        if self.take(b']').is_some() {
            return Some(());
        }
        loop {
            element(self)?;
            if self.take(b',').is_none() {
                return self.take(b']');
            }
        }
    }

    /// Takes an integer of at most 18 digits; a value that is none is skipped.
    pub fn integer(&mut self) -> Option<Option<u64>> {
        self.peek()?;
        let start = self.at;
        self.skip()?;
        let digits = &self.body[start..self.at];
        let is_integer = digits.len() <= 18 && digits.iter().all(u8::is_ascii_digit);
        Some(is_integer.then(|| digits.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))))
    }

    /// Skips a value of any kind.
    pub fn skip(&mut self) -> Option<()> {
        match self.peek()? {
            b'"' => self.string().map(drop),
            b'{' => self.skip_nested(),
            b'[' => self.skip_array(),
            _ => {
                let rest = &self.body[self.at..];
                let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t');
                let length = rest.iter().position(ends).unwrap_or(rest.len());
                self.at += length;
                (length > 0).then_some(())
            }
        }
    }

    /// A list of token ids can be a megabyte of digits; it has nothing inside that must be understood to find its end.
    fn skip_array(&mut self) -> Option<()> {
        let start = self.at;
        self.take(b'[')?;
        if self.peek()?.is_ascii_digit() {
            self.at += memchr(b']', &self.body[self.at..])? + 1;
            return Some(());
        }
        self.at = start;
        self.skip_nested()
    }

    fn skip_nested(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.body.get(self.at)? {
                b'"' => {
                    self.string()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return Some(());
            }
        }
    }
}

/// Hands the inside of a JSON string to `sink` piece by piece, each character in its one canonical spelling: two-letter
/// escapes where JSON has them, `\u00xx` for other control characters, UTF-8 for all else. So `\u00e9` and the letter
/// itself are equal, and a string without `\u` and `\/` needs no rewriting at all. What is no valid escape passes as it
/// stands.
pub fn canonical(mut text: &[u8], mut sink: impl FnMut(&[u8])) {
    while let Some(at) = memchr(b'\\', text) {
        sink(&text[..at]);
        text = &text[at..];
        let length = match text.get(1) {
            Some(b'/') => {
                sink(b"/");
                2
            }
            Some(b'u') => match unicode_escape(text) {
                Some((character, length)) => {
                    spell(character, &mut sink);
                    length
                }
                None => {
                    sink(b"\\u");
                    2
                }
            },
            _ => {
                let length = text.len().min(2);
                sink(&text[..length]);
                length
            }
        };
        text = &text[length..];
    }
    sink(text);
}

fn spell(character: char, sink: &mut impl FnMut(&[u8])) {
    let short: &[u8] = match character {
        '"' => b"\\\"",
        '\\' => b"\\\\",
        '\n' => b"\\n",
        '\r' => b"\\r",
        '\t' => b"\\t",
        '\u{8}' => b"\\b",
        '\u{c}' => b"\\f",
        control @ '\0'..' ' => {
            let digit = |value: u8| b"0123456789abcdef"[usize::from(value)];
            let code = control as u8;
            return sink(&[b'\\', b'u', b'0', b'0', digit(code >> 4), digit(code & 15)]);
        }
        _ => return sink(character.encode_utf8(&mut [0; 4]).as_bytes()),
    };
    sink(short);
}

/// The character of a `\uXXXX` at the start, or of a pair of surrogates, and the length of the escape.
fn unicode_escape(escaped: &[u8]) -> Option<(char, usize)> {
    let unit = |at: usize| -> Option<u32> {
        let escape = escaped.get(at..at + 6)?.strip_prefix(b"\\u")?;
        // `from_str_radix` would take a sign.
        escape.iter().all(u8::is_ascii_hexdigit).then_some(())?;
        u32::from_str_radix(str::from_utf8(escape).ok()?, 16).ok()
    };
    let first = unit(0)?;
    if let Some(character) = char::from_u32(first) {
        return Some((character, 6));
    }
    let second = unit(6)?;
    let is_pair = (0xd800..0xdc00).contains(&first) && (0xdc00..0xe000).contains(&second);
    let character = char::from_u32(0x1_0000 + ((first & 0x3ff) << 10 | second & 0x3ff))?;
    is_pair.then_some((character, 12))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::string(r#""a\"]b" , 1"#, r#""a\"]b""#)]
    #[case::tokens("[1, 2,3] , 1", "[1, 2,3]")]
    #[case::nested(r#"[{"a": [1, "]"]}, []] , 1"#, r#"[{"a": [1, "]"]}, []]"#)]
    #[case::number("-1.5e3, 1", "-1.5e3")]
    #[case::word("null}", "null")]
    fn a_value_is_skipped_to_its_end(#[case] text: &str, #[case] value: &str) {
        let mut scanner = Scanner::new(text.as_bytes());
        scanner.skip().unwrap();
        assert_eq!(&text[..scanner.position()], value);
    }

    #[rstest]
    #[case::nothing("")]
    #[case::open_string(r#""abc"#)]
    #[case::open_escape(r#""abc\"#)]
    #[case::open_array("[1, 2")]
    #[case::open_object(r#"{"a": "#)]
    #[case::stray_end("]")]
    fn what_does_not_end_is_no_value(#[case] text: &str) {
        assert_eq!(Scanner::new(text.as_bytes()).skip(), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut scanner = Scanner::new(&bytes);
            let _ = scanner.object(|scanner, _| scanner.skip());
            canonical(&bytes, |_| {});
        }

        #[test]
        fn every_spelling_of_a_text_has_one_canonical_form(text in ".{0,60}", spellings in prop::collection::vec(0..3, 60)) {
            let mut spelt = String::new();
            for (character, spelling) in text.chars().zip(spellings.into_iter().cycle()) {
                match spelling {
                    0 => spelt.extend(character.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04X}"))),
                    1 if character == '/' => spelt.push_str("\\/"),
                    _ => spelt.push_str(serde_json::to_string(&character).unwrap().trim_matches('"')),
                }
            }
            // A quote is spelt `\"`, of which the trimming took the quote.
            prop_assume!(!text.contains('"'));
            let made = |inside: &str| {
                let mut made = Vec::new();
                canonical(inside.as_bytes(), |piece| made.extend_from_slice(piece));
                made
            };
            let expected = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(made(&spelt), &expected.as_bytes()[1..expected.len() - 1]);
            prop_assert_eq!(serde_json::from_str::<String>(&format!("\"{spelt}\"")).unwrap(), text);
        }

        #[test]
        fn what_is_called_canonical_is(inside in r#"[a/u"\\nd8é0]{0,80}"#) {
            let body = format!("\"{inside}\"");
            if let Some(Text { start, end, is_canonical: true }) = Scanner::new(body.as_bytes()).string() {
                let mut made = Vec::new();
                canonical(&body.as_bytes()[start..end], |piece| made.extend_from_slice(piece));
                prop_assert_eq!(&made, &body.as_bytes()[start..end]);
            }
        }
    }
}
