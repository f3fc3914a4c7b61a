//! How a router spells its seat and its slots in a frame.

use super::wire::{FrameError, Reader, put_number};
use crate::policy::slots::{SeatNews, SlotNews};

/// No less than the bytes that the slots of a worker take.
pub(super) fn most_bytes(slots: &SlotNews) -> usize {
    let SlotNews { given, received, free: _, wanted: _ } = slots;
    14 + 10 * (given.len() + received.len())
}

pub(super) fn put_seat(bytes: &mut Vec<u8>, seat: Option<&SeatNews>) {
    let Some(SeatNews { rank, waiting, known }) = seat else {
        put_number(bytes, 0);
        return;
    };
    put_number(bytes, u64::from(*rank) + 1);
    put_number(bytes, (*waiting).into());
    put_number(bytes, known.len() as u64);
    known.iter().for_each(|incarnation| bytes.extend_from_slice(&incarnation.to_le_bytes()));
}

pub(super) fn decode_seat(reader: &mut Reader<'_>) -> Result<Option<SeatNews>, FrameError> {
    let Some(rank) = reader.number_32("seat")?.checked_sub(1) else { return Ok(None) };
    let waiting = reader.number_32("seat")?;
    let known = (0..reader.count(8, "number of routers")?).map(|_| reader.hash(8, "seat")).collect::<Result<_, _>>()?;
    Ok(Some(SeatNews { rank, waiting, known }))
}

pub(super) fn put_slots(bytes: &mut Vec<u8>, slots: &SlotNews) {
    let SlotNews { given, received, free, wanted } = slots;
    for counts in [given, received] {
        put_number(bytes, counts.len() as u64);
        for (rank, count) in counts {
            put_number(bytes, (*rank).into());
            put_number(bytes, (*count).into());
        }
    }
    put_number(bytes, (*free).into());
    put_number(bytes, (*wanted).into());
}

pub(super) fn decode_slots(reader: &mut Reader<'_>) -> Result<SlotNews, FrameError> {
    Ok(SlotNews {
        given: decode_counts(reader)?,
        received: decode_counts(reader)?,
        free: reader.number_32("slots")?,
        wanted: reader.number_32("slots")?,
    })
}

fn decode_counts(reader: &mut Reader<'_>) -> Result<Vec<(u32, u32)>, FrameError> {
    let count = reader.count(2, "number of slots")?;
    (0..count).map(|_| Ok((reader.number_32("slots")?, reader.number_32("slots")?))).collect()
}
