//! `summary.json` as text.

use std::io;

use serde::Serialize;
use serde_json::{
    Serializer,
    ser::{CompactFormatter, Formatter},
};

/// A value as one line of JSON, numbers to ten significant digits.
pub fn to_json(value: &impl Serialize) -> String {
    let mut bytes = Vec::new();
    value
        .serialize(&mut Serializer::with_formatter(&mut bytes, TenDigits(CompactFormatter)))
        .expect("keys are text, and a vector takes every byte");
    bytes.push(b'\n');
    String::from_utf8(bytes).expect("JSON is text")
}

/// Compact, with numbers rounded.
struct TenDigits(CompactFormatter);

impl Formatter for TenDigits {
    fn write_f64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        let rounded = format!("{value:.9e}").parse().unwrap_or(value);
        self.0.write_f64(writer, rounded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_ten_digits_and_what_is_no_number_is_null() {
        assert_eq!(to_json(&[1.0 / 3.0, 12_345.0, 1e-20, f64::NAN]), "[0.3333333333,12345.0,1e-20,null]\n");
    }
}
