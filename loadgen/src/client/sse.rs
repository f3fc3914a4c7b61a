//! Server-sent events, split by the standard (WHATWG HTML, section 9.2.6), without copying events that arrive whole.

use memchr::memchr2;

/// Longest event that is kept together: far above any chunk of a completion, and far below what memory holds at a
/// thousand streams.
pub const EVENT_BYTES_MAX: usize = 4 << 20;

/// An event, or a line of it, does not end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event of the stream is longer than {EVENT_BYTES_MAX} bytes")]
pub struct EventTooLong;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Splits a stream of bytes, however it is cut, into the data of its events.
///
/// Lines end with `\n`, `\r\n` or `\r`; comments, other fields and an event that the stream's end cuts off are dropped.
#[derive(Debug, Default)]
pub struct SseParser {
    /// A line whose end has not arrived.
    line: Vec<u8>,
    /// Data of the event begun in an earlier piece, or of more than one line.
    data: Vec<u8>,
    /// Whether the event begun has any data line.
    has_data: bool,
    /// Whether the last byte was a `\r`, which a `\n` may belong to.
    after_cr: bool,
    /// Whether a line has ended: a byte order mark can only stand before.
    past_first_line: bool,
}

impl SseParser {
    /// Takes the next piece of the stream and calls `on_event` with the data of each event that it completes.
    ///
    /// # Errors
    /// When an event grows beyond [`EVENT_BYTES_MAX`]; nothing more may be fed then.
    pub fn feed<'a>(&mut self, mut bytes: &'a [u8], mut on_event: impl FnMut(&[u8])) -> Result<(), EventTooLong> {
        // The data line of the event begun in this piece, borrowed as long as it is the only one.
        let mut borrowed: Option<&'a [u8]> = None;
        if self.after_cr && !bytes.is_empty() {
            self.after_cr = false;
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
        }
        while let Some(end) = memchr2(b'\n', b'\r', bytes) {
            let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
            let ended_by_cr = bytes[end] == b'\r';
            self.after_cr = ended_by_cr && rest.is_empty();
            bytes = if ended_by_cr { rest.strip_prefix(b"\n").unwrap_or(rest) } else { rest };
            if self.line.is_empty() {
                match Line::of(self.without_mark(line)) {
                    Line::Blank => self.dispatch(borrowed.take(), &mut on_event),
                    Line::Data(value) if !self.has_data && borrowed.is_none() => borrowed = Some(value),
                    Line::Data(value) => {
                        self.keep(borrowed.take());
                        self.push_data(value);
                    }
                    Line::Other => {}
                }
            } else {
                self.line.extend_from_slice(line);
                let whole = std::mem::take(&mut self.line);
                // Not blank: it had bytes before this piece.
                if let Line::Data(value) = Line::of(self.without_mark(&whole)) {
                    self.keep(borrowed.take());
                    self.push_data(value);
                }
                // The allocation serves the next line that is cut.
                self.line = whole;
                self.line.clear();
            }
            self.past_first_line = true;
        }
        self.keep(borrowed);
        if self.line.len() + self.data.len() + bytes.len() > EVENT_BYTES_MAX {
            return Err(EventTooLong);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn without_mark<'l>(&self, line: &'l [u8]) -> &'l [u8] {
        if self.past_first_line { line } else { line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line) }
    }

    fn keep(&mut self, borrowed: Option<&[u8]>) {
        if let Some(value) = borrowed {
            self.push_data(value);
        }
    }

    fn push_data(&mut self, value: &[u8]) {
        if self.has_data {
            self.data.push(b'\n');
        }
        self.has_data = true;
        self.data.extend_from_slice(value);
    }

    fn dispatch(&mut self, borrowed: Option<&[u8]>, on_event: &mut impl FnMut(&[u8])) {
        match borrowed {
            Some(value) => on_event(value),
            None if self.has_data => on_event(&self.data),
            None => {}
        }
        self.data.clear();
        self.has_data = false;
    }
}

/// What a whole line says.
enum Line<'a> {
    Blank,
    Data(&'a [u8]),
    /// A comment or a field that carries no data.
    Other,
}

impl<'a> Line<'a> {
    fn of(line: &'a [u8]) -> Line<'a> {
        match line.strip_prefix(b"data") {
            Some([]) => Line::Data(b""),
            Some([b':', b' ', value @ ..] | [b':', value @ ..]) => Line::Data(value),
            _ if line.is_empty() => Line::Blank,
            _ => Line::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn events(pieces: &[&[u8]]) -> Vec<String> {
        let mut parser = SseParser::default();
        let mut events = Vec::new();
        for piece in pieces {
            parser.feed(piece, |data| events.push(String::from_utf8(data.to_vec()).unwrap())).unwrap();
        }
        events
    }

    #[rstest]
    #[case::line_feeds("data: a\n\ndata: b\n\n", &["a", "b"])]
    #[case::carriage_returns_and_line_feeds("data: a\r\n\r\ndata: b\r\n\r\n", &["a", "b"])]
    #[case::carriage_returns("data: a\r\rdata: b\r\r", &["a", "b"])]
    #[case::mixed_line_ends("data: a\r\n\ndata: b\n\r\n", &["a", "b"])]
    #[case::one_space_is_stripped("data:a\n\ndata:  b\n\n", &["a", " b"])]
    #[case::comments_and_keep_alives(": hi\n\n:\n\ndata: a\n: between\n\n", &["a"])]
    #[case::other_fields("event: message\nid: 7\nretry: 10\ndataset: x\ndata: a\n\n", &["a"])]
    #[case::several_data_lines("data: a\ndata: b\ndata\n\n", &["a\nb\n"])]
    #[case::no_data("event: ping\n\n", &[])]
    #[case::empty_data("data:\n\n", &[""])]
    #[case::blank_lines_between("\n\n\ndata: a\n\n\n\n", &["a"])]
    #[case::byte_order_mark("\u{feff}data: a\n\n", &["a"])]
    #[case::cut_off_at_the_end("data: a\n\ndata: b\n", &["a"])]
    fn events_are_split_by_the_standard(#[case] stream: &str, #[case] expected: &[&str]) {
        assert_eq!(events(&[stream.as_bytes()]), expected);
        let single_bytes: Vec<&[u8]> = stream.as_bytes().chunks(1).collect();
        assert_eq!(events(&single_bytes), expected, "byte by byte");
    }

    #[rstest]
    #[case::a_line_without_end(b"data: xxxxxxxxxx")]
    #[case::an_event_without_end(b"data: xxxxxxxxx\n")]
    fn what_never_ends_is_refused_before_it_fills_the_memory(#[case] opening: &[u8]) {
        let mut parser = SseParser::default();
        let piece = opening.repeat(4096);
        let taken = (0..1_000).take_while(|_| parser.feed(&piece, |_| {}).is_ok()).count();
        assert!(taken < 1_000, "{taken} pieces of {} bytes were taken", piece.len());
        assert!(parser.line.len() + parser.data.len() <= EVENT_BYTES_MAX + piece.len());
    }

    proptest! {
        #[test]
        fn where_the_stream_is_cut_changes_nothing(
            lines in prop::collection::vec(("(data: ?|: |event: |)", "[a-c\u{e9} :]{0,6}", "(\n|\r\n|\r|\n\n|\r\n\r\n)"), 0..30),
            cuts in prop::collection::vec(0..400_usize, 0..20),
        ) {
            let stream: String = lines.into_iter().map(|(field, value, end)| field + &value + &end).collect();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &stream.as_bytes()[pair[0]..pair[1]]).collect();
            prop_assert_eq!(events(&pieces), events(&[stream.as_bytes()]));
        }
    }
}
