//! Splits a file into its records without holding more than one of them: JSON lines, or the elements of one JSON array.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::dataset::DatasetError;

/// Longest record in bytes: far beyond any prompt, and small enough to hold.
const MOST_RECORD_BYTES: usize = 64 << 20;

/// One record of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dataset) struct Record<'a> {
    /// Where it begins, in bytes.
    pub(in crate::dataset) offset: u64,
    /// The line on which it begins, from 1.
    pub(in crate::dataset) line: usize,
    /// Its bytes: one JSON value.
    pub(in crate::dataset) bytes: &'a [u8],
}

/// Gives every record of a file to `each` and returns the SHA-256 of the whole file, in hex.
///
/// Empty lines are no records. `each` says what is wrong with a record.
///
/// # Errors
/// When the file cannot be read, a record is wrong or too long, or an array is not closed.
pub(in crate::dataset) fn scan(
    path: &Path,
    mut each: impl FnMut(Record<'_>) -> Result<(), String>,
) -> Result<String, DatasetError> {
    let file = File::open(path).map_err(|source| DatasetError::Read { path: path.to_owned(), source })?;
    let mut scanner = Scanner { reader: BufReader::with_capacity(1 << 16, Hashed::new(file)), offset: 0, line: 1 };
    let scanned = match scanner.first_byte() {
        Ok(Some(b'[')) => scanner.elements(&mut each),
        Ok(_) => scanner.lines(&mut each),
        Err(error) => Err(error),
    };
    scanned.map_err(|error| match error {
        ScanError::Io(source) => DatasetError::Read { path: path.to_owned(), source },
        ScanError::Record { line, reason } => DatasetError::Line { path: path.to_owned(), line, reason },
    })?;
    Ok(hex::encode(scanner.reader.into_inner().hash.finalize()))
}

/// A reader that digests all that is read through it.
struct Hashed<R> {
    reader: R,
    hash: Sha256,
}

impl<R> Hashed<R> {
    fn new(reader: R) -> Hashed<R> {
        Hashed { reader, hash: Sha256::new() }
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.hash.update(&buffer[..count]);
        Ok(count)
    }
}

enum ScanError {
    Io(io::Error),
    Record { line: usize, reason: String },
}

impl From<io::Error> for ScanError {
    fn from(error: io::Error) -> Self {
        ScanError::Io(error)
    }
}

struct Scanner<R> {
    reader: R,
    /// Bytes consumed.
    offset: u64,
    /// Line of the next byte, from 1.
    line: usize,
}

type Each<'a> = &'a mut dyn FnMut(Record<'_>) -> Result<(), String>;

impl<R: BufRead> Scanner<R> {
    /// The next byte, left where it is.
    fn peek(&mut self) -> io::Result<Option<u8>> {
        Ok(self.reader.fill_buf()?.first().copied())
    }

    fn consume(&mut self, byte: u8) {
        self.reader.consume(1);
        self.offset += 1;
        self.line += usize::from(byte == b'\n');
    }

    /// The first byte that is no white space, left where it is.
    fn first_byte(&mut self) -> Result<Option<u8>, ScanError> {
        while let Some(byte) = self.peek()? {
            if !byte.is_ascii_whitespace() {
                return Ok(Some(byte));
            }
            self.consume(byte);
        }
        Ok(None)
    }

    fn lines(&mut self, each: Each<'_>) -> Result<(), ScanError> {
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            let count = (&mut self.reader).take(MOST_RECORD_BYTES as u64 + 1).read_until(b'\n', &mut bytes)?;
            if count == 0 {
                return Ok(());
            }
            if count > MOST_RECORD_BYTES {
                return Err(self.too_long(self.line));
            }
            // Without the line's end: a parser that reaches it would name the line after.
            let record = Record { offset: self.offset, line: self.line, bytes: bytes.trim_ascii_end() };
            if !record.bytes.is_empty() {
                each(record).map_err(|reason| ScanError::Record { line: self.line, reason })?;
            }
            self.offset += count as u64;
            self.line += 1;
        }
    }

    /// The elements of an array, whose opening bracket is the next byte.
    fn elements(&mut self, each: Each<'_>) -> Result<(), ScanError> {
        let opened = self.line;
        self.consume(b'[');
        let mut bytes = Vec::new();
        let (mut wants_comma, mut has_comma) = (false, false);
        loop {
            let unclosed = |line| ScanError::Record {
                line,
                reason: "the file ends before its array is closed; is it whole?".to_owned(),
            };
            match self.first_byte()?.ok_or_else(|| unclosed(opened))? {
                b']' if has_comma => return Err(self.misplaced("the array ends after a comma")),
                b']' => {
                    self.consume(b']');
                    return match self.first_byte()? {
                        None => Ok(()),
                        Some(_) => Err(self.misplaced("something follows the array; a file holds one")),
                    };
                }
                b',' if wants_comma => self.consume(b','),
                _ if wants_comma => return Err(self.misplaced("a comma is missing before this element")),
                b'{' => {
                    let (offset, line) = (self.offset, self.line);
                    bytes.clear();
                    if !self.object(&mut bytes)? {
                        return Err(unclosed(line));
                    }
                    each(Record { offset, line, bytes: &bytes })
                        .map_err(|reason| ScanError::Record { line, reason })?;
                }
                _ => return Err(self.misplaced("an element of the array is no object")),
            }
            // After an element comes a comma, after a comma an element.
            has_comma = wants_comma;
            wants_comma = !wants_comma;
        }
    }

    /// Reads one object to its closing brace; false when the file ends before it.
    fn object(&mut self, bytes: &mut Vec<u8>) -> Result<bool, ScanError> {
        let begun = self.line;
        let (mut depth, mut in_string, mut escaped) = (0_u32, false, false);
        loop {
            let available = self.reader.fill_buf()?;
            if available.is_empty() {
                return Ok(false);
            }
            let mut used = 0;
            let mut closed = false;
            for &byte in available {
                used += 1;
                match byte {
                    b'\n' => self.line += 1,
                    _ if escaped => escaped = false,
                    b'\\' if in_string => escaped = true,
                    b'"' => in_string = !in_string,
                    b'{' | b'[' if !in_string => depth += 1,
                    b'}' | b']' if !in_string => {
                        depth -= 1;
                        closed = depth == 0;
                    }
                    _ => {}
                }
                if closed {
                    break;
                }
            }
            bytes.extend_from_slice(&available[..used]);
            self.reader.consume(used);
            self.offset += used as u64;
            if bytes.len() > MOST_RECORD_BYTES {
                return Err(self.too_long(begun));
            }
            if closed {
                return Ok(true);
            }
        }
    }

    fn misplaced(&self, reason: &str) -> ScanError {
        ScanError::Record { line: self.line, reason: reason.to_owned() }
    }

    fn too_long(&self, line: usize) -> ScanError {
        ScanError::Record { line, reason: format!("is longer than {} MiB; no prompt is", MOST_RECORD_BYTES >> 20) }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    type Found = Vec<(u64, usize, String)>;

    fn found(content: &[u8]) -> (Found, Result<String, DatasetError>) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        let mut records = Vec::new();
        let digest = scan(file.path(), |record| {
            records.push((record.offset, record.line, String::from_utf8_lossy(record.bytes).trim().to_owned()));
            Ok(())
        });
        (records, digest)
    }

    #[test]
    fn lines_and_elements_are_found_where_they_lie() {
        let (lines, digest) = found(b"{\"a\":1}\n\n{\"b\":2}");
        assert_eq!(lines, [(0, 1, "{\"a\":1}".to_owned()), (9, 3, "{\"b\":2}".to_owned())]);
        assert_eq!(digest.unwrap(), hex::encode(Sha256::digest(b"{\"a\":1}\n\n{\"b\":2}")));
        let (elements, digest) = found(b" [\n{\"a\": \"]}\\\"\"},\n{\"b\":[{}]}]\n");
        assert_eq!(elements, [(3, 2, "{\"a\": \"]}\\\"\"}".to_owned()), (18, 3, "{\"b\":[{}]}".to_owned())]);
        assert!(digest.is_ok());
    }

    #[rstest]
    #[case::cut_off_in_an_element("[{\"a\":1},\n{\"b\":", 2, "is it whole?")]
    #[case::cut_off_between_elements("[{\"a\":1}", 1, "is it whole?")]
    #[case::no_comma("[{}\n{}]", 2, "a comma is missing")]
    #[case::a_comma_at_the_end("[{},\n]", 2, "ends after a comma")]
    #[case::two_commas("[{},,{}]", 1, "no object")]
    #[case::a_number("[1]", 1, "no object")]
    #[case::two_arrays("[{}]\n[{}]", 2, "something follows")]
    fn an_array_that_is_none_is_refused(#[case] content: &str, #[case] line: usize, #[case] reason: &str) {
        let (_, outcome) = found(content.as_bytes());
        let error = outcome.unwrap_err();
        assert!(
            matches!(&error, DatasetError::Line { line: at, reason: why, .. } if *at == line && why.contains(reason)),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn an_array_of_objects_gives_back_its_objects(texts in prop::collection::vec(".*", 0..20), pretty: bool) {
            let objects: Vec<_> = texts.iter().map(|text| serde_json::json!({"t": text, "n": [1, {"x": "}"}]})).collect();
            let content = if pretty { serde_json::to_vec_pretty(&objects) } else { serde_json::to_vec(&objects) };
            let (records, digest) = found(&content.unwrap());
            prop_assert!(digest.is_ok());
            let parsed: Vec<serde_json::Value> =
                records.iter().map(|(_, _, text)| serde_json::from_str(text).unwrap()).collect();
            prop_assert_eq!(parsed, objects);
        }

        #[test]
        fn no_bytes_make_it_panic(content in prop::collection::vec(any::<u8>(), 0..200), array: bool) {
            let content = if array { [b"[{", content.as_slice()].concat() } else { content };
            let (_, _outcome) = found(&content);
        }
    }
}
