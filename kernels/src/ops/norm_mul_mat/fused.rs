//! One launch: each block makes the normed row for itself, in the form that its matrix wants, and has a part of that
//! matrix's rows.

use super::{FIRST, MOST, NORM, TOLERANCE, X, params, weights};
use crate::cuda::{Arg, CudaVariant, Launch, Preferred, as_is, no_scratch};
use crate::ops::multiply::cuda::{BLOCKS, COLUMN, GEMV, STAGED, STRIPES, in_stripes, stripe_lanes, type_macro};
use crate::variant::{Backend, Instance, Reason, Spec, Tunables};
use crate::{Layout, Op};

/// `fused`.
pub(super) static FUSED: Preferred = Preferred {
    variant: CudaVariant {
        spec: Spec {
            op: Op::NormMulMat,
            name: "fused",
            revision: 1,
            backend: Backend::Cuda,
            summary: "sum, norm and int8 codes by every block for itself, then stripes of all matrices' rows: decode",
            tunables: STRIPES,
            tolerance: TOLERANCE,
        },
        sources: &[BLOCKS, STAGED, COLUMN, GEMV, include_str!("fused.cu")],
        supports: |inst| {
            let x = &inst.inputs[X];
            let pieces = x.ne[0].is_multiple_of(32) && x.rows() < 1 << 16;
            Reason::unless(pieces, || format!("{} rows of {} elements", x.rows(), x.ne[0]))?;
            weights(inst).iter().try_for_each(in_stripes)
        },
        form: as_is,
        macros: |inst, tunables| {
            const TYPES: [&str; MOST] = ["TYPE1", "TYPE2", "TYPE3", "TYPE4"];
            const ENDS: [&str; MOST] = ["END1", "END2", "END3", "END4"];
            let (w, ends) = (weights(inst), ends(inst, tunables));
            let mut macros = vec![
                ("PIECES", (inst.inputs[X].ne[0] / 32).to_string()),
                ("WARPS", tunables.get(0).to_string()),
                ("TOGETHER", tunables.get(1).to_string()),
                ("RESIDUAL", u8::from(params(inst).1).to_string()),
            ];
            macros.extend((0..MOST).map(|i| type_macro(TYPES[i], w[i.min(w.len() - 1)].dtype)));
            macros.extend((0..MOST).map(|i| (ENDS[i], ends[i.min(ends.len() - 1)].to_string())));
            macros
        },
        scratch: no_scratch,
        launches: |inst, tunables| {
            let ((eps, residual), w, ends) = (params(inst), weights(inst), ends(inst, tunables));
            let first = usize::from(residual);
            // What is not there is not read; something has to stand for it.
            let delta = if residual { FIRST + w.len() } else { X };
            let mut args = vec![Arg::Input(X), Arg::Input(delta), Arg::Input(NORM), Arg::Output(0)];
            args.extend((0..MOST).map(|i| Arg::Input(FIRST + i.min(w.len() - 1))));
            args.extend((0..MOST).map(|i| Arg::Output(first + i.min(w.len() - 1))));
            args.push(Arg::F32(eps));
            let grid = [ends[ends.len() - 1], inst.inputs[X].rows(), 1];
            vec![Launch { entry: "norm_mul_mat", grid, block: [32 * tunables.get(0), 1, 1], args }]
        },
    },
    preferred: |inst| inst.inputs[X].rows() == 1,
};

/// The block after the last of each matrix. Blocks are shared out by bytes, and none is without a row.
fn ends(inst: &Instance, tunables: &Tunables) -> Vec<usize> {
    let (w, most) = (weights(inst), tunables.get(2));
    let bytes = |l: &Layout| l.ne[1] * l.nb[1];
    let all: usize = w.iter().map(bytes).sum();
    let mut end = 0;
    w.iter()
        .map(|w| {
            let useful = w.ne[1].div_ceil(tunables.get(0) * tunables.get(1) * (32 / stripe_lanes(w)));
            end += (most * bytes(w)).div_ceil(all.max(1)).clamp(1, useful.max(1));
            end
        })
        .collect()
}
