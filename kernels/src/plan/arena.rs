//! Places for temporaries in a block of memory, reused where a barrier lies between two uses: one block that workers
//! share, and one that each of them has.

use super::{Step, schedule};
use crate::graph::{Graph, StorageKind};

pub(super) struct Arena {
    pub shared_bytes: usize,
    pub own_bytes: usize,
    /// Of each storage, in the block that it is in.
    pub offsets: Vec<Option<usize>>,
}

/// Cache lines of two workers must not be shared between storages.
const ALIGN: usize = 128;

/// First and last segment that uses it.
type Life = (usize, usize);

/// Places all temporaries and outputs. `own` says which are in a worker's own block.
pub(super) fn place(graph: &Graph, steps: &[Step], segments: &[usize], own: &[bool]) -> Arena {
    let mut life: Vec<Option<Life>> = vec![None; graph.storages.len()];
    for (step, &segment) in steps.iter().zip(segments) {
        for v in schedule::reads(graph, step).chain(schedule::writes(step)) {
            let s = graph.value(v).storage.0 as usize;
            life[s].get_or_insert((segment, segment)).1 = segment;
        }
    }
    for (s, storage) in graph.storages.iter().enumerate() {
        match storage.kind {
            // The caller reads outputs after the run.
            StorageKind::Output(_) => life[s] = Some((life[s].map_or(0, |l| l.0), usize::MAX)),
            StorageKind::Temp => life[s] = life[s].or(Some((0, 0))),
            _ => life[s] = None,
        }
    }
    let mut offsets = vec![None; graph.storages.len()];
    let [shared_bytes, own_bytes] = [false, true].map(|block| {
        let of_block = |s: &usize| own[*s] == block;
        let members = (0..life.len()).filter(of_block).filter_map(|s| Some((s, graph.storages[s].bytes, life[s]?)));
        fit(members.collect(), &mut offsets)
    });
    Arena { shared_bytes, own_bytes, offsets }
}

/// Greedy by size: the largest first, each at the lowest place where nothing alive at the same time lies. Returns the
/// bytes of the block.
fn fit(mut members: Vec<(usize, usize, Life)>, offsets: &mut [Option<usize>]) -> usize {
    members.sort_by_key(|&(s, bytes, _)| (std::cmp::Reverse(bytes), s));
    let mut placed: Vec<(usize, usize, Life)> = Vec::new();
    let mut end = 0;
    for (s, bytes, alive) in members {
        let size = bytes.next_multiple_of(ALIGN);
        let mut taken: Vec<(usize, usize)> = placed
            .iter()
            .filter(|(_, _, other)| alive.0 <= other.1 && other.0 <= alive.1)
            .map(|&(from, to, _)| (from, to))
            .collect();
        taken.sort_unstable();
        let mut at = 0;
        for (from, to) in taken {
            if at + size <= from {
                break;
            }
            at = at.max(to);
        }
        offsets[s] = Some(at);
        placed.push((at, at + size, alive));
        end = end.max(at + size);
    }
    end
}
