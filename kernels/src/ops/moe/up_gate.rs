//! `moe_up_gate`: `silu(W_gate[id] x) * (W_up[id] x)`. Activations `[K, T]`, ids `[n_used, T]`, both weights
//! `[K, F, experts]`; the result is `[F, n_used, T]`.

use super::{check_experts, check_ids, columns_per_expert, cuda, expert_bytes, grouped, id_of, staged};
use crate::cpu::Isa;
use crate::math::{Level, Task, dispatch, silu};
use crate::ops::mul_mat::{dot, weight_row};
use crate::ops::multiply::{
    Columns, Deal, Dequant, Dot, Experts, Gemm, GemmAmx, GemmRows8, Multiply, Piece, Places, Rows8, Weight, group_once,
    same_activations,
};
use crate::ops::{Case, Fill, Input, OpDef, Reference, ShapeError};
use crate::variant::{Body, Form, Kernel, Reason, Spec, Tunables};
use crate::{Backend, Call, Cost, DType, Instance, Layout, Op, Params, Variant};
use std::marker::PhantomData;

/// The definition.
pub struct MoeUpGate;

static REFERENCE: Reference = Reference::new(Op::MoeUpGate, &MoeUpGate);
static ROWS8: UpGate<Rows8> = UpGate::new();
static GEMM_AMX: UpGate<GemmAmx> = UpGate::new();
static GEMM_ROWS8: UpGate<GemmRows8> = UpGate::new();
static GEMM: UpGate<Gemm> = UpGate::new();
static DOT: UpGate<Dot> = UpGate::new();
static DEQUANT: UpGate<Dequant> = UpGate::new();
static VARIANTS: &[&dyn Variant] = &[
    &grouped::UP_GATE,
    &staged::UP_GATE,
    &cuda::UP_GATE,
    &GEMM_AMX,
    &ROWS8,
    &GEMM_ROWS8,
    &GEMM,
    &DOT,
    &DEQUANT,
    &REFERENCE,
];

impl OpDef for MoeUpGate {
    fn op(&self) -> Op {
        Op::MoeUpGate
    }

    fn inputs(&self) -> &'static [&'static str] {
        &["x", "ids", "gate_exps", "up_exps"]
    }

    fn infer(&self, _params: &Params, inputs: &[Layout]) -> Result<Vec<Layout>, ShapeError> {
        let (x, ids, gate, up) = (&inputs[0], &inputs[1], &inputs[2], &inputs[3]);
        ShapeError::unless_f32(&inputs[..1])?;
        ShapeError::unless(x.rows() == x.ne[1], || format!("x {x} has more than two dimensions"))?;
        check_ids(ids, x.ne[1])?;
        check_experts(gate, x.ne[0], up.ne[1], up.ne[2])?;
        check_experts(up, x.ne[0], up.ne[1], up.ne[2])?;
        Ok(vec![Layout::f32([up.ne[1], ids.ne[0], ids.ne[1], 1])])
    }

    fn cost(&self, inst: &Instance) -> Cost {
        let (x, ids, y) = (&inst.inputs[0], &inst.inputs[1], &inst.outputs[0]);
        let weights = expert_bytes(&inst.inputs[2], ids) + expert_bytes(&inst.inputs[3], ids);
        let bytes = weights + (x.bytes() + ids.bytes() + y.bytes()) as f64;
        Cost { bytes, flops: 4.0 * x.ne[0] as f64 * y.elements() as f64 }
    }

    unsafe fn reference(&self, call: &Call<'_>) {
        let (x, ids, gate, up) = (&call.inputs[0], &call.inputs[1], &call.inputs[2], &call.inputs[3]);
        for t in 0..ids.ne(1) {
            for u in 0..ids.ne(0) {
                // SAFETY: the index lies inside ids.
                let expert = unsafe { id_of(ids, u, t, up.ne(2)) };
                for f in 0..up.ne(1) {
                    // SAFETY: the indices lie inside the tensors.
                    unsafe {
                        let times = |w| dot(&weight_row(w, [f, expert, 0]), |k| x.get_f32([k, t, 0, 0]));
                        let (gate, up) = (times(gate), times(up));
                        call.outputs[0].set_f32([f, u, t, 0], gate / (1.0 + (-gate).exp()) * up);
                    }
                }
            }
        }
    }

    fn cases(&self) -> Vec<Case> {
        let case = |[gate, up]: [DType; 2], [k, f, experts]: [usize; 3], [used, tokens]: [usize; 2]| {
            let inputs = vec![
                Input::normal([k, tokens, 1, 1]),
                Input::i32([used, tokens, 1, 1], Fill::DistinctIds(experts as i32)),
                Input::weight(gate, [k, f, experts, 1]),
                Input::weight(up, [k, f, experts, 1]),
            ];
            Case::new(format!("{gate} {up} {k}x{f} {used} of {experts} for {tokens}"), Params::None, inputs)
        };
        vec![
            case([DType::IQ4_XS; 2], [256, 40, 12], [4, 1]),
            case([DType::Q4_K, DType::Q6_K], [256, 24, 5], [3, 9]),
            case([DType::Q8_0; 2], [32, 16, 2], [1, 60]),
            case([DType::F32; 2], [19, 7, 4], [2, 5]),
        ]
    }

    fn variants(&self) -> &'static [&'static dyn Variant] {
        VARIANTS
    }
}

/// One way to multiply.
struct UpGate<M> {
    spec: Spec,
    multiply: PhantomData<M>,
}

impl<M: Multiply> UpGate<M> {
    const fn new() -> Self {
        let (name, summary, tolerance) = (M::NAME, M::SUMMARY, 2.0 * M::TOLERANCE);
        let tunables = const { &[M::ROWS] };
        let spec = Spec { op: Op::MoeUpGate, name, revision: 1, backend: Backend::Cpu, summary, tunables, tolerance };
        UpGate { spec, multiply: PhantomData }
    }
}

impl<M: Multiply> Variant for UpGate<M> {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn supports(&self, inst: &Instance) -> Result<(), Reason> {
        Reason::unless(inst.outputs[0].has_contiguous_rows(), || "rows of the result must be contiguous".into())?;
        let (x, gate, up) = (&inst.inputs[0], &inst.inputs[2], &inst.inputs[3]);
        if M::activation_form(gate, x) != M::activation_form(up, x) {
            same_activations(gate, up)?;
        }
        M::supports(gate)?;
        M::supports(up)
    }

    fn here(&self) -> Result<(), Reason> {
        M::here()
    }

    fn preferred(&self, inst: &Instance) -> bool {
        M::preferred(&inst.inputs[3], columns_per_expert(&inst.inputs[3], &inst.inputs[1]))
    }

    fn body(&self) -> Body<'_> {
        Body::Kernel(self)
    }
}

/// Most products of a piece between its gate and its up pass: half of a usual second cache level.
const BETWEEN: usize = 64 << 10;

impl<M: Multiply> Kernel for UpGate<M> {
    fn form(&self, inst: &Instance, index: usize) -> Form {
        match index {
            0 => M::activation_form(&inst.inputs[3], &inst.inputs[0]),
            1 => Form::AsIs,
            _ => M::weight_form(&inst.inputs[index]),
        }
    }

    fn max_threads(&self, inst: &Instance, tunables: &Tunables) -> usize {
        let (ids, up) = (&inst.inputs[1], &inst.inputs[3]);
        up.ne[1].div_ceil(tunables.get(0).next_multiple_of(M::GROUP)) * ids.elements().min(up.ne[2])
    }

    fn scratch(&self, inst: &Instance, _tunables: &Tunables) -> usize {
        let (ids, gate, up) = (&inst.inputs[1], &inst.inputs[2], &inst.inputs[3]);
        let own = if group_once(ids) { 0 } else { Experts::scratch(ids, up.ne[2]) };
        own + M::scratch(gate).max(M::scratch(up))
    }

    fn shared_scratch(&self, inst: &Instance, _tunables: &Tunables) -> usize {
        let (ids, up) = (&inst.inputs[1], &inst.inputs[3]);
        if group_once(ids) { Experts::scratch(ids, up.ne[2]) } else { 0 }
    }

    fn phases(&self, inst: &Instance, _tunables: &Tunables) -> usize {
        if group_once(&inst.inputs[1]) { 2 } else { 1 }
    }

    /// A piece prepares the columns of the experts that it has, which are few.
    fn divisible(&self, _inst: &Instance) -> bool {
        true
    }

    unsafe fn run(&self, call: &mut Call<'_>) {
        let (x, ids, gate, up) = (&call.inputs[0], &call.inputs[1], &call.inputs[2], &call.inputs[3]);
        let y = &call.outputs[0];
        let once = group_once(&ids.layout);
        if once && call.phase == 0 {
            if call.ith == 0 {
                // SAFETY: ids are live; the shared scratch has this size, and this part alone touches it in this phase.
                unsafe { Experts::group_for_all(ids, up.ne(2), call.shared) };
            }
            return;
        }
        let task = call.tunables.get(0).next_multiple_of(M::GROUP);
        let deal = Deal { rows: up.ne(1), task, fixed: M::FIXED, ith: call.ith, nth: call.nth };
        // Experts that were grouped for all were so in the phase before.
        // SAFETY: ids are live; x has a row for each token, y for each slot.
        let ((experts, rest), all, to) = unsafe {
            let experts = if once {
                (Experts::grouped(&ids.layout, up.ne(2), call.shared), &mut *call.scratch)
            } else {
                Experts::group(ids, up.ne(2), call.scratch)
            };
            (experts, Columns::planes(x, 0, 1, 0), Places::planes(y, 0, y.ne(2), 0))
        };
        let isa = Isa::detect();
        for Piece { expert, rows, slots } in experts.share(deal) {
            let columns = all.indexed(&experts.tokens[slots.clone()]);
            let places = to.indexed(&experts.slots[slots.clone()]);
            let step = (BETWEEN / 4 / slots.len()).next_multiple_of(task);
            for first in rows.clone().step_by(step) {
                let some = first..rows.end.min(first + step);
                // This worker itself wrote the gate's products that it reads.
                // SAFETY: expert, rows and slots exist; no other worker has these rows of this expert.
                unsafe {
                    let (gate, up) = (Weight::of(gate, expert, 0), Weight::of(up, expert, 0));
                    M::rows(&gate, some.clone(), &columns, 0..slots.len(), rest, &mut |slot, row, products| {
                        let to = places.at(slot).cast::<f32>().add(row);
                        std::ptr::copy_nonoverlapping(products.as_ptr(), to, products.len());
                    });
                    M::rows(&up, some, &columns, 0..slots.len(), rest, &mut |slot, row, products| {
                        let to = places.at(slot).cast::<f32>().add(row);
                        let gate = std::slice::from_raw_parts_mut(to, products.len());
                        dispatch(isa, Gate { gate, up: products });
                    });
                }
            }
        }
    }
}

/// `gate = silu(gate) * up`.
struct Gate<'a> {
    gate: &'a mut [f32],
    up: &'a [f32],
}

impl Task for Gate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Level>(self) {
        for (gate, &up) in self.gate.iter_mut().zip(self.up) {
            *gate = silu::<L>(*gate) * up;
        }
    }
}
