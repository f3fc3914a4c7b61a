//! The frames that were sent last, for peers that are behind.

use std::collections::VecDeque;

use bytes::Bytes;

/// Most bytes kept: a peer that falls further behind finds a gap and asks for a snapshot.
const MAXIMUM_BYTES: usize = 8 << 20;

/// Numbered frames, the oldest first.
#[derive(Debug, Default)]
pub struct FrameLog {
    frames: VecDeque<(u64, Bytes)>,
    bytes: usize,
    last: u64,
}

impl FrameLog {
    /// Number of the last frame; 0 before the first.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Appends the frame that has the next number.
    pub fn push(&mut self, frame: Bytes) {
        self.last += 1;
        self.bytes += frame.len();
        self.frames.push_back((self.last, frame));
        while self.bytes > MAXIMUM_BYTES
            && let Some((_, dropped)) = self.frames.pop_front()
        {
            self.bytes -= dropped.len();
        }
    }

    /// Leaves a number out: what it would have said is lost, and peers shall notice.
    pub fn skip(&mut self) {
        self.last += 1;
    }

    /// The first frame after `number` that is still kept.
    pub fn after(&self, number: u64) -> Option<(u64, Bytes)> {
        let first = self.frames.partition_point(|(sequence, _)| *sequence <= number);
        self.frames.get(first).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_far_behind_finds_a_gap() {
        let mut log = FrameLog::default();
        for _ in 0..10 {
            log.push(Bytes::from(vec![0; MAXIMUM_BYTES / 4]));
        }
        assert_eq!(log.after(8).map(|(sequence, _)| sequence), Some(9));
        assert_eq!(log.after(2).map(|(sequence, _)| sequence), Some(7));
        assert_eq!(log.after(10), None);
        log.skip();
        log.push(Bytes::new());
        assert_eq!(log.after(10).map(|(sequence, _)| sequence), Some(12));
    }
}
