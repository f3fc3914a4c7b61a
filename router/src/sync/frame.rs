//! The message that one router sends another: what it learned since the last one, and its load on each worker.
//!
//! What was learned travels as a small tree: its nodes, each after its parent, and marks that say which worker holds
//! the prefix that ends at which node. A prefix shared by many prompts is sent once, and no hash carries more bytes than
//! the tree keeps bits.

use std::collections::HashMap;

use super::lessons::{MOST_LESSON_BYTES, decode_lesson, put_lesson};
use super::slots::{decode_seat, decode_slots, most_bytes, put_seat, put_slots};
use super::wire::{FrameError, Reader, put_number, put_signed, put_text};
use crate::policy::slots::{SeatNews, SlotNews};
use crate::policy::worker::Load;
use crate::policy::{Lesson, MOST_LESSONS};
use crate::tree::MAXIMUM_DEPTH;
use crate::tree::replica::Generation;

/// Version of the format.
pub const VERSION: u8 = 3;

/// Most bytes of a frame.
pub const MAXIMUM_FRAME_BYTES: usize = 1 << 20;

/// Most steps along paths that a frame may ask for when it is applied, so that few bytes cannot ask for much work.
const MAXIMUM_STEPS: usize = 1 << 20;

/// First bytes of every frame.
const MAGIC: [u8; 3] = *b"hrt";

/// "No parent" in the tree of a frame.
const ROOT: u32 = u32::MAX;

/// Who sends a frame, and of which epoch it speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The sender's incarnation.
    pub sender: u64,
    /// Number of the epoch.
    pub epoch: u64,
    /// Run of the epoch.
    pub run: String,
    /// Counts the sender's frames of this epoch from 1 on; of a snapshot, the last frame that it includes.
    pub sequence: u64,
    /// Bits of each hash.
    pub hash_bits: u8,
    /// The sender among the routers that share slots; none where they do not.
    pub seat: Option<SeatNews>,
}

/// What the sender knows of one worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerNews {
    /// Name of the worker.
    pub id: String,
    /// How often it lost its cache.
    pub generation: Generation,
    /// Load that the sender put on it; due times count from the sending on.
    pub load: Load,
    /// Its slots.
    pub slots: SlotNews,
}

/// A frame, taken apart and checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// Who and when.
    pub header: Header,
    /// Workers that the frame speaks of; one that is missing has no load.
    pub workers: Vec<WorkerNews>,
    /// What answers taught the sender; workers by their index in [`workers`](Self::workers).
    pub lessons: Vec<Lesson>,
    nodes: Vec<FrameNode>,
    held: Vec<Mark>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FrameNode {
    parent: u32,
    edge: u64,
}

/// A worker holds the prefix that ends at a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    node: u32,
    worker: u32,
}

impl Frame {
    /// A frame that says nothing yet of any prefix.
    pub fn new(header: Header, workers: Vec<WorkerNews>) -> Self {
        Self { header, workers, lessons: Vec::new(), nodes: Vec::new(), held: Vec::new() }
    }

    /// Calls `held` with the index in [`workers`](Self::workers) and the path of each prefix held.
    pub fn for_each_held(&self, mut held: impl FnMut(usize, &[u64])) {
        let mut path = Vec::new();
        for mark in &self.held {
            path.clear();
            let mut at = mark.node;
            while at != ROOT {
                let node = self.nodes[at as usize];
                path.push(node.edge);
                at = node.parent;
            }
            path.reverse();
            held(mark.worker as usize, &path);
        }
    }

    /// The frame as it is sent.
    pub fn encode(&self) -> Vec<u8> {
        let Self { header: Header { sender, epoch, run, sequence, hash_bits, seat }, workers, lessons, nodes, held } =
            self;
        let width = hash_width(*hash_bits);
        let mut bytes = Vec::with_capacity(64 + run.len() + workers.len() * 32 + nodes.len() * (width + 1));
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&[VERSION, *hash_bits]);
        bytes.extend_from_slice(&sender.to_le_bytes());
        put_number(&mut bytes, *epoch);
        put_number(&mut bytes, *sequence);
        put_text(&mut bytes, run);
        put_seat(&mut bytes, seat.as_ref());
        put_number(&mut bytes, workers.len() as u64);
        for WorkerNews { id, generation, load, slots } in workers {
            let Load { in_flight, tokens, awaited_tokens, awaited, due_ms, sent_ms } = load;
            put_text(&mut bytes, id);
            put_number(&mut bytes, u64::from(*generation));
            put_number(&mut bytes, u64::from(*in_flight));
            put_number(&mut bytes, *tokens);
            put_number(&mut bytes, *awaited_tokens);
            put_number(&mut bytes, u64::from(*awaited));
            put_signed(&mut bytes, *due_ms);
            put_signed(&mut bytes, *sent_ms);
            put_slots(&mut bytes, slots);
        }
        put_number(&mut bytes, lessons.len() as u64);
        lessons.iter().for_each(|lesson| put_lesson(&mut bytes, lesson));
        put_number(&mut bytes, nodes.len() as u64);
        for (index, FrameNode { parent, edge }) in (0_u64..).zip(nodes) {
            // The distance to the parent, which is mostly 1; 0 stands for the root.
            put_number(&mut bytes, if *parent == ROOT { 0 } else { index - u64::from(*parent) });
            bytes.extend_from_slice(&edge.to_le_bytes()[..width]);
        }
        put_number(&mut bytes, held.len() as u64);
        for Mark { node, worker } in held {
            put_number(&mut bytes, u64::from(*node));
            put_number(&mut bytes, u64::from(*worker));
        }
        bytes
    }

    /// Takes a frame apart. Nothing is allocated that the bytes at hand do not justify, and what is returned is sound:
    /// every reference leads somewhere, no path is too long, and all of them together are bounded.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        if bytes.len() > MAXIMUM_FRAME_BYTES {
            return Err(FrameError::TooLarge(bytes.len()));
        }
        let mut reader = Reader::new(bytes);
        if reader.bytes(4, "version")? != [MAGIC.as_slice(), &[VERSION]].concat() {
            return Err(FrameError::Version);
        }
        let hash_bits = reader.bytes(1, "hash width")?[0];
        if !(8..=64).contains(&hash_bits) {
            return Err(FrameError::HashBits(hash_bits));
        }
        let header = Header {
            sender: reader.hash(8, "sender")?,
            hash_bits,
            epoch: reader.number("epoch")?,
            sequence: reader.number("sequence")?,
            run: reader.text("run")?,
            seat: decode_seat(&mut reader)?,
        };
        let workers = (0..reader.count(4, "number of workers")?)
            .map(|_| {
                Ok(WorkerNews {
                    id: reader.text("worker")?,
                    generation: reader.number_32("generation")?,
                    load: Load {
                        in_flight: reader.number_32("load")?,
                        tokens: reader.number("load")?,
                        awaited_tokens: reader.number("load")?,
                        awaited: reader.number_32("load")?,
                        due_ms: reader.signed("load")?,
                        sent_ms: reader.signed("load")?,
                    },
                    slots: decode_slots(&mut reader)?,
                })
            })
            .collect::<Result<Vec<_>, FrameError>>()?;
        let lessons = (0..reader.count(4, "number of lessons")?)
            .map(|_| decode_lesson(&mut reader, workers.len()))
            .collect::<Result<Vec<_>, _>>()?;
        if lessons.len() > MOST_LESSONS {
            return Err(FrameError::OutOfBounds("number of lessons"));
        }
        let (nodes, depths) = decode_nodes(&mut reader, hash_width(hash_bits))?;
        let mut steps = 0;
        let held = (0..reader.count(2, "number of marks")?)
            .map(|_| {
                let mark = Mark { node: reader.number_32("mark")?, worker: reader.number_32("mark")? };
                let depth = depths.get(mark.node as usize).ok_or(FrameError::OutOfBounds("mark"))?;
                workers.get(mark.worker as usize).ok_or(FrameError::OutOfBounds("mark"))?;
                steps += depth;
                if steps > MAXIMUM_STEPS { Err(FrameError::OutOfBounds("work")) } else { Ok(mark) }
            })
            .collect::<Result<Vec<_>, _>>()?;
        if !reader.is_at_end() {
            return Err(FrameError::OutOfBounds("length"));
        }
        Ok(Self { header, workers, lessons, nodes, held })
    }
}

fn decode_nodes(reader: &mut Reader<'_>, width: usize) -> Result<(Vec<FrameNode>, Vec<usize>), FrameError> {
    let count = reader.count(1 + width, "number of nodes")?;
    let mut nodes = Vec::with_capacity(count);
    let mut depths: Vec<usize> = Vec::with_capacity(count);
    for index in 0..count {
        let distance = reader.number("node")?;
        let edge = reader.hash(width, "node")?;
        let (parent, depth) = if distance == 0 {
            (ROOT, 1)
        } else {
            let distance = usize::try_from(distance).map_err(|_| FrameError::OutOfBounds("node"))?;
            let parent = index.checked_sub(distance).ok_or(FrameError::OutOfBounds("node"))?;
            let parent_id = u32::try_from(parent).map_err(|_| FrameError::OutOfBounds("node"))?;
            (parent_id, depths[parent] + 1)
        };
        if depth > MAXIMUM_DEPTH {
            return Err(FrameError::OutOfBounds("depth"));
        }
        nodes.push(FrameNode { parent, edge });
        depths.push(depth);
    }
    Ok((nodes, depths))
}

fn hash_width(hash_bits: u8) -> usize {
    usize::from(hash_bits.div_ceil(8))
}

/// Fills a frame up to its bounds.
#[derive(Debug)]
pub struct FrameBuilder {
    frame: Frame,
    index: HashMap<(u32, u64), u32>,
    edge_mask: u64,
    /// No less than the bytes that the frame takes.
    bytes: usize,
    steps: usize,
}

impl FrameBuilder {
    /// Starts a frame that names these workers.
    pub fn new(header: Header, workers: Vec<WorkerNews>) -> Self {
        let names: usize = workers.iter().map(|worker| worker.id.len() + 64 + most_bytes(&worker.slots)).sum();
        let edge_mask = u64::MAX >> (64 - u32::from(header.hash_bits.clamp(8, 64)));
        let seat = header.seat.as_ref().map_or(0, |seat| 10 * seat.known.len());
        let bytes = 96 + header.run.len() + seat + names;
        Self { frame: Frame::new(header, workers), index: HashMap::new(), edge_mask, bytes, steps: 0 }
    }

    /// Adds what answers taught, at most [`MOST_LESSONS`].
    pub fn teach(&mut self, lessons: Vec<Lesson>) {
        self.bytes += lessons.len() * MOST_LESSON_BYTES;
        self.frame.lessons = lessons;
    }

    /// Adds that the worker at an index of [`Frame::workers`] holds a path. Returns false, and adds nothing, if the frame
    /// has no room for it.
    pub fn add(&mut self, worker: usize, path: &[u64]) -> bool {
        let path = &path[..path.len().min(MAXIMUM_DEPTH)];
        let most_bytes = path.len() * (hash_width(self.frame.header.hash_bits) + 3) + 8;
        let fits = self.bytes + most_bytes <= MAXIMUM_FRAME_BYTES && self.steps + path.len() <= MAXIMUM_STEPS;
        let (Ok(worker), true) = (u32::try_from(worker), fits) else { return false };
        let mut node = ROOT;
        let before = self.frame.nodes.len();
        for hash in path {
            let edge = hash & self.edge_mask;
            let next = u32::try_from(self.frame.nodes.len()).expect("a frame's bytes bound its nodes");
            node = *self.index.entry((node, edge)).or_insert_with(|| {
                self.frame.nodes.push(FrameNode { parent: node, edge });
                next
            });
        }
        if node != ROOT {
            self.frame.held.push(Mark { node, worker });
        }
        self.bytes += (self.frame.nodes.len() - before) * (hash_width(self.frame.header.hash_bits) + 3) + 8;
        self.steps += path.len();
        true
    }

    /// The frame.
    pub fn finish(self) -> Frame {
        self.frame
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use crate::policy::FirstToken;
    use crate::tree::WorkerIndex;

    fn header(hash_bits: u8) -> Header {
        Header { sender: u64::MAX, epoch: 300, run: "runs/a/b".into(), sequence: 7, hash_bits, seat: seat() }
    }

    fn seat() -> Option<SeatNews> {
        Some(SeatNews { rank: 2, waiting: 9, known: vec![0, u64::MAX, 7] })
    }

    fn workers() -> Vec<WorkerNews> {
        let news = |id: &str, generation, in_flight, tokens| WorkerNews {
            id: id.into(),
            generation,
            load: Load { in_flight, tokens, awaited_tokens: tokens / 2, awaited: in_flight, due_ms: -5, sent_ms: -9 },
            slots: SlotNews { given: vec![(0, 3)], received: vec![(1, u32::MAX), (2, 1)], free: 4, wanted: 1 },
        };
        vec![news("a", 0, 3, 400), news("b", u32::MAX, u32::MAX, u64::MAX)]
    }

    fn lessons() -> Vec<Lesson> {
        let seen = FirstToken { ahead: 3, computed_tokens: 1700, elapsed_ms: 52.25 };
        let first_token = |worker, is_streamed| Lesson::FirstToken { worker: WorkerIndex(worker), is_streamed, seen };
        vec![first_token(0, true), first_token(1, false), Lesson::Latency { ahead: 400, latency_ms: 1600.5 }]
    }

    fn held(frame: &Frame) -> Vec<(usize, Vec<u64>)> {
        let mut held = Vec::new();
        frame.for_each_held(|worker, path| held.push((worker, path.to_vec())));
        held
    }

    fn built(hash_bits: u8, paths: &[(usize, Vec<u64>)]) -> Frame {
        let mut builder = FrameBuilder::new(header(hash_bits), workers());
        builder.teach(lessons());
        for (worker, path) in paths {
            assert!(builder.add(*worker, path));
        }
        builder.finish()
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            paths in prop::collection::vec((0_usize..2, prop::collection::vec(any::<u64>(), 1..9)), 0..20),
            hash_bits in 8_u8..=64,
        ) {
            let frame = built(hash_bits, &paths);
            prop_assert_eq!(&Frame::decode(&frame.encode()).unwrap(), &frame);
            let mask = u64::MAX >> (64 - hash_bits);
            let masked: Vec<_> = paths.iter()
                .map(|(worker, path)| (*worker, path.iter().map(|hash| hash & mask).collect::<Vec<_>>()))
                .collect();
            prop_assert_eq!(held(&frame), masked);
        }

        #[test]
        fn no_bytes_make_it_panic(
            cut in any::<prop::sample::Index>(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        ) {
            let mut bytes = built(64, &[(0, vec![1, 2, 3]), (1, vec![1, 2, 9])]).encode();
            for (at, value) in changes {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            bytes.truncate(cut.index(bytes.len() + 1));
            if let Ok(frame) = Frame::decode(&bytes) {
                held(&frame);
            }
        }
    }

    #[test]
    fn a_shared_prefix_is_sent_once() {
        let prompt = |own: u64| (0, (0..100).chain([own]).collect::<Vec<u64>>());
        let one = built(64, &[prompt(1000)]).encode().len();
        let many = built(64, &(1000..1010).map(prompt).collect::<Vec<_>>()).encode().len();
        assert!(many - one < 9 * 16, "nine more prompts took {} bytes", many - one);
    }

    #[test]
    fn a_frame_grows_to_its_bound_and_no_further() {
        let mut builder = FrameBuilder::new(header(64), workers());
        let mut paths = 0_u64;
        while builder.add(0, &[paths, 1, 2, 3]) {
            paths += 1;
        }
        let bytes = builder.finish().encode();
        assert!(bytes.len() <= MAXIMUM_FRAME_BYTES && bytes.len() > MAXIMUM_FRAME_BYTES / 2);
        Frame::decode(&bytes).unwrap();

        let mut deep = FrameBuilder::new(header(8), workers());
        let path: Vec<u64> = (0..MAXIMUM_DEPTH as u64).collect();
        while deep.add(0, &path) {}
        Frame::decode(&deep.finish().encode()).unwrap();
    }

    #[rstest]
    #[case::nothing(Vec::new(), FrameError::CutOff("version"))]
    #[case::another_version(b"hrt\x09".to_vec(), FrameError::Version)]
    #[case::too_large(vec![0; MAXIMUM_FRAME_BYTES + 1], FrameError::TooLarge(MAXIMUM_FRAME_BYTES + 1))]
    #[case::a_length_without_bytes(
        [b"hrt\x03\x40".as_slice(), &[0; 8], &[1, 1, 0xff, 0xff, 0xff, 0xff, 0x0f]].concat(),
        FrameError::OutOfBounds("run")
    )]
    #[case::a_billion_workers(
        [b"hrt\x03\x40".as_slice(), &[0; 8], &[1, 1, 0, 0, 0x80, 0x94, 0xeb, 0xdc, 0x03]].concat(),
        FrameError::OutOfBounds("number of workers")
    )]
    #[case::a_lesson_of_nobody(
        [b"hrt\x03\x08".as_slice(), &[0; 8], &[1, 1, 0, 0, 0, 1, 0, 0, 3, 9, 9]].concat(),
        FrameError::OutOfBounds("lesson")
    )]
    #[case::too_many_lessons(
        [b"hrt\x03\x08".as_slice(), &[0; 8], &[1, 1, 0, 0, 0, 65], &[2, 0, 3, 9, 9].repeat(65)].concat(),
        FrameError::OutOfBounds("number of lessons")
    )]
    #[case::a_node_before_its_parent(
        [b"hrt\x03\x08".as_slice(), &[0; 8], &[1, 1, 0, 0, 0, 0, 1, 1, 0xaa, 0]].concat(),
        FrameError::OutOfBounds("node")
    )]
    #[case::a_mark_on_nothing(
        [b"hrt\x03\x08".as_slice(), &[0; 8], &[1, 1, 0, 0, 0, 0, 1, 0, 0xaa, 1, 5, 0]].concat(),
        FrameError::OutOfBounds("mark")
    )]
    #[case::more_than_a_frame(
        [b"hrt\x03\x08".as_slice(), &[0; 8], &[1, 1, 0, 0, 0, 0, 0, 0, 0xff]].concat(),
        FrameError::OutOfBounds("length")
    )]
    fn a_lie_is_refused_by_what_it_lies_about(#[case] bytes: Vec<u8>, #[case] error: FrameError) {
        assert_eq!(Frame::decode(&bytes).unwrap_err(), error);
    }
}
