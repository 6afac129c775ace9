//! One way to multiply, for the experts of each token.

use crate::ops::moe::columns_per_expert;
use crate::ops::multiply::{Columns, Deal, Experts, Multiply, Piece, Places, Weight};
use crate::variant::{Body, Call, Form, Instance, Kernel, Reason, Spec, Tunables, Variant};
use crate::{Backend, Op};
use std::marker::PhantomData;

/// The variant.
pub struct ByExpert<M> {
    spec: Spec,
    multiply: PhantomData<M>,
}

impl<M: Multiply> ByExpert<M> {
    /// `mul_mat_id` by `M`.
    pub const fn new() -> Self {
        let (name, summary, tolerance) = (M::NAME, M::SUMMARY, M::TOLERANCE);
        let tunables = const { &[M::ROWS] };
        let spec = Spec { op: Op::MulMatId, name, revision: 1, backend: Backend::Cpu, summary, tunables, tolerance };
        ByExpert { spec, multiply: PhantomData }
    }
}

impl<M: Multiply> Variant for ByExpert<M> {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn supports(&self, inst: &Instance) -> Result<(), Reason> {
        Reason::unless(inst.outputs[0].has_contiguous_rows(), || "rows of the result must be contiguous".into())?;
        M::supports(&inst.inputs[0])
    }

    fn here(&self) -> Result<(), Reason> {
        M::here()
    }

    fn preferred(&self, inst: &Instance) -> bool {
        M::preferred(&inst.inputs[0], columns_per_expert(&inst.inputs[0], &inst.inputs[2]))
    }

    fn body(&self) -> Body<'_> {
        Body::Kernel(self)
    }
}

impl<M: Multiply> Kernel for ByExpert<M> {
    fn form(&self, inst: &Instance, index: usize) -> Form {
        let (w, x) = (&inst.inputs[0], &inst.inputs[1]);
        match index {
            0 => M::weight_form(w),
            1 => M::activation_form(w, x),
            _ => Form::AsIs,
        }
    }

    fn max_threads(&self, inst: &Instance, tunables: &Tunables) -> usize {
        let (w, ids) = (&inst.inputs[0], &inst.inputs[2]);
        w.ne[1].div_ceil(tunables.get(0).next_multiple_of(M::GROUP)) * ids.elements().min(w.ne[2])
    }

    fn scratch(&self, inst: &Instance, _tunables: &Tunables) -> usize {
        Experts::scratch(&inst.inputs[2], inst.inputs[0].ne[2]) + M::scratch(&inst.inputs[0])
    }

    unsafe fn run(&self, call: &mut Call<'_>) {
        let (w, x, ids, y) = (&call.inputs[0], &call.inputs[1], &call.inputs[2], &call.outputs[0]);
        let task = call.tunables.get(0).next_multiple_of(M::GROUP);
        let deal = Deal { rows: w.ne(1), task, fixed: M::FIXED, ith: call.ith, nth: call.nth };
        // SAFETY: ids are live; x and y have a row for each slot, or x one for each token.
        let ((experts, rest), all, to) = unsafe {
            (
                Experts::group(ids, w.ne(2), call.scratch),
                Columns::planes(x, 0, x.ne(2), 0),
                Places::planes(y, 0, y.ne(2), 0),
            )
        };
        let rows_of_x = if x.ne(1) == 1 { experts.tokens } else { experts.slots };
        for Piece { expert, rows, slots } in experts.share(deal) {
            let columns = all.indexed(&rows_of_x[slots.clone()]);
            let places = to.indexed(&experts.slots[slots.clone()]);
            // SAFETY: expert, rows and slots exist; no other worker has these rows of this expert.
            unsafe {
                M::rows(&Weight::of(w, expert, 0), rows, &columns, 0..slots.len(), rest, &mut |slot, row, products| {
                    let to = places.at(slot).cast::<f32>().add(row);
                    std::ptr::copy_nonoverlapping(products.as_ptr(), to, products.len());
                });
            }
        }
    }
}
