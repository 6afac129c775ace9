//! A thread an element, on a GPU.

use super::Function;
use crate::cuda::{Arg, CudaVariant, Launch, as_is, no_scratch};
use crate::variant::{Backend, Instance, Reason, Spec, Tunable, Tunables};

const BLOCK: Tunable = Tunable { name: "block", doc: "threads a block", default: 256, values: &[128, 256, 512] };
/// More blocks than this go round.
const MOST_BLOCKS: usize = 4096;

/// The variant of a function.
pub(super) const fn elements<F: Function>() -> CudaVariant {
    CudaVariant {
        spec: Spec {
            op: F::OP,
            name: "elements",
            revision: 1,
            backend: Backend::Cuda,
            summary: "a thread an element",
            tunables: &[BLOCK],
            tolerance: if F::TOLERANCE == 0.0 { 0.0 } else { 5e-7 },
        },
        sources: &[include_str!("cuda.cu")],
        supports: any,
        form: as_is,
        macros: |_, _| vec![("FUNCTION(x)", F::CUDA.to_owned())],
        scratch: no_scratch,
        launches: |inst, tunables| launches("unary", inst, tunables, Vec::new()),
    }
}

pub(in crate::ops) fn any(inst: &Instance) -> Result<(), Reason> {
    let n = inst.outputs[0].elements();
    Reason::unless(n < 1 << 30, || format!("{n} elements are more than a kernel counts"))
}

/// A launch over the elements of the output: inputs, output, their number, and what else the kernel takes.
pub(in crate::ops) fn launches(
    entry: &'static str,
    inst: &Instance,
    tunables: &Tunables,
    more: Vec<Arg>,
) -> Vec<Launch> {
    let (n, block) = (inst.outputs[0].elements(), tunables.get(0));
    let mut args: Vec<Arg> = (0..inst.inputs.len()).map(Arg::Input).collect();
    args.extend([Arg::Output(0), Arg::I32(n as i32)]);
    args.extend(more);
    vec![Launch::line(entry, n.div_ceil(block).min(MOST_BLOCKS), block, args)]
}

/// The tunable that [`launches`] reads.
pub(in crate::ops) const TUNABLES: &[Tunable] = &[BLOCK];
