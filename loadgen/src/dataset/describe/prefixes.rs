//! What prompts share: hashes of their beginnings, block by block, of which only the different ones are kept.

use std::collections::{BTreeMap, HashSet};

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::{BYTES_PER_TOKEN, DEPTHS, Depth, Group, Sharing, TOP_GROUPS, Units};

/// Tokens of a block, as vLLM's KV blocks have by default.
const BLOCK_TOKENS: usize = 16;
const BLOCK_BYTES: usize = BLOCK_TOKENS * BYTES_PER_TOKEN;
/// Tokens after the common beginning that tell groups apart.
const GROUP_TOKENS: usize = 16;
/// Bytes of a quoted label that says something.
const SHORTEST_LABEL: usize = 4;
/// Characters of a group's label.
const LABEL_CHARACTERS: usize = 44;

/// The beginnings seen so far.
pub(super) struct Prefixes {
    /// Bytes that all prompts begin with.
    common_bytes: usize,
    seen: HashSet<u64>,
    whole: HashSet<u64>,
    groups: BTreeMap<u64, Counted>,
    requests: usize,
    duplicates: usize,
    blocks: u64,
    shared_blocks: u64,
    /// Prompts that have a block at this depth, and those that share it with an earlier prompt.
    by_depth: Vec<(usize, usize)>,
}

struct Counted {
    label: String,
    count: usize,
}

impl Prefixes {
    pub(super) fn new(common_bytes: usize) -> Prefixes {
        Prefixes {
            common_bytes,
            seen: HashSet::new(),
            whole: HashSet::new(),
            groups: BTreeMap::new(),
            requests: 0,
            duplicates: 0,
            blocks: 0,
            shared_blocks: 0,
            by_depth: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, prompt: &Units) {
        let Units { bytes, is_text: _ } = prompt;
        self.requests += 1;
        self.duplicates += usize::from(!self.whole.insert(xxh3_64(bytes)));
        let mut hash = 0;
        // Each hash takes in the one before, so that equal hashes are equal beginnings, not just equal blocks.
        for (depth, block) in bytes.chunks_exact(BLOCK_BYTES).enumerate() {
            hash = xxh3_64_with_seed(block, hash);
            let shared = !self.seen.insert(hash);
            self.blocks += 1;
            self.shared_blocks += u64::from(shared);
            if self.by_depth.len() == depth {
                self.by_depth.push((0, 0));
            }
            let (prompts, sharing) = &mut self.by_depth[depth];
            *prompts += 1;
            *sharing += usize::from(shared);
        }
        let beyond = &bytes[self.common_bytes.min(bytes.len())..];
        let opening = &beyond[..beyond.len().min(GROUP_TOKENS * BYTES_PER_TOKEN)];
        let number = self.groups.len() + 1;
        let group = self
            .groups
            .entry(xxh3_64(opening))
            .or_insert_with(|| Counted { label: label(opening, prompt.is_text, number), count: 0 });
        group.count += 1;
    }

    pub(super) fn finish(self) -> Sharing {
        let of_all = |count: usize| count as f64 / self.requests.max(1) as f64;
        let mut groups: Vec<&Counted> = self.groups.values().collect();
        groups.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.label.cmp(&b.label)));
        let top = groups.iter().take(TOP_GROUPS);
        // Deep beginnings are told less finely.
        let stride = self.by_depth.len().div_ceil(DEPTHS).max(1);
        let depths = self.by_depth.iter().enumerate().step_by(stride).map(|(depth, (prompts, sharing))| Depth {
            tokens: ((depth + 1) * BLOCK_TOKENS) as u32,
            prompts: *prompts,
            shared: of_all(*sharing),
        });
        Sharing {
            shared_token_share: self.shared_blocks as f64 / self.blocks.max(1) as f64,
            exact_duplicate_share: of_all(self.duplicates),
            common_prefix_tokens: (self.common_bytes / BYTES_PER_TOKEN) as u32,
            by_depth: depths.collect(),
            groups: groups.len(),
            top_ten_share: of_all(top.clone().map(|group| group.count).sum()),
            top_groups: top.map(|group| Group { label: group.label.clone(), share: of_all(group.count) }).collect(),
        }
    }
}

/// How a group begins, on one line; token ids have nothing to read, so they are numbered.
fn label(opening: &[u8], is_text: bool, number: usize) -> String {
    if !is_text {
        return format!("beginning {number}");
    }
    let text = String::from_utf8_lossy(opening);
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    // Of quoted text, as a tool's name is, the inside is enough.
    let words = words.split('"').map(str::trim).find(|part| part.len() >= SHORTEST_LABEL).unwrap_or(&words);
    words.chars().filter(|character| *character != '\u{fffd}').take(LABEL_CHARACTERS).collect()
}
