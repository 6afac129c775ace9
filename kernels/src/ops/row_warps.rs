//! CUDA kernels that have a warp for each row of an input: `entry(inputs…, output, rows)`.

use crate::cuda::{Arg, Launch};
use crate::variant::{Instance, Tunable, Tunables};

/// What [`launches`] reads.
pub(super) const TUNABLES: &[Tunable] =
    &[Tunable { name: "warps", doc: "rows a thread block, a warp each", default: 4, values: &[1, 2, 4, 8] }];

/// A launch with a warp for each row of input 0.
pub(super) fn launches(entry: &'static str, inst: &Instance, tunables: &Tunables) -> Vec<Launch> {
    let (rows, warps) = (inst.inputs[0].rows(), tunables.get(0));
    let mut args: Vec<Arg> = (0..inst.inputs.len()).map(Arg::Input).collect();
    args.extend([Arg::Output(0), Arg::I32(rows as i32)]);
    vec![Launch::line(entry, rows.div_ceil(warps), 32 * warps, args)]
}
