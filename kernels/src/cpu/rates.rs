//! How fast this machine multiplies: the roof of prompts, where weights are used for many tokens.

use super::Isa;
use crate::math::{Lanes, Level, Task, dispatch};
use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// How long one measurement takes.
const LENGTH: Duration = Duration::from_millis(20);

/// Measurements, of which the best counts: a roof is what the machine can do when nothing disturbs it.
const REPEATS: usize = 5;

/// Multiply-adds of F32 a second, each counted as two operations, by `threads` threads together.
pub fn peak_f32(threads: usize) -> f64 {
    rate(threads, || dispatch(Isa::detect(), MultiplyAdds))
}

/// Multiply-adds of int8 into int32 a second, each counted as two operations, by `threads` threads together.
pub fn peak_int8(threads: usize) -> f64 {
    let data: Vec<i8> = (0..2048).map(|i| (i % 15) as i8).collect();
    rate(threads, || int8_products(Isa::detect(), black_box(&data)))
}

/// Operations a second: `work` does some and says how many.
fn rate(threads: usize, work: impl Fn() -> usize + Sync) -> f64 {
    let threads = threads.max(1);
    let gate = Barrier::new(threads);
    let one = || {
        let mut best: f64 = 0.0;
        for _ in 0..REPEATS {
            gate.wait();
            let (start, mut done) = (Instant::now(), 0);
            while start.elapsed() < LENGTH {
                done += work();
            }
            best = best.max(done as f64 / start.elapsed().as_secs_f64());
        }
        best
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(one)).collect();
        let mine = one();
        mine + others.into_iter().filter_map(|t| t.join().ok()).sum::<f64>()
    })
}

/// Rounds between two looks at the clock.
const ROUNDS: usize = 10_000;

struct MultiplyAdds;

impl Task for MultiplyAdds {
    type Output = usize;

    #[inline(always)]
    fn run<L: Level>(self) -> usize {
        // Two a cycle with a latency of four or five: twelve chains keep the units busy.
        const CHAINS: usize = 12;
        let mut end = [0.0; 16];
        // SAFETY: a task may take its level's features as given; the array has the widest vector.
        unsafe {
            let (factor, more) = (L::V::splat(black_box(0.5)), L::V::splat(black_box(1.0)));
            let mut acc = [L::V::splat(black_box(0.0)); CHAINS];
            for _ in 0..ROUNDS {
                for a in &mut acc {
                    *a = a.mul_add(factor, more);
                }
            }
            for a in acc {
                a.store(end.as_mut_ptr());
                black_box(&end);
            }
        }
        2 * ROUNDS * CHAINS * L::V::N
    }
}

/// Products of `data`, a multiple of 512 elements, with itself; how many operations those were.
fn int8_products(isa: Isa, data: &[i8]) -> usize {
    const PASSES: usize = 16;
    for _ in 0..PASSES {
        #[cfg(target_arch = "x86_64")]
        {
            if isa.avx512_vnni().is_some() {
                // SAFETY: the token proves the features.
                black_box(unsafe { x86::avx512_vnni(data) });
                continue;
            }
            if isa.avx2().is_some() {
                // SAFETY: the token proves the features.
                black_box(unsafe { x86::avx2(data) });
                continue;
            }
        }
        let _ = isa;
        black_box(data.iter().map(|&x| i32::from(x) * i32::from(x)).sum::<i32>());
    }
    2 * PASSES * data.len()
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        _mm256_add_epi32, _mm256_extract_epi32, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_maddubs_epi16,
        _mm256_set1_epi16, _mm256_setzero_si256, _mm512_add_epi32, _mm512_dpbusd_epi32, _mm512_loadu_si512,
        _mm512_reduce_add_epi32, _mm512_setzero_si512,
    };

    /// # Safety
    /// The CPU has AVX2.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn avx2(data: &[i8]) -> i32 {
        let ones = _mm256_set1_epi16(1);
        let mut acc = [_mm256_setzero_si256(); 8];
        for chunk in data.chunks_exact(8 * 32) {
            for (v, a) in chunk.chunks_exact(32).zip(&mut acc) {
                // SAFETY: the chunk has 32 bytes, and the load takes any alignment.
                let x = unsafe { _mm256_loadu_si256(v.as_ptr().cast()) };
                *a = _mm256_add_epi32(*a, _mm256_madd_epi16(_mm256_maddubs_epi16(x, x), ones));
            }
        }
        let sum = acc.into_iter().fold(_mm256_setzero_si256(), |s, a| _mm256_add_epi32(s, a));
        // One lane alone would let the compiler drop the others.
        let sum = std::hint::black_box(sum);
        _mm256_extract_epi32::<0>(sum)
    }

    /// # Safety
    /// The CPU has AVX-512 F and VNNI.
    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(super) unsafe fn avx512_vnni(data: &[i8]) -> i32 {
        let mut acc = [_mm512_setzero_si512(); 8];
        for chunk in data.chunks_exact(8 * 64) {
            for (v, a) in chunk.chunks_exact(64).zip(&mut acc) {
                // SAFETY: the chunk has 64 bytes, and the load takes any alignment.
                let x = unsafe { _mm512_loadu_si512(v.as_ptr().cast()) };
                *a = _mm512_dpbusd_epi32(*a, x, x);
            }
        }
        _mm512_reduce_add_epi32(acc.into_iter().fold(_mm512_setzero_si512(), |s, a| _mm512_add_epi32(s, a)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_positive_numbers() {
        for rate in [peak_f32(1), peak_int8(1)] {
            assert!(rate.is_finite() && rate > 0.0);
        }
    }

    #[test]
    fn every_level_counts_the_products_of_its_data() {
        for &isa in Isa::available() {
            assert_eq!(int8_products(isa, &[1; 1024]), 2 * 16 * 1024);
        }
    }
}
