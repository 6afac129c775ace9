//! Tokens dealt over the workers; the angles of a token are computed once for all its heads.

use super::angles::{frequency, turn};
use super::rotation;
use crate::variant::{Body, Call, Instance, Kernel, Reason, Spec, Tunables, Variant};
use crate::{Backend, Op};

/// The variant.
pub struct Threaded(Spec);

/// `threaded`.
pub static THREADED: Threaded = Threaded(Spec {
    op: Op::Rope,
    name: "threaded",
    revision: 1,
    backend: Backend::Cpu,
    summary: "tokens split over the threads, a token's angles computed once for all heads",
    tunables: &[],
    tolerance: 0.0,
});

/// Most dimensions that turn: the angles of a token lie on the stack.
const MAX_ROT: usize = 512;

impl Variant for Threaded {
    fn spec(&self) -> &Spec {
        &self.0
    }

    fn supports(&self, inst: &Instance) -> Result<(), Reason> {
        let n_rot = rotation(&inst.params).0;
        Reason::unless(n_rot <= MAX_ROT, || format!("turns {n_rot} dimensions, more than {MAX_ROT}"))?;
        let ok = inst.inputs[0].has_contiguous_rows() && inst.outputs[0].has_contiguous_rows();
        Reason::unless(ok, || "heads must be contiguous".into())
    }

    fn body(&self) -> Body<'_> {
        Body::Kernel(self)
    }
}

impl Kernel for Threaded {
    fn max_threads(&self, inst: &Instance, _tunables: &Tunables) -> usize {
        inst.inputs[1].elements()
    }

    fn redundant(&self, inst: &Instance) -> bool {
        inst.is_little()
    }

    unsafe fn run(&self, call: &mut Call<'_>) {
        let (x, pos, y) = (&call.inputs[0], &call.inputs[1], &call.outputs[0]);
        let (n_rot, base) = rotation(&call.inst.params);
        let half = n_rot / 2;
        let mut frequencies = [0.0; MAX_ROT / 2];
        for (i, f) in frequencies[..half].iter_mut().enumerate() {
            *f = frequency(i, n_rot, base);
        }
        let mut turns = [(0.0, 0.0); MAX_ROT / 2];
        for token in call.share(pos.layout.elements()) {
            let (t, s) = (token % x.ne(2), token / x.ne(2));
            // SAFETY: `pos` has an element for each token.
            let p = unsafe { pos.get_i32([t, s, 0, 0]) };
            for (turned, &f) in turns[..half].iter_mut().zip(&frequencies) {
                *turned = turn(p, f);
            }
            for h in 0..x.ne(1) {
                // In place x and y are the same row, so there may be no two slices: pointers.
                // Elements lie side by side (`supports`), and tokens of two workers do not overlap.
                // SAFETY: the row lies inside both layouts, and `n_rot ≤ ne[0]` (`infer`).
                unsafe {
                    let (src, dst) = (x.row_ptr(h, t, s).cast::<f32>(), y.row_ptr(h, t, s).cast::<f32>());
                    for (i, &(cos, sin)) in turns[..half].iter().enumerate() {
                        let (a, b) = (src.add(i).read(), src.add(i + half).read());
                        dst.add(i).write(a * cos - b * sin);
                        dst.add(i + half).write(b * cos + a * sin);
                    }
                    std::ptr::copy(src.add(n_rot), dst.add(n_rot), x.ne(0) - n_rot);
                }
            }
        }
    }
}
