//! The two products with the cache, on rows of queries and blocks of cells: logits = q · k and sum += p · v. Accumulators
//! stay in registers; a cell is loaded (and converted from F16) once for four rows.

use crate::math::Lanes;
use half::f16;

/// Neighbouring cells of one head of a cache.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cells {
    /// The first.
    pub ptr: *const u8,
    /// Bytes from one to the next.
    pub stride: usize,
    /// F16, not F32.
    pub f16: bool,
}

impl Cells {
    /// The cells from number `c` on.
    ///
    /// # Safety
    /// There are so many.
    #[inline(always)]
    pub unsafe fn from(self, c: usize) -> Cells {
        // SAFETY: the caller has so many cells.
        Cells { ptr: unsafe { self.ptr.add(c * self.stride) }, ..self }
    }
}

/// Elements `i ..` of the cell at `p`.
///
/// # Safety
/// As [`Lanes::load`].
#[inline(always)]
unsafe fn load<V: Lanes, const F16: bool>(p: *const u8, i: usize) -> V {
    // SAFETY: the caller vouches for the features and for elements `i .. i + N` of this type.
    unsafe { if F16 { V::load_f16(p.cast::<f16>().add(i)) } else { V::load(p.cast::<f32>().add(i)) } }
}

/// Logits: `s[c * width + r] = q[r] · k[c]` for `rows` rows of `head` elements and `n` cells.
///
/// # Safety
/// The level's features; `q` has `rows * head` elements, `k` `n` cells of `head`, a multiple of `V::N`; `s` has
/// `n * width` elements and `width ≥ rows`.
#[inline(always)]
pub(super) unsafe fn logits<V: Lanes, const F16: bool>(
    q: *const f32,
    rows: usize,
    head: usize,
    k: Cells,
    n: usize,
    s: *mut f32,
    width: usize,
) {
    let mut r = 0;
    while r < rows {
        let four = rows - r >= 4;
        let mut c = 0;
        while c < n {
            // SAFETY: rows `r ..` and cells `c ..` are as many as the block takes.
            unsafe {
                let (q, k, s) = (q.add(r * head), k.from(c), s.add(c * width + r));
                // Tails of twos: a block of one row of accumulators waits for its additions.
                let left = n - c;
                c += match (V::N, four) {
                    (16, true) if left >= 6 => logits_block::<V, F16, 4, 6>(q, head, k, s, width),
                    (_, true) if left >= 3 && left != 4 => logits_block::<V, F16, 4, 3>(q, head, k, s, width),
                    (_, true) if left >= 2 => logits_block::<V, F16, 4, 2>(q, head, k, s, width),
                    (_, true) => logits_block::<V, F16, 4, 1>(q, head, k, s, width),
                    (_, false) if left >= 4 => logits_block::<V, F16, 1, 4>(q, head, k, s, width),
                    (_, false) => logits_block::<V, F16, 1, 1>(q, head, k, s, width),
                };
            }
        }
        r += if four { 4 } else { 1 };
    }
}

/// A block of `R` rows and `C` cells; gives back `C`.
///
/// # Safety
/// As [`logits`].
#[inline(always)]
unsafe fn logits_block<V: Lanes, const F16: bool, const R: usize, const C: usize>(
    q: *const f32,
    head: usize,
    k: Cells,
    s: *mut f32,
    width: usize,
) -> usize {
    // SAFETY: the caller's contract.
    unsafe {
        let mut acc = [[V::splat(0.0); C]; R];
        let mut i = 0;
        while i < head {
            let mut cells = [V::splat(0.0); C];
            for (c, cell) in cells.iter_mut().enumerate() {
                *cell = load::<V, F16>(k.ptr.add(c * k.stride), i);
            }
            for (r, acc) in acc.iter_mut().enumerate() {
                let query = V::load(q.add(r * head + i));
                for (sum, &cell) in acc.iter_mut().zip(&cells) {
                    *sum = query.mul_add(cell, *sum);
                }
            }
            i += V::N;
        }
        // Rows that the block lacks are sums of zeros, which the compiler drops.
        let mut four = [[V::splat(0.0); C]; 4];
        four[..R].copy_from_slice(&acc);
        let [r0, r1, r2, r3] = four;
        for (c, ((a0, a1), (a2, a3))) in r0.into_iter().zip(r1).zip(r2.into_iter().zip(r3)).enumerate() {
            let sums = V::sum4([a0, a1, a2, a3]);
            s.add(c * width).copy_from_nonoverlapping(sums.as_ptr(), R);
        }
    }
    C
}

/// Sums: `acc[r] = factor[r] * acc[r] + Σ p[c * width + r] * v[c]` over `n` cells.
///
/// # Safety
/// As [`logits`], with `acc` of `rows * head` elements, `p` of `n * width` and `factor` of `rows`.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub(super) unsafe fn accumulate<V: Lanes, const F16: bool>(
    acc: *mut f32,
    factor: *const f32,
    rows: usize,
    head: usize,
    v: Cells,
    n: usize,
    p: *const f32,
    width: usize,
) {
    let mut i = 0;
    while i < head {
        let vectors = (head - i) / V::N;
        let mut taken = 1;
        let mut r = 0;
        while r < rows {
            let four = rows - r >= 4;
            // SAFETY: rows `r ..` and elements `i ..` are as many as the block takes.
            unsafe {
                let (acc, factor, p) = (acc.add(r * head + i), factor.add(r), p.add(r));
                taken = match (V::N, four) {
                    (16, true) if vectors >= 4 => {
                        accumulate_block::<V, F16, 4, 4>(acc, factor, head, v, i, n, p, width)
                    }
                    (16, false) if vectors >= 4 => {
                        accumulate_block::<V, F16, 1, 4>(acc, factor, head, v, i, n, p, width)
                    }
                    (_, true) if vectors >= 2 => accumulate_block::<V, F16, 4, 2>(acc, factor, head, v, i, n, p, width),
                    (_, false) if vectors >= 2 => {
                        accumulate_block::<V, F16, 1, 2>(acc, factor, head, v, i, n, p, width)
                    }
                    (_, true) => accumulate_block::<V, F16, 4, 1>(acc, factor, head, v, i, n, p, width),
                    (_, false) => accumulate_block::<V, F16, 1, 1>(acc, factor, head, v, i, n, p, width),
                };
            }
            r += if four { 4 } else { 1 };
        }
        i += taken * V::N;
    }
}

/// A block of `R` rows and `N` vectors from element `i` of each cell; gives back `N`.
///
/// # Safety
/// As [`accumulate`].
#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn accumulate_block<V: Lanes, const F16: bool, const R: usize, const N: usize>(
    acc: *mut f32,
    factor: *const f32,
    head: usize,
    v: Cells,
    i: usize,
    n: usize,
    p: *const f32,
    width: usize,
) -> usize {
    // SAFETY: the caller's contract.
    unsafe {
        let mut sums = [[V::splat(0.0); N]; R];
        for (r, sums) in sums.iter_mut().enumerate() {
            let f = V::splat(factor.add(r).read());
            for (j, sum) in sums.iter_mut().enumerate() {
                *sum = V::load(acc.add(r * head + j * V::N)).mul(f);
            }
        }
        for c in 0..n {
            let cell = v.ptr.add(c * v.stride);
            let mut values = [V::splat(0.0); N];
            for (j, value) in values.iter_mut().enumerate() {
                *value = load::<V, F16>(cell, i + j * V::N);
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                let weight = V::splat(p.add(c * width + r).read());
                for (sum, &value) in sums.iter_mut().zip(&values) {
                    *sum = weight.mul_add(value, *sum);
                }
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            for (j, sum) in sums.iter().enumerate() {
                sum.store(acc.add(r * head + j * V::N));
            }
        }
    }
    N
}
