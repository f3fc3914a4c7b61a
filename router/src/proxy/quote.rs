//! Where a JSON string ends, 64 bytes at a time.
//!
//! The method is simdjson's (Langdale and Lemire, "Parsing gigabytes of JSON per second", 2019, section 3.1.1): a block
//! becomes one bit mask of its quotes and one of its backslashes, and the escaped bytes follow from a carry-propagating
//! addition. A search for one byte after the other pays its start-up cost again at every escape, and prose has one in
//! every line.

const BLOCK: usize = 64;

/// The end of a JSON string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closing {
    /// Bytes before the closing quote.
    pub length: usize,
    /// True if no escape in it has another spelling in common use: then equal texts are equal bytes.
    pub is_canonical: bool,
}

/// Finds the closing quote in the bytes after an opening one; none if there is none.
pub fn closing_quote(bytes: &[u8]) -> Option<Closing> {
    let (blocks, tail) = bytes.as_chunks::<BLOCK>();
    let mut state = State { first_is_escaped: false, is_canonical: true };
    for (index, block) in blocks.iter().enumerate() {
        if let Some(length) = state.close_in(block) {
            return Some(Closing { length: index * BLOCK + length, is_canonical: state.is_canonical });
        }
    }
    let mut padded = [0; BLOCK];
    padded[..tail.len()].copy_from_slice(tail);
    let length = blocks.len() * BLOCK + state.close_in(&padded)?;
    Some(Closing { length, is_canonical: state.is_canonical })
}

/// What is carried from block to block.
struct State {
    first_is_escaped: bool,
    is_canonical: bool,
}

impl State {
    /// The position of the closing quote in the next block.
    fn close_in(&mut self, block: &[u8; BLOCK]) -> Option<usize> {
        let quotes = positions(block, b'"');
        let backslashes = positions(block, b'\\');
        if backslashes == 0 && !self.first_is_escaped {
            return (quotes != 0).then(|| quotes.trailing_zeros() as usize);
        }
        let (mut escaped, carry) = escaped(backslashes, self.first_is_escaped);
        self.first_is_escaped = carry;
        let closing = quotes & !escaped;
        if closing != 0 {
            escaped &= (closing & closing.wrapping_neg()) - 1;
        }
        while escaped != 0 {
            self.is_canonical &= !matches!(block[escaped.trailing_zeros() as usize], b'u' | b'/');
            escaped &= escaped - 1;
        }
        (closing != 0).then(|| closing.trailing_zeros() as usize)
    }
}

/// The bytes that follow an escaping backslash, and whether the first byte of the next block does.
fn escaped(backslashes: u64, first_is_escaped: bool) -> (u64, bool) {
    const EVEN: u64 = 0x5555_5555_5555_5555;
    let backslashes = backslashes & !u64::from(first_is_escaped);
    let follows = backslashes << 1 | u64::from(first_is_escaped);
    // The addition carries each run of backslashes to its end; runs that start at odd positions come out inverted.
    let odd_starts = backslashes & !EVEN & !follows;
    let (ends_of_odd_runs, carry) = odd_starts.overflowing_add(backslashes);
    ((EVEN ^ ends_of_odd_runs << 1) & follows, carry)
}

/// A bit for each byte of the block that is `wanted`.
#[cfg(target_arch = "x86_64")]
fn positions(block: &[u8; BLOCK], wanted: u8) -> u64 {
    use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_movemask_epi8, _mm_set_epi64x, _mm_set1_epi8};
    let mut found = 0;
    // SAFETY: these instructions are of SSE2, which every x86_64 processor has.
    unsafe {
        let wanted = _mm_set1_epi8(wanted.cast_signed());
        for (index, lane) in block.as_chunks::<16>().0.iter().enumerate() {
            let halves = lane.as_chunks::<8>().0;
            // The compiler makes one unaligned load of it.
            let lane = _mm_set_epi64x(i64::from_le_bytes(halves[1]), i64::from_le_bytes(halves[0]));
            let equal = _mm_movemask_epi8(_mm_cmpeq_epi8(lane, wanted));
            found |= u64::from(equal.cast_unsigned()) << (16 * index);
        }
    }
    found
}

/// A bit for each byte of the block that is `wanted`.
#[cfg(not(target_arch = "x86_64"))]
fn positions(block: &[u8; BLOCK], wanted: u8) -> u64 {
    block.iter().enumerate().fold(0, |found, (index, byte)| found | u64::from(*byte == wanted) << index)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one_by_one(bytes: &[u8]) -> Option<Closing> {
        let (mut at, mut is_canonical) = (0, true);
        loop {
            match bytes.get(at)? {
                b'"' => return Some(Closing { length: at, is_canonical }),
                b'\\' => {
                    is_canonical &= !matches!(bytes.get(at + 1)?, b'u' | b'/');
                    at += 2;
                }
                _ => at += 1,
            }
        }
    }

    proptest! {
        #[test]
        fn the_end_is_where_a_byte_by_byte_reader_finds_it(
            bytes in prop::collection::vec(prop::sample::select(b"\\\\\\\\\"/uaaaaaaaa".to_vec()), 0..300),
            quiet in 0_usize..200,
        ) {
            let mut text = vec![b'a'; quiet];
            text.extend(bytes);
            prop_assert_eq!(closing_quote(&text), one_by_one(&text));
        }
    }
}
