//! How fast this machine reads memory: the roof of decoding, which reads every weight once a token.

use super::Topology;
use crate::math::{Level, Task, dispatch};
use crate::{Buffer, cpu::Isa};
use std::sync::Barrier;
use std::time::Instant;

/// What is read at least; more where caches are larger.
const LEAST: usize = 256 << 20;

/// Passes, of which the median counts.
const PASSES: usize = 5;

/// A buffer that no cache holds, if memory allows: four times the last-level cache, at most an eighth of what is free.
pub fn buffer_bytes(topology: &Topology) -> usize {
    let wanted = LEAST.max(4 * topology.last_level_cache());
    topology.memory_available.map_or(wanted, |free| wanted.min(free / 8))
}

/// Bytes a second that `threads` threads read together from `bytes` of memory, each from its own part, which it wrote
/// first so that it lies near. Takes well under a second.
pub fn read_bandwidth(threads: usize, bytes: usize) -> f64 {
    let threads = threads.max(1);
    let each = (bytes / threads).next_multiple_of(4096);
    let gate = Barrier::new(threads);
    let work = || {
        let mut part = Buffer::zeroed(each);
        part.as_f32_mut().fill(1.0);
        let mut seconds = Vec::with_capacity(PASSES);
        for _ in 0..PASSES {
            gate.wait();
            let start = Instant::now();
            read(part.as_f32());
            gate.wait();
            seconds.push(start.elapsed().as_secs_f64());
        }
        seconds
    };
    let mut seconds = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mine = work();
        others.into_iter().for_each(|t| drop(t.join()));
        mine
    });
    seconds.sort_by(f64::total_cmp);
    (each * threads) as f64 / seconds[PASSES / 2]
}

/// Reads all of it, for what that does to caches.
pub(crate) fn read(part: &[f32]) {
    std::hint::black_box(dispatch(Isa::detect(), Sum(part)));
}

struct Sum<'a>(&'a [f32]);

impl Task for Sum<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<L: Level>(self) -> f32 {
        crate::math::sum::<L>(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_larger_than_the_caches_and_smaller_than_memory() {
        let cache = super::super::Cache { level: 3, bytes: 128 << 20, count: 2, shared_by: 8 };
        let mut t = Topology { caches: vec![cache], ..Topology::default() };
        assert_eq!(buffer_bytes(&t), 1 << 30);
        t.memory_available = Some(1 << 30);
        assert_eq!(buffer_bytes(&t), 128 << 20);
        assert_eq!(buffer_bytes(&Topology::default()), LEAST);
    }

    #[test]
    fn a_rate_is_a_positive_number() {
        let rate = read_bandwidth(2, 1 << 20);
        assert!(rate.is_finite() && rate > 0.0);
    }
}
