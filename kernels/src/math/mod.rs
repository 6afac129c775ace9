//! Vector arithmetic on F32: written once as plain loops, compiled once for each instruction-set level.
//!
//! A kernel's inner loop is a [`Task`]. [`dispatch`] runs it inside a function that has the level's features switched
//! on, so the compiler turns its loops over slices into vectors of that level's width. Everything on the way must be
//! `#[inline(always)]`: what is not inlined is compiled for the lowest level. Calls through `Fn` parameters are not to be
//! relied on; traits with functions are. Branches on what does not change belong outside the loop.
//!
//! * [`exp`], [`sigmoid`], [`silu`], [`softplus`]: without branches or calls, so that loops over them vectorise;
//! * [`Lanes`], [`Level::V`]: explicit vectors, for loops whose accumulators must stay in registers;
//! * [`sum`], [`sum_squares`], [`dot`], [`max`]: in an order that depends on the length alone.

mod functions;
mod lanes;
mod reduce;

pub use functions::{exp, sigmoid, silu, softplus};
pub use lanes::Lanes;
pub use reduce::{dot, max, sum, sum_squares};

use crate::cpu::Isa;

/// An instruction-set level, seen from inside a [`Task`].
pub trait Level: Copy {
    /// A vector of this level's width.
    type V: Lanes;

    /// `a * b + c`, fused where the level can.
    fn mul_add(a: f32, b: f32, c: f32) -> f32;
}

/// Work to be compiled for each level.
pub trait Task {
    /// What it gives back.
    type Output;

    /// Does it. Mark it `#[inline(always)]`.
    fn run<L: Level>(self) -> Self::Output;
}

/// No fused multiply-add: calling the library's for each element would cost more than the rest.
#[derive(Clone, Copy)]
struct Plain;

/// With FMA and vectors of type `V`.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
struct Fused<V>(std::marker::PhantomData<V>);

impl Level for Plain {
    type V = lanes::Portable;

    #[inline(always)]
    fn mul_add(a: f32, b: f32, c: f32) -> f32 {
        a * b + c
    }
}

#[cfg(target_arch = "x86_64")]
impl<V: Lanes> Level for Fused<V> {
    type V = V;

    #[inline(always)]
    fn mul_add(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }
}

/// Runs a task at a level.
#[inline]
pub fn dispatch<T: Task>(isa: Isa, task: T) -> T::Output {
    #[cfg(target_arch = "x86_64")]
    {
        if isa.avx512_vnni().is_some() {
            // SAFETY: the token proves the features.
            return unsafe { on_avx512(task) };
        }
        if isa.avx2().is_some() {
            // SAFETY: the token proves the features.
            return unsafe { on_avx2(task) };
        }
    }
    let _ = isa;
    task.run::<Plain>()
}

/// # Safety
/// The CPU has AVX2, FMA and F16C.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn on_avx2<T: Task>(task: T) -> T::Output {
    task.run::<Fused<lanes::Avx2>>()
}

/// # Safety
/// The CPU has AVX2, FMA, F16C and AVX-512 F, BW, DQ and VL.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn on_avx512<T: Task>(task: T) -> T::Output {
    task.run::<Fused<lanes::Avx512>>()
}

#[cfg(test)]
mod tests;
