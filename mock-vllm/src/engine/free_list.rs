//! A doubly linked list of free blocks, oldest first, with removal from the middle in constant time.
//!
//! A cached block that is hit while free leaves the middle of the list; a `VecDeque` would have to search for it.

/// The free blocks in the order in which they will be reused.
#[derive(Clone, Debug)]
pub(super) struct FreeList {
    /// Links of block `i` at index `i`; the last entry is the sentinel that closes the ring.
    links: Vec<Links>,
    length: usize,
}

#[derive(Clone, Copy, Debug)]
struct Links {
    previous: u32,
    next: u32,
}

impl FreeList {
    /// A list that holds the blocks `0..blocks` in that order.
    pub(super) fn full(blocks: u32) -> Self {
        let ring = blocks + 1;
        let links =
            (0..ring).map(|index| Links { previous: (index + blocks) % ring, next: (index + 1) % ring }).collect();
        Self { links, length: blocks as usize }
    }

    /// Number of free blocks.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    fn sentinel(&self) -> u32 {
        (self.links.len() - 1) as u32
    }

    /// Takes the block that has been free the longest.
    pub(super) fn pop_front(&mut self) -> Option<u32> {
        let first = self.links[self.sentinel() as usize].next;
        if first == self.sentinel() {
            return None;
        }
        self.remove(first);
        Some(first)
    }

    /// Appends a block that is not in the list.
    pub(super) fn push_back(&mut self, block: u32) {
        let sentinel = self.sentinel();
        let last = self.links[sentinel as usize].previous;
        self.links[block as usize] = Links { previous: last, next: sentinel };
        self.links[last as usize].next = block;
        self.links[sentinel as usize].previous = block;
        self.length += 1;
    }

    /// Takes a block out of the list, wherever it stands; the block must be in it.
    pub(super) fn remove(&mut self, block: u32) {
        let Links { previous, next } = self.links[block as usize];
        self.links[previous as usize].next = next;
        self.links[next as usize].previous = previous;
        self.length -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(list: &mut FreeList) -> Vec<u32> {
        std::iter::from_fn(|| list.pop_front()).collect()
    }

    #[test]
    fn blocks_leave_in_the_order_in_which_they_were_freed() {
        let mut list = FreeList::full(3);
        assert_eq!(list.pop_front(), Some(0));
        list.push_back(0);
        assert_eq!(drain(&mut list), [1, 2, 0]);
        assert_eq!(list.len(), 0);
    }

    #[test]
    fn a_block_removed_from_the_middle_is_skipped() {
        let mut list = FreeList::full(4);
        list.remove(2);
        assert_eq!(list.len(), 3);
        assert_eq!(drain(&mut list), [0, 1, 3]);
    }
}
