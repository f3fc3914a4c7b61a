//! How a lesson is spelt in a frame: its kind, and numbers.

use super::wire::{FrameError, Reader, put_number};
use crate::policy::{FirstToken, Lesson};
use crate::tree::WorkerIndex;

/// Most bytes of a lesson.
pub(super) const MOST_LESSON_BYTES: usize = 1 + 3 + 3 * 5;

/// Kinds of lessons.
const STREAMED: u64 = 0;
const WHOLE: u64 = 1;
const LATENCY: u64 = 2;

pub(super) fn put_lesson(bytes: &mut Vec<u8>, lesson: &Lesson) {
    let (kind, worker, ahead, computed_tokens, elapsed_ms) = match *lesson {
        Lesson::FirstToken { worker, is_streamed, seen: FirstToken { ahead, computed_tokens, elapsed_ms } } => {
            (if is_streamed { STREAMED } else { WHOLE }, worker.0, ahead, computed_tokens, elapsed_ms)
        }
        Lesson::Latency { ahead, latency_ms } => (LATENCY, 0, ahead, 0, latency_ms),
    };
    put_number(bytes, kind);
    put_number(bytes, worker.into());
    put_number(bytes, ahead.into());
    put_number(bytes, computed_tokens.min(u32::MAX.into()));
    // More than an hour teaches no more than an hour.
    put_number(bytes, ((elapsed_ms * 1000.0).round() as u64).min(u32::MAX.into()));
}

pub(super) fn decode_lesson(reader: &mut Reader<'_>, workers: usize) -> Result<Lesson, FrameError> {
    let wrong = FrameError::OutOfBounds("lesson");
    let kind = reader.number("lesson")?;
    let worker = u16::try_from(reader.number("lesson")?).map_err(|_| wrong)?;
    let ahead = reader.number_32("lesson")?;
    let computed_tokens = reader.number_32("lesson")?.into();
    let elapsed_ms = f64::from(reader.number_32("lesson")?) / 1000.0;
    let seen = FirstToken { ahead, computed_tokens, elapsed_ms };
    match kind {
        STREAMED | WHOLE if usize::from(worker) < workers => {
            Ok(Lesson::FirstToken { worker: WorkerIndex(worker), is_streamed: kind == STREAMED, seen })
        }
        LATENCY => Ok(Lesson::Latency { ahead, latency_ms: elapsed_ms }),
        _ => Err(wrong),
    }
}
