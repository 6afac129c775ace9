//! Blocks of elements dealt over the workers, in vectors.

use super::Function;
use crate::cpu::Isa;
use crate::math::{Level, Task, dispatch};
use crate::ops::runs::{Run, Runs, flatten};
use crate::variant::{Body, Call, Instance, Kernel, Reason, Spec, Tunable, Tunables, Variant};
use crate::{Backend, TensorPtr};
use std::marker::PhantomData;
use std::ops::Range;

/// The variant.
pub struct Threaded<F>(Spec, PhantomData<F>);

impl<F: Function> Threaded<F> {
    /// `threaded`.
    pub const fn new() -> Self {
        let spec = Spec {
            op: F::OP,
            name: "threaded",
            revision: 1,
            backend: Backend::Cpu,
            summary: "blocks of elements split over the threads, in vectors",
            tunables: &[Tunable {
                name: "block",
                doc: "elements a task",
                default: 2048,
                values: &[256, 512, 1024, 2048, 4096, 8192, 16384],
            }],
            tolerance: F::TOLERANCE,
        };
        Threaded(spec, PhantomData)
    }
}

impl<F: Function> Variant for Threaded<F> {
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

impl<F: Function> Kernel for Threaded<F> {
    fn max_threads(&self, inst: &Instance, tunables: &Tunables) -> usize {
        inst.outputs[0].elements().div_ceil(tunables.get(0))
    }

    unsafe fn run(&self, call: &mut Call<'_>) {
        let [x, y] = flatten([call.inputs[0], call.outputs[0]]);
        let runs = Runs::new(y.layout.ne, call.tunables.get(0));
        let mine = call.share(runs.count());
        dispatch(Isa::detect(), Share::<F> { x, y, runs, mine, function: PhantomData });
    }
}

/// One worker's runs. Made by [`Kernel::run`] only, whose contract it relies on.
struct Share<F> {
    x: TensorPtr,
    y: TensorPtr,
    runs: Runs,
    mine: Range<usize>,
    function: PhantomData<F>,
}

impl<F: Function> Task for Share<F> {
    type Output = ();

    #[inline(always)]
    fn run<L: Level>(self) {
        let (sx, sy) = (self.x.nb(0), self.y.nb(0));
        for Run { at, n } in self.runs.range(self.mine) {
            // Slices are made where elements lie side by side; in place there is only the one.
            // SAFETY: the F32 run lies inside both layouts, of one shape, and no other worker has it.
            unsafe {
                let src = self.x.ptr.add(self.x.layout.offset(at)).cast::<f32>();
                let dst = self.y.ptr.add(self.y.layout.offset(at)).cast::<f32>();
                if sx != 4 || sy != 4 {
                    for i in 0..n {
                        dst.byte_add(i * sy).write(F::vector::<L>(src.byte_add(i * sx).read()));
                    }
                } else if std::ptr::eq(src, dst) {
                    for v in std::slice::from_raw_parts_mut(dst, n) {
                        *v = F::vector::<L>(*v);
                    }
                } else {
                    let (x, y) = (std::slice::from_raw_parts(src, n), std::slice::from_raw_parts_mut(dst, n));
                    for (y, x) in y.iter_mut().zip(x) {
                        *y = F::vector::<L>(*x);
                    }
                }
            }
        }
    }
}
