//! Explicit vectors: for kernels that must know how many accumulators stay in registers.

use half::f16;
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{
    __m256, __m512, _mm_add_ps, _mm_loadu_si128, _mm_storeu_ps, _mm256_add_ps, _mm256_castps256_ps128, _mm256_cvtph_ps,
    _mm256_extractf128_ps, _mm256_fmadd_ps, _mm256_hadd_ps, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_mul_ps,
    _mm256_set1_ps, _mm256_storeu_ps, _mm256_sub_ps, _mm512_add_ps, _mm512_castps512_ps256, _mm512_cvtph_ps,
    _mm512_extractf32x8_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_mul_ps, _mm512_set1_ps, _mm512_storeu_ps,
    _mm512_sub_ps,
};

/// A vector of F32.
///
/// # Safety of its methods
/// The CPU has the level's features, which a [`super::Task`] may take as given for its `L::V`; `load` and `store` need
/// [`Self::N`] live elements at the address, of any alignment.
pub trait Lanes: Copy {
    /// Elements.
    const N: usize;

    /// All elements `x`.
    ///
    /// # Safety
    /// See [`Lanes`].
    unsafe fn splat(x: f32) -> Self;

    /// The elements at `p`.
    ///
    /// # Safety
    /// See [`Lanes`].
    unsafe fn load(p: *const f32) -> Self;

    /// The F16 elements at `p`, converted.
    ///
    /// # Safety
    /// See [`Lanes`].
    unsafe fn load_f16(p: *const f16) -> Self;

    /// The sum over the elements of each of four vectors, in an order that depends on [`Self::N`] alone.
    ///
    /// # Safety
    /// See [`Lanes`].
    unsafe fn sum4(v: [Self; 4]) -> [f32; 4];

    /// Writes the elements to `p`.
    ///
    /// # Safety
    /// See [`Lanes`].
    unsafe fn store(self, p: *mut f32);

    /// `self + b`.
    ///
    /// # Safety
    /// See [`Lanes`].
    unsafe fn add(self, b: Self) -> Self;

    /// `self - b`.
    ///
    /// # Safety
    /// See [`Lanes`].
    unsafe fn sub(self, b: Self) -> Self;

    /// `self * b`.
    ///
    /// # Safety
    /// See [`Lanes`].
    unsafe fn mul(self, b: Self) -> Self;

    /// `self * b + c`, fused where the level can.
    ///
    /// # Safety
    /// See [`Lanes`].
    unsafe fn mul_add(self, b: Self, c: Self) -> Self;
}

/// Eight elements that the compiler deals with as it can.
#[derive(Clone, Copy)]
pub struct Portable([f32; 8]);

macro_rules! each {
    ($i:ident => $e:expr) => {{
        let mut r = [0.0; 8];
        for ($i, r) in r.iter_mut().enumerate() {
            *r = $e;
        }
        Portable(r)
    }};
}

impl Lanes for Portable {
    const N: usize = 8;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        Portable([x; 8])
    }

    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: the caller has eight live elements there; an array of F32 is aligned as F32, as `p` is.
        unsafe { Portable(p.cast::<[f32; 8]>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn load_f16(p: *const f16) -> Self {
        // SAFETY: the caller has eight live elements there.
        let h = unsafe { p.cast::<[f16; 8]>().read_unaligned() };
        each!(i => h[i].to_f32())
    }

    #[inline(always)]
    unsafe fn sum4(v: [Self; 4]) -> [f32; 4] {
        v.map(|Portable(x)| ((x[0] + x[1]) + (x[2] + x[3])) + ((x[4] + x[5]) + (x[6] + x[7])))
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: as `load`.
        unsafe { p.cast::<[f32; 8]>().write_unaligned(self.0) }
    }

    #[inline(always)]
    unsafe fn add(self, b: Self) -> Self {
        each!(i => self.0[i] + b.0[i])
    }

    #[inline(always)]
    unsafe fn sub(self, b: Self) -> Self {
        each!(i => self.0[i] - b.0[i])
    }

    #[inline(always)]
    unsafe fn mul(self, b: Self) -> Self {
        each!(i => self.0[i] * b.0[i])
    }

    #[inline(always)]
    unsafe fn mul_add(self, b: Self, c: Self) -> Self {
        each!(i => self.0[i] * b.0[i] + c.0[i])
    }
}

/// One element: for lengths that no vector divides.
impl Lanes for f32 {
    const N: usize = 1;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        x
    }

    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: the caller has a live element there.
        unsafe { p.read_unaligned() }
    }

    #[inline(always)]
    unsafe fn load_f16(p: *const f16) -> Self {
        // SAFETY: as `load`.
        unsafe { p.read_unaligned() }.to_f32()
    }

    #[inline(always)]
    unsafe fn sum4(v: [Self; 4]) -> [f32; 4] {
        v
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: as `load`.
        unsafe { p.write_unaligned(self) }
    }

    #[inline(always)]
    unsafe fn add(self, b: Self) -> Self {
        self + b
    }

    #[inline(always)]
    unsafe fn sub(self, b: Self) -> Self {
        self - b
    }

    #[inline(always)]
    unsafe fn mul(self, b: Self) -> Self {
        self * b
    }

    #[inline(always)]
    unsafe fn mul_add(self, b: Self, c: Self) -> Self {
        self * b + c
    }
}

/// The four sums of [`Lanes::sum4`].
///
/// # Safety
/// The CPU has AVX.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn sum4_avx(v: [__m256; 4]) -> [f32; 4] {
    let mut sums = [0.0; 4];
    // SAFETY: the caller vouches for AVX; the array takes four elements.
    unsafe {
        let pairs = _mm256_hadd_ps(_mm256_hadd_ps(v[0], v[1]), _mm256_hadd_ps(v[2], v[3]));
        let s = _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps::<1>(pairs));
        _mm_storeu_ps(sums.as_mut_ptr(), s);
    }
    sums
}

/// The upper half added to the lower.
///
/// # Safety
/// The CPU has AVX-512 F and DQ.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn fold_avx512(v: __m512) -> __m256 {
    // SAFETY: the caller vouches for the features.
    unsafe { _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps::<1>(v)) }
}

/// A vector type of the CPU and the instructions for it.
#[cfg(target_arch = "x86_64")]
macro_rules! native {
    ($(#[doc = $doc:literal])+ $name:ident($raw:ty, $n:literal, $half:ident $cvtph:ident, $fold:expr): $splat:ident $load:ident $store:ident $add:ident $sub:ident $mul:ident $fma:ident) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy)]
        pub struct $name($raw);

        impl Lanes for $name {
            const N: usize = $n;

            #[inline(always)]
            unsafe fn splat(x: f32) -> Self {
                // SAFETY: the caller vouches for the level's features.
                unsafe { $name($splat(x)) }
            }

            #[inline(always)]
            unsafe fn load(p: *const f32) -> Self {
                // SAFETY: the caller vouches for the features and the memory; the load takes any alignment.
                unsafe { $name($load(p)) }
            }

            #[inline(always)]
            unsafe fn load_f16(p: *const f16) -> Self {
                // SAFETY: as `load`.
                unsafe { $name($cvtph($half(p.cast()))) }
            }

            #[inline(always)]
            unsafe fn sum4(v: [Self; 4]) -> [f32; 4] {
                // SAFETY: the caller vouches for the level's features.
                unsafe { sum4_avx([$fold(v[0].0), $fold(v[1].0), $fold(v[2].0), $fold(v[3].0)]) }
            }

            #[inline(always)]
            unsafe fn store(self, p: *mut f32) {
                // SAFETY: as `load`.
                unsafe { $store(p, self.0) }
            }

            #[inline(always)]
            unsafe fn add(self, b: Self) -> Self {
                // SAFETY: the caller vouches for the level's features.
                unsafe { $name($add(self.0, b.0)) }
            }

            #[inline(always)]
            unsafe fn sub(self, b: Self) -> Self {
                // SAFETY: the caller vouches for the level's features.
                unsafe { $name($sub(self.0, b.0)) }
            }

            #[inline(always)]
            unsafe fn mul(self, b: Self) -> Self {
                // SAFETY: the caller vouches for the level's features.
                unsafe { $name($mul(self.0, b.0)) }
            }

            #[inline(always)]
            unsafe fn mul_add(self, b: Self, c: Self) -> Self {
                // SAFETY: the caller vouches for the level's features.
                unsafe { $name($fma(self.0, b.0, c.0)) }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
native! {
    /// Eight elements in a register of AVX.
    Avx2(__m256, 8, _mm_loadu_si128 _mm256_cvtph_ps, std::convert::identity):
    _mm256_set1_ps _mm256_loadu_ps _mm256_storeu_ps _mm256_add_ps _mm256_sub_ps _mm256_mul_ps _mm256_fmadd_ps
}

#[cfg(target_arch = "x86_64")]
native! {
    /// Sixteen elements in a register of AVX-512.
    Avx512(__m512, 16, _mm256_loadu_si256 _mm512_cvtph_ps, fold_avx512):
    _mm512_set1_ps _mm512_loadu_ps _mm512_storeu_ps _mm512_add_ps _mm512_sub_ps _mm512_mul_ps _mm512_fmadd_ps
}

#[cfg(test)]
mod tests {
    use crate::cpu::Isa;
    use crate::math::{Lanes, Level, Task, dispatch};
    use half::f16;

    #[derive(Clone, Copy)]
    struct Halves<'a>(&'a [f16; 64]);

    impl Task for Halves<'_> {
        type Output = [f32; 4];

        #[inline(always)]
        fn run<L: Level>(self) -> [f32; 4] {
            // SAFETY: the array has four vectors of the widest level.
            unsafe { L::V::sum4([0, 1, 2, 3].map(|i| L::V::load_f16(self.0.as_ptr().add(i * L::V::N)))) }
        }
    }

    #[test]
    fn halves_are_converted_and_summed() {
        let x: [f16; 64] = std::array::from_fn(|i| f16::from_f32(i as f32 - 7.5));
        for &isa in Isa::available() {
            let n = dispatch(isa, AllOps(&mut [0.0; 64]));
            let want: [f32; 4] = std::array::from_fn(|v| x[v * n..(v + 1) * n].iter().map(|h| h.to_f32()).sum());
            assert_eq!(dispatch(isa, Halves(&x)), want, "{isa}");
        }
    }

    struct AllOps<'a>(&'a mut [f32; 64]);

    impl Task for AllOps<'_> {
        type Output = usize;

        #[inline(always)]
        fn run<L: Level>(self) -> usize {
            let p = self.0.as_mut_ptr();
            // SAFETY: the array has four vectors of the widest level.
            unsafe {
                let (a, b) = (L::V::load(p), L::V::load(p.add(16)));
                a.mul_add(b, L::V::splat(2.0)).store(p.add(32));
                a.add(b).mul(a.sub(b)).store(p.add(48));
            }
            L::V::N
        }
    }

    #[test]
    fn every_level_computes_the_same_on_exact_numbers() {
        for &isa in Isa::available() {
            let mut x = std::array::from_fn(|i| i as f32);
            let n = dispatch(isa, AllOps(&mut x));
            for i in 0..n {
                let (a, b) = (i as f32, (i + 16) as f32);
                assert_eq!(x[32 + i], a * b + 2.0, "{isa}");
                assert_eq!(x[48 + i], a * a - b * b, "{isa}");
            }
        }
    }
}
