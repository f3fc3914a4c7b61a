//! JSON exactly as Python's `json.dumps` writes it: `", "` and `": "`, ASCII only, `repr` of floats, `NaN` and `Infinity`.

use std::io::{self, Write};

/// One value of a result file; the long arrays are borrowed from the records.
pub(super) enum Value<'a> {
    Null,
    Int(u64),
    Float(f64),
    Text(String),
    Ints(Vec<u64>),
    Floats(Vec<f64>),
    FloatLists(Vec<&'a [f64]>),
    Texts(Vec<&'a str>),
    Objects(Vec<Object<'a>>),
}

/// A Python `dict`: keys keep the place of their first insertion, a later value replaces an earlier one.
#[derive(Default)]
pub(super) struct Object<'a> {
    entries: Vec<(String, Value<'a>)>,
}

impl<'a> Object<'a> {
    /// Sets a key, in place when it is there already, else at the end.
    pub(super) fn set(&mut self, key: impl Into<String>, value: Value<'a>) {
        let key = key.into();
        match self.entries.iter_mut().find(|(present, _)| *present == key) {
            Some((_, old)) => *old = value,
            None => self.entries.push((key, value)),
        }
    }

    /// Removes a key, if it is there.
    pub(super) fn remove(&mut self, key: &str) {
        self.entries.retain(|(present, _)| present != key);
    }

    /// Writes the object on one line, with no newline at the end.
    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        write_sequence(out, *b"{}", &self.entries, |out, (key, value)| {
            write_text(out, key)?;
            out.write_all(b": ")?;
            value.write(out)
        })
    }
}

impl Value<'_> {
    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        match self {
            Value::Null => out.write_all(b"null"),
            Value::Int(value) => write!(out, "{value}"),
            Value::Float(value) => write_float(out, *value),
            Value::Text(value) => write_text(out, value),
            Value::Ints(values) => write_sequence(out, *b"[]", values, |out, value| write!(out, "{value}")),
            Value::Floats(values) => write_floats(out, values),
            Value::FloatLists(lists) => write_sequence(out, *b"[]", lists, |out, list| write_floats(out, list)),
            Value::Texts(values) => write_sequence(out, *b"[]", values, |out, value| write_text(out, value)),
            Value::Objects(values) => write_sequence(out, *b"[]", values, |out, value| value.write(out)),
        }
    }
}

fn write_sequence<W: Write, T>(
    out: &mut W,
    brackets: [u8; 2],
    items: &[T],
    mut write_item: impl FnMut(&mut W, &T) -> io::Result<()>,
) -> io::Result<()> {
    out.write_all(&brackets[..1])?;
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.write_all(b", ")?;
        }
        write_item(out, item)?;
    }
    out.write_all(&brackets[1..])
}

fn write_floats(out: &mut impl Write, values: &[f64]) -> io::Result<()> {
    write_sequence(out, *b"[]", values, |out, value| write_float(out, *value))
}

/// Python's `repr(float)`: the shortest digits that read back equal, an exponent below 1e-4 and from 1e16.
fn write_float(out: &mut impl Write, value: f64) -> io::Result<()> {
    let size = value.abs();
    if value.is_nan() {
        return out.write_all(b"NaN");
    }
    if value.is_infinite() {
        return out.write_all(if value > 0.0 { b"Infinity" } else { b"-Infinity" });
    }
    if size == 0.0 || (1e-4..1e16).contains(&size) {
        return write!(out, "{value:?}");
    }
    // Rust writes 1.5e-5 where Python writes 1.5e-05: the exponent has a sign and two digits.
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').expect("the e format always has an exponent");
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
    write!(out, "{digits}e{sign}{exponent:0>2}")
}

/// A string as Python writes it: short escapes, `\u` for other control characters and for all beyond ASCII.
fn write_text(out: &mut impl Write, text: &str) -> io::Result<()> {
    out.write_all(b"\"")?;
    let mut plain_from = 0;
    for (at, character) in text.char_indices() {
        if matches!(character, ' '..='~' if character != '"' && character != '\\') {
            continue;
        }
        out.write_all(&text.as_bytes()[plain_from..at])?;
        plain_from = at + character.len_utf8();
        match character {
            '"' => out.write_all(b"\\\"")?,
            '\\' => out.write_all(b"\\\\")?,
            '\n' => out.write_all(b"\\n")?,
            '\r' => out.write_all(b"\\r")?,
            '\t' => out.write_all(b"\\t")?,
            '\u{8}' => out.write_all(b"\\b")?,
            '\u{c}' => out.write_all(b"\\f")?,
            other => {
                for unit in other.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04x}")?;
                }
            }
        }
    }
    out.write_all(&text.as_bytes()[plain_from..])?;
    out.write_all(b"\"")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn written(value: &Value<'_>) -> String {
        let mut out = Vec::new();
        value.write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[rstest]
    #[case(0.0, "0.0")]
    #[case(-0.0, "-0.0")]
    #[case(10.0, "10.0")]
    #[case(0.1, "0.1")]
    #[case(0.0001, "0.0001")]
    #[case(0.00001, "1e-05")]
    #[case(1.3325000054464908e-05, "1.3325000054464908e-05")]
    #[case(-2.5e-7, "-2.5e-07")]
    #[case(123456789012345.6, "123456789012345.6")]
    #[case(1e15, "1000000000000000.0")]
    #[case(1e16, "1e+16")]
    #[case(1.5e300, "1.5e+300")]
    #[case(5e-324, "5e-324")]
    #[case(f64::NAN, "NaN")]
    #[case(f64::INFINITY, "Infinity")]
    #[case(f64::NEG_INFINITY, "-Infinity")]
    fn floats_are_written_as_python_does(#[case] value: f64, #[case] expected: &str) {
        assert_eq!(written(&Value::Float(value)), expected);
    }

    #[rstest]
    #[case("plain", r#""plain""#)]
    #[case("a\"b\\c\nd\te\r", r#""a\"b\\c\nd\te\r""#)]
    #[case("\u{1}\u{8}\u{c}", r#""\u0001\b\f""#)]
    #[case("é", r#""\u00e9""#)]
    #[case("😀", r#""\ud83d\ude00""#)]
    #[case("\u{7f}", r#""\u007f""#)]
    fn strings_are_written_as_python_does(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(written(&Value::Text(text.to_owned())), expected);
    }

    #[test]
    fn a_key_set_again_keeps_its_place() {
        let mut object = Object::default();
        object.set("a", Value::Int(1));
        object.set("b", Value::Null);
        object.set("a", Value::Floats(vec![0.5, 2.0]));
        let mut out = Vec::new();
        object.write(&mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), r#"{"a": [0.5, 2.0], "b": null}"#);
    }
}
