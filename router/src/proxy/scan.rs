//! A scanner over JSON that finds the few fields that routing needs without building a document.
//!
//! It accepts some texts that are no JSON: the worker judges the body, the router only looks for a prompt in it.

use memchr::{memchr, memchr2};

/// The inside of a JSON string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text {
    /// First byte after the opening quote.
    pub start: usize,
    /// The closing quote.
    pub end: usize,
    /// True if it has escapes.
    pub is_escaped: bool,
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
        let mut is_escaped = false;
        loop {
            let rest = self.body.get(self.at..)?;
            let found = self.at + memchr2(b'"', b'\\', rest)?;
            if self.body[found] == b'"' {
                self.at = found + 1;
                return Some(Text { start, end: found, is_escaped });
            }
            is_escaped = true;
            self.at = found + 2;
        }
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

/// Hands the text of an escaped JSON string to `sink` piece by piece. What is no valid escape passes as it stands.
pub fn unescape(mut escaped: &[u8], mut sink: impl FnMut(&[u8])) {
    while let Some(at) = memchr(b'\\', escaped) {
        sink(&escaped[..at]);
        escaped = &escaped[at..];
        let simple = match escaped.get(1) {
            Some(b'n') => Some(b'\n'),
            Some(b't') => Some(b'\t'),
            Some(b'r') => Some(b'\r'),
            Some(b'b') => Some(8),
            Some(b'f') => Some(12),
            Some(quoted @ (b'"' | b'\\' | b'/')) => Some(*quoted),
            _ => None,
        };
        let length = if let Some(byte) = simple {
            sink(&[byte]);
            2
        } else if let Some((character, length)) = unicode_escape(escaped) {
            sink(character.encode_utf8(&mut [0; 4]).as_bytes());
            length
        } else {
            sink(&escaped[..1]);
            1
        };
        escaped = &escaped[length..];
    }
    sink(escaped);
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
    use serde_json::Value;

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
            unescape(&bytes, |_| {});
        }

        #[test]
        fn escapes_are_read_as_a_json_parser_reads_them(text in ".{0,60}", units in prop::collection::vec(any::<char>(), 0..8)) {
            let mut escaped = serde_json::to_string(&text).unwrap();
            escaped.pop();
            for character in units {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    escaped.push_str(&format!("\\u{unit:04x}"));
                }
            }
            escaped.push('"');
            let Value::String(expected) = serde_json::from_str(&escaped).unwrap() else { panic!() };
            let mut seen = Vec::new();
            unescape(&escaped.as_bytes()[1..escaped.len() - 1], |piece| seen.extend_from_slice(piece));
            prop_assert_eq!(String::from_utf8(seen).unwrap(), expected);
        }
    }
}
