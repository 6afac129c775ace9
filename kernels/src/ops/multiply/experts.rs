//! Which tokens go to which expert, and who computes what: tokens are grouped by expert, so that a worker reads a row of
//! an expert once for all of its tokens.

use crate::{Layout, TensorPtr};
use std::ops::Range;

/// Slots (of a token, one of its experts) grouped by expert. For few tokens every worker makes its own, which costs less
/// than a barrier; for many, one makes it for all.
pub(in crate::ops) struct Experts<'a> {
    /// Experts that have a slot, rising.
    active: &'a [u32],
    /// Where each expert's slots start, and the end of the last one's.
    starts: &'a [u32],
    /// Slots by expert, rising for each. Slot `u + n_used * t` is the one for expert `ids[u, t]`.
    pub slots: &'a [u32],
    /// Their tokens, in the order of `slots`.
    pub tokens: &'a [u32],
    /// Where each slot is in `slots`.
    pub places: &'a [u32],
}

/// One worker's piece: rows of an expert with all of its slots.
pub(in crate::ops) struct Piece {
    /// The expert.
    pub expert: usize,
    /// Rows of its matrix.
    pub rows: Range<usize>,
    /// Its slots: positions in [`Experts::slots`].
    pub slots: Range<usize>,
}

/// How work is dealt.
pub(in crate::ops) struct Deal {
    /// Rows of an expert's matrix.
    pub rows: usize,
    /// Rows that stay together.
    pub task: usize,
    /// What a row costs beside its columns: reading and unpacking it, in columns.
    pub fixed: usize,
    /// This worker.
    pub ith: usize,
    /// Workers.
    pub nth: usize,
}

/// From so many tokens on grouping them takes longer than a barrier.
const MANY_TOKENS: usize = 16;

/// Whether one worker should group the tokens for all.
pub(in crate::ops) fn group_once(ids: &Layout) -> bool {
    ids.ne[1] >= MANY_TOKENS
}

/// Up to so many slots are sorted; more are counted, which walks over all experts.
const FEW_SLOTS: usize = 32;

/// Lengths: the number of active experts, they, where their slots start, slots, tokens, places, and what counting takes.
fn words(ids: &Layout, experts: usize) -> [usize; 7] {
    let slots = ids.elements();
    let active = slots.min(experts);
    [1, active, active + 1, slots, slots, slots, if slots <= FEW_SLOTS { 0 } else { experts + 1 }]
}

impl<'a> Experts<'a> {
    /// Bytes of scratch that [`Self::group`] takes.
    pub fn scratch(ids: &Layout, experts: usize) -> usize {
        (4 * words(ids, experts).iter().sum::<usize>()).next_multiple_of(64)
    }

    /// Groups the slots of `ids` (`[n_used, tokens]`). Returns the rest of the scratch.
    ///
    /// # Safety
    /// `ids` is live I32 that nobody writes meanwhile; the scratch is aligned to 64.
    ///
    /// # Panics
    /// If an id is no expert: they come from a top-k over the experts.
    pub unsafe fn group(ids: &TensorPtr, experts: usize, scratch: &'a mut [u8]) -> (Experts<'a>, &'a mut [u8]) {
        let (own, rest) = scratch.split_at_mut(Self::scratch(&ids.layout, experts));
        // SAFETY: scratch is aligned to 64, every bit pattern is a u32, the length is rounded down to whole ones.
        let own = unsafe { std::slice::from_raw_parts_mut(own.as_mut_ptr().cast::<u32>(), own.len() / 4) };
        {
            let [f, a, s, n, _, _, c] = words(&ids.layout, experts);
            let (found, lists) = own.split_at_mut(f);
            let (active, lists) = lists.split_at_mut(a);
            let (starts, lists) = lists.split_at_mut(s);
            let (slots, lists) = lists.split_at_mut(n);
            let (tokens, lists) = lists.split_at_mut(n);
            let (places, lists) = lists.split_at_mut(n);
            let used = ids.ne(0);
            let at = |u: usize, t: usize| {
                // SAFETY: slots are the elements of ids.
                let e = unsafe { ids.get_i32([u, t, 0, 0]) } as usize;
                assert!(e < experts, "expert {e} of {experts}");
                e
            };
            let expert = |slot: u32| at((slot % used as u32) as usize, (slot / used as u32) as usize);
            if n <= FEW_SLOTS {
                slots.iter_mut().zip(0..).for_each(|(to, slot)| *to = slot);
                slots.sort_unstable_by_key(|&slot| (expert(slot), slot));
            } else {
                count(slots, &mut lists[..c], used, ids.ne(1), at);
            }
            let mut met = 0;
            for (place, &slot) in slots.iter().enumerate() {
                let e = expert(slot) as u32;
                if met == 0 || active[met - 1] != e {
                    (active[met], starts[met]) = (e, place as u32);
                    met += 1;
                }
                tokens[place] = slot / used as u32;
                places[slot as usize] = place as u32;
            }
            starts[met] = n as u32;
            found[0] = met as u32;
        }
        (Self::of(own, &ids.layout, experts), rest)
    }

    /// [`Self::group`] into scratch of exactly its size, for [`Self::grouped`].
    ///
    /// # Safety
    /// As `group`; `scratch` is writable for [`Self::scratch`] bytes, and nobody else touches it.
    pub unsafe fn group_for_all(ids: &TensorPtr, experts: usize, scratch: *mut u8) {
        // SAFETY: by the caller's contract.
        unsafe {
            let own = std::slice::from_raw_parts_mut(scratch, Self::scratch(&ids.layout, experts));
            Experts::group(ids, experts, own);
        }
    }

    /// What [`Self::group`] left in scratch that others may read.
    ///
    /// # Safety
    /// `scratch` is what `group_for_all` got for the same layout and number of experts; nobody writes it any more.
    pub unsafe fn grouped(ids: &Layout, experts: usize, scratch: *const u8) -> Experts<'a> {
        // SAFETY: by the caller's contract as many words are there.
        let own = unsafe { std::slice::from_raw_parts(scratch.cast::<u32>(), Self::scratch(ids, experts) / 4) };
        Self::of(own, ids, experts)
    }

    fn of(own: &'a [u32], ids: &Layout, experts: usize) -> Experts<'a> {
        let [f, a, s, n, ..] = words(ids, experts);
        let (found, lists) = own.split_at(f);
        let (active, lists) = lists.split_at(a);
        let (starts, lists) = lists.split_at(s);
        let (slots, lists) = lists.split_at(n);
        let (tokens, lists) = lists.split_at(n);
        let found = found[0] as usize;
        Experts { active: &active[..found], starts: &starts[..=found], slots, tokens, places: &lists[..n] }
    }

    /// Experts with their slots, rising.
    pub fn iter(&self) -> impl Iterator<Item = (usize, Range<usize>)> {
        self.active.iter().zip(self.starts.windows(2)).map(|(&e, at)| (e as usize, at[0] as usize..at[1] as usize))
    }

    /// A worker's pieces: tasks of rows of all experts in a line, cut by cost.
    pub fn share(&self, deal: Deal) -> impl Iterator<Item = Piece> {
        let Deal { rows, task, fixed, ith, nth } = deal;
        let tasks = rows.div_ceil(task);
        let weigh = move |slots: &Range<usize>| slots.len() + fixed;
        let total: usize = self.iter().map(|(_, slots)| tasks * weigh(&slots)).sum();
        let (from, to) = (total * ith / nth, total * (ith + 1) / nth);
        let mut start = 0;
        self.iter().filter_map(move |(expert, slots)| {
            let weight = weigh(&slots);
            // The tasks that begin inside this worker's stretch.
            let cut = |at: usize| at.saturating_sub(start).div_ceil(weight).min(tasks) * task;
            let rows = cut(from).min(rows)..cut(to).min(rows);
            start += tasks * weight;
            (!rows.is_empty()).then_some(Piece { expert, rows, slots })
        })
    }
}

/// Sorts slots by expert by counting.
fn count(slots: &mut [u32], starts: &mut [u32], used: usize, tokens: usize, expert: impl Fn(usize, usize) -> usize) {
    starts.fill(0);
    for t in 0..tokens {
        for u in 0..used {
            starts[expert(u, t)] += 1;
        }
    }
    // From counts to ends, then, slots being placed from the last to the first, to starts.
    let mut end = 0;
    for start in starts.iter_mut() {
        end += *start;
        *start = end;
    }
    for t in (0..tokens).rev() {
        for u in (0..used).rev() {
            let start = &mut starts[expert(u, t)];
            *start -= 1;
            slots[*start as usize] = (u + used * t) as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Buffer;

    fn grouped(ids: &[i32], used: usize, experts: usize, check: impl Fn(&Experts<'_>)) {
        let ids = Buffer::from_i32(ids);
        let layout = Layout::i32([used, ids.len() / 4 / used, 1, 1]);
        let ptr = TensorPtr { ptr: ids.as_ptr(), layout };
        let mut scratch = Buffer::zeroed(Experts::scratch(&layout, experts));
        scratch.bytes_mut().fill(0xa5);
        // SAFETY: `ids` and `scratch` outlive the groups.
        check(&unsafe { Experts::group(&ptr, experts, scratch.bytes_mut()) }.0);
    }

    #[test]
    fn slots_are_grouped_by_expert_in_order() {
        grouped(&[3, 0, 3, 1, 0, 3], 2, 5, |e| {
            assert!((0..6).all(|slot| e.slots[e.places[slot] as usize] == slot as u32));
            let groups: Vec<_> =
                e.iter().map(|(x, s)| (x, e.slots[s.clone()].to_vec(), e.tokens[s].to_vec())).collect();
            let want = [(0, vec![1, 4], vec![0, 2]), (1, vec![3], vec![1]), (3, vec![0, 2, 5], vec![0, 1, 2])];
            assert_eq!(groups, want);
        });
    }

    #[test]
    fn many_slots_are_grouped_as_few() {
        let ids: Vec<i32> = (0..120).map(|i| i * i % 7).collect();
        grouped(&ids, 3, 9, |e| {
            let mut want: Vec<u32> = (0..120).collect();
            want.sort_by_key(|&slot| ids[slot as usize]);
            assert_eq!(e.slots, want);
            assert_eq!(e.iter().map(|(x, s)| (x, s.len())).collect::<Vec<_>>(), [(0, 18), (1, 34), (2, 34), (4, 34)]);
        });
    }

    #[test]
    fn every_row_of_every_active_expert_comes_once() {
        grouped(&[3, 0, 3, 1, 0, 3, 3, 4], 2, 5, |e| {
            for nth in 1..30 {
                let mut seen = [[0; 50]; 5];
                for ith in 0..nth {
                    for piece in e.share(Deal { rows: 50, task: 8, fixed: 3, ith, nth }) {
                        piece.rows.for_each(|r| seen[piece.expert][r] += 1);
                    }
                }
                assert_eq!(seen, [[1; 50], [1; 50], [0; 50], [1; 50], [1; 50]], "{nth}");
            }
        });
    }
}
