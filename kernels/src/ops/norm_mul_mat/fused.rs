//! One launch: each block makes the normed row for itself, in the form that its matrix wants, and has a part of that
//! matrix's rows.

use super::{FIRST, MOST, NORM, TOLERANCE, X, params, weights};
use crate::cuda::{Arg, CudaVariant, Launch, Preferred, TENSOR, as_is, no_scratch};
use crate::ops::multiply::cuda::{
    BLOCKS, COLUMN, GEMV, STAGED, STRIPES, beside, in_stripes, stripe_lanes, stripe_room, type_macro,
};
use crate::variant::{Backend, Instance, Reason, Spec, Tunables};
use crate::{Layout, Op};

/// `fused`.
pub(super) static FUSED: Preferred = Preferred {
    variant: CudaVariant {
        spec: Spec {
            op: Op::NormMulMat,
            name: "fused",
            revision: 2,
            backend: Backend::Cuda,
            summary: "sum, norm and int8 codes by every block for itself, then stripes of all matrices' rows: decode",
            tunables: STRIPES,
            tolerance: TOLERANCE,
        },
        sources: &[TENSOR, BLOCKS, STAGED, COLUMN, GEMV, include_str!("fused.cu")],
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
            let room = room(w, &ends, tunables);
            let mut macros = vec![
                ("PIECES", (inst.inputs[X].ne[0] / 32).to_string()),
                ("WARPS", tunables.get(0).to_string()),
                ("TOGETHER", tunables.get(1).to_string()),
                ("WARP_ROOM", room.to_string()),
                ("BESIDE", beside(room, ends[ends.len() - 1], tunables.get(0)).to_string()),
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
            let shared = tunables.get(0) * room(w, &ends, tunables);
            vec![Launch { entry: "norm_mul_mat", grid, block: [32 * tunables.get(0), 1, 1], shared, args }]
        },
    },
    preferred: |inst| inst.inputs[X].rows() == 1,
};

/// The block after the last of each matrix. Blocks are shared out by bytes; none is without a row, and there are no more
/// than asked for, if each matrix can have one: a single block too many would wait for all others.
fn ends(inst: &Instance, tunables: &Tunables) -> Vec<usize> {
    let (w, most) = (weights(inst), tunables.get(2));
    let bytes = |l: &Layout| l.ne[1] * l.nb[1];
    let all: usize = w.iter().map(bytes).sum();
    let mut blocks: Vec<usize> = w
        .iter()
        .map(|w| {
            let together = if w.dtype.is_quantised() { tunables.get(1) } else { 1 };
            let useful = w.ne[1].div_ceil(tunables.get(0) * together * (32 / stripe_lanes(w)));
            (most * bytes(w)).div_ceil(all.max(1)).clamp(1, useful.max(1))
        })
        .collect();
    let over = blocks.iter().sum::<usize>().saturating_sub(most);
    if let Some(largest) = blocks.iter_mut().max() {
        *largest = largest.saturating_sub(over).max(1);
    }
    blocks
        .iter()
        .scan(0, |end, n| {
            *end += n;
            Some(*end)
        })
        .collect()
}

/// Bytes of shared memory of a warp.
fn room(w: &[Layout], ends: &[usize], tunables: &Tunables) -> usize {
    let first = |i: usize| if i == 0 { 0 } else { ends[i - 1] };
    let weights: Vec<_> = w.iter().enumerate().map(|(i, w)| (w, ends[i] - first(i))).collect();
    stripe_room(&weights, tunables)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, Params};

    #[test]
    fn blocks_are_shared_out_by_bytes_and_are_no_more_than_asked_for() {
        let row = Layout::f32([2048, 1, 1, 1]);
        let w = |t, n| Layout::contiguous(t, [2048, n, 1, 1]);
        let inputs = vec![row, row, w(DType::IQ4_XS, 8192), w(DType::IQ4_XS, 4096), w(DType::F32, 64)];
        let params = Params::NormMulMat { eps: 1e-6, residual: false };
        let inst = Instance { op: Op::NormMulMat, params, inputs, outputs: Vec::new() };
        let mut tunables = Tunables::defaults(STRIPES);
        // The F32 rows' bytes would make ten blocks; there are a row for each of eight warps in eight.
        assert_eq!(ends(&inst, &tunables), [170, 255, 263]);
        tunables.set(STRIPES, "warps", 4).unwrap();
        // 170, 85 and 10 are one too many.
        assert_eq!(ends(&inst, &tunables), [169, 254, 264]);
    }
}
