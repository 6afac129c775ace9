//! Reads any view as it lies. A transposed one is summed across rows, in vectors along dimension 1: no copy before it.

use crate::cpu::Isa;
use crate::math::{Level, Task, dispatch, sum};
use crate::ops::runs::{Run, Runs};
use crate::variant::{Body, Call, Instance, Kernel, Reason, Spec, Tunable, Tunables, Variant};
use crate::{Backend, Op, TensorPtr};
use std::ops::Range;

/// The variant.
pub struct Strided(Spec);

/// `strided`.
pub static STRIDED: Strided = Strided(Spec {
    op: Op::SumRows,
    name: "strided",
    revision: 1,
    backend: Backend::Cpu,
    summary: "reads a transposed input as it lies, in vectors across rows, split over the threads",
    tunables: &[Tunable { name: "block", doc: "rows a task", default: 64, values: &[16, 32, 64, 128, 256] }],
    tolerance: super::TOLERANCE,
});

/// Rows summed side by side: eight vectors of AVX2.
const LANES: usize = 64;

impl Variant for Strided {
    fn spec(&self) -> &Spec {
        &self.0
    }

    fn supports(&self, _inst: &Instance) -> Result<(), Reason> {
        Ok(())
    }

    fn body(&self) -> Body<'_> {
        Body::Kernel(self)
    }
}

/// Blocks of rows along dimension 1.
fn blocks(x: &crate::Layout, tunables: &Tunables) -> Runs {
    Runs::new([x.ne[1], x.ne[2], x.ne[3], 1], tunables.get(0))
}

impl Kernel for Strided {
    fn max_threads(&self, inst: &Instance, tunables: &Tunables) -> usize {
        blocks(&inst.inputs[0], tunables).count()
    }

    unsafe fn run(&self, call: &mut Call<'_>) {
        let blocks = blocks(&call.inputs[0].layout, call.tunables);
        let mine = call.share(blocks.count());
        dispatch(Isa::detect(), Share { x: call.inputs[0], y: call.outputs[0], blocks, mine });
    }
}

/// One worker's blocks. Made by [`Kernel::run`] only, whose contract it relies on.
struct Share {
    x: TensorPtr,
    y: TensorPtr,
    blocks: Runs,
    mine: Range<usize>,
}

impl Task for Share {
    type Output = ();

    #[inline(always)]
    fn run<L: Level>(self) {
        let (x, y) = (&self.x, &self.y);
        let across = !x.layout.has_contiguous_rows() && x.nb(1) == 4;
        for Run { at: [i1, i2, i3, _], n } in self.blocks.range(self.mine) {
            let (mut i1, end) = (i1, i1 + n);
            // In `across` neighbours along dimension 1 lie side by side.
            // SAFETY: rows `i1 .. end` lie inside x, y has an element for each, and no other worker has them.
            unsafe {
                while across && i1 < end {
                    let n = LANES.min(end - i1);
                    let mut acc = [0.0; LANES];
                    let first = x.row_ptr(i1, i2, i3).cast::<f32>();
                    if n == LANES {
                        add_columns(&mut acc, first, x.nb(0), x.ne(0));
                    } else {
                        add_some_columns(&mut acc[..n], first, x.nb(0), x.ne(0));
                    }
                    for (l, a) in acc[..n].iter().enumerate() {
                        y.set_f32([0, i1 + l, i2, i3], *a);
                    }
                    i1 += n;
                }
                for i1 in i1..end {
                    let v = if x.layout.has_contiguous_rows() {
                        sum::<L>(x.row_f32(i1, i2, i3))
                    } else {
                        (0..x.ne(0)).fold(0.0, |s, i0| s + x.get_f32([i0, i1, i2, i3]))
                    };
                    y.set_f32([0, i1, i2, i3], v);
                }
            }
        }
    }
}

/// Adds `n` lines of [`LANES`] elements, `stride` bytes apart, in their order.
///
/// # Safety
/// The lines are live F32.
#[inline(always)]
unsafe fn add_columns(acc: &mut [f32; LANES], first: *const f32, stride: usize, n: usize) {
    for i in 0..n {
        // SAFETY: promised by the caller.
        let line = unsafe { &*first.byte_add(i * stride).cast::<[f32; LANES]>() };
        for (a, v) in acc.iter_mut().zip(line) {
            *a += v;
        }
    }
}

/// As [`add_columns`] for shorter lines.
///
/// # Safety
/// The lines are live F32.
#[inline(always)]
unsafe fn add_some_columns(acc: &mut [f32], first: *const f32, stride: usize, n: usize) {
    for i in 0..n {
        // SAFETY: promised by the caller.
        let line = unsafe { std::slice::from_raw_parts(first.byte_add(i * stride), acc.len()) };
        for (a, v) in acc.iter_mut().zip(line) {
            *a += v;
        }
    }
}
