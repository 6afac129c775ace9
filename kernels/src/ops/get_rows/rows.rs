//! Rows dealt over the workers, or all on one.

use super::row_of;
use crate::ops::by_rows::rows_or_cont;
use crate::quant::dequantize_row;
use crate::variant::{Body, Call, Form, Instance, Kernel, Reason, Spec, Tunables, Variant};
use crate::{Backend, Op};

/// The variant.
pub struct Rows {
    spec: Spec,
    serial: bool,
}

impl Rows {
    /// `threaded`.
    pub const fn threaded() -> Rows {
        Rows { spec: spec("threaded", "rows split over the threads"), serial: false }
    }

    /// `serial`.
    pub const fn serial() -> Rows {
        Rows { spec: spec("serial", "one thread, row by row; the others wait"), serial: true }
    }
}

const fn spec(name: &'static str, summary: &'static str) -> Spec {
    Spec { op: Op::GetRows, name, revision: 1, backend: Backend::Cpu, summary, tunables: &[], tolerance: 0.0 }
}

impl Variant for Rows {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn supports(&self, inst: &Instance) -> Result<(), Reason> {
        Reason::unless(inst.outputs[0].has_contiguous_rows(), || "rows of the result must be contiguous".into())
    }

    fn body(&self) -> Body<'_> {
        Body::Kernel(self)
    }
}

impl Kernel for Rows {
    fn form(&self, inst: &Instance, index: usize) -> Form {
        if index == 0 { rows_or_cont(&inst.inputs[0]) } else { Form::AsIs }
    }

    fn max_threads(&self, inst: &Instance, _tunables: &Tunables) -> usize {
        if self.serial { 1 } else { inst.outputs[0].rows() }
    }

    unsafe fn run(&self, call: &mut Call<'_>) {
        let (table, y) = (&call.inputs[0], &call.outputs[0]);
        for row in call.share(y.layout.rows()) {
            let [i, b, _] = y.layout.row_index(row);
            // SAFETY: the index lies inside ids and y, whose rows are this worker's, and the row inside the table.
            unsafe {
                let src = table.row_bytes(row_of(call, i, b), b, 0);
                dequantize_row(table.layout.dtype, src, y.row_f32_mut(i, b, 0));
            }
        }
    }
}
