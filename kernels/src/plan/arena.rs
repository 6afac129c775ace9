//! Places for temporaries in one block of memory, reused once a barrier lies between two uses.

use super::{Step, schedule::accesses};
use crate::graph::{Graph, StorageKind};

pub(super) struct Arena {
    pub bytes: usize,
    pub offsets: Vec<Option<usize>>,
}

/// Cache lines of two workers must not be shared between storages.
const ALIGN: usize = 128;

/// Greedy by size: the largest first, each at the lowest place where nothing alive at the same time lies.
pub(super) fn place(graph: &Graph, steps: &[Step], segments: &[usize]) -> Arena {
    // First and last segment of use, for each temporary and output.
    let mut life: Vec<Option<(usize, usize)>> = vec![None; graph.storages.len()];
    for (step, &segment) in steps.iter().zip(segments) {
        let (reads, writes) = accesses(graph, step);
        for v in reads.into_iter().chain(writes) {
            let s = graph.value(v).storage.0 as usize;
            let l = life[s].get_or_insert((segment, segment));
            l.1 = segment;
        }
    }
    let mut order: Vec<usize> = (0..graph.storages.len())
        .filter(|&i| matches!(graph.storages[i].kind, StorageKind::Temp | StorageKind::Output(_)))
        .collect();
    for &i in &order {
        match graph.storages[i].kind {
            // The caller reads outputs after the run.
            StorageKind::Output(_) => {
                let first = life[i].map_or(0, |l| l.0);
                life[i] = Some((first, usize::MAX));
            }
            _ if life[i].is_none() => life[i] = Some((0, 0)),
            _ => {}
        }
    }
    order.sort_by_key(|&i| (std::cmp::Reverse(graph.storages[i].bytes), i));
    let mut offsets: Vec<Option<usize>> = vec![None; graph.storages.len()];
    let mut placed: Vec<(usize, usize, (usize, usize))> = Vec::new();
    let mut bytes = 0;
    for i in order {
        let size = graph.storages[i].bytes.next_multiple_of(ALIGN);
        let alive = life[i].unwrap_or((0, 0));
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
        offsets[i] = Some(at);
        placed.push((at, at + size, alive));
        bytes = bytes.max(at + size);
    }
    Arena { bytes, offsets }
}
