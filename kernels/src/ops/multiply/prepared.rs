//! Columns that workers pack together, once for all pieces of a product: then pieces may be small.

use crate::DType;
use crate::cpu::Isa;
use crate::quant::{Columns, Panel, PanelShape};
use std::ops::Range;

/// Most columns of a panel: of rows of 4096 they take 1.3 MiB, which stay in a second cache level of 2 MiB while tiles of
/// rows pass. Fewer would have each row unpacked more often.
pub(in crate::ops) const PANEL: usize = 256;

/// From so many columns on packing them once for all is worth the barrier behind it.
const MANY: usize = 64;

/// Whether so many columns are to be packed once for all.
pub(in crate::ops) fn worthwhile(columns: usize) -> bool {
    columns >= MANY
}

/// Panels of [`PANEL`] columns each, the last of what is left, in memory that workers share.
#[derive(Clone, Copy)]
pub(in crate::ops) struct Prepared {
    /// Of a full panel.
    shape: PanelShape,
    columns: usize,
    lines: *mut u8,
}

impl Prepared {
    /// Panels at `lines` for kernels of a level and for weights of a type and rows of `n`. Nothing is read or written yet.
    pub fn new(isa: Isa, weight: DType, n: usize, columns: usize, lines: *mut u8) -> Prepared {
        Prepared { shape: PanelShape { isa, weight, n, columns: PANEL }, columns, lines }
    }

    /// Bytes that they take.
    pub fn bytes(&self) -> usize {
        let last = PanelShape { columns: self.columns % PANEL, ..self.shape };
        self.columns / PANEL * self.shape.bytes() + if last.columns > 0 { last.bytes() } else { 0 }
    }

    /// The panel of a column, and where it is.
    fn of(&self, column: usize) -> (PanelShape, usize) {
        let number = column / PANEL;
        let shape = PanelShape { columns: PANEL.min(self.columns - number * PANEL), ..self.shape };
        (shape, number * self.shape.bytes())
    }

    /// Packs a part of the columns.
    ///
    /// # Safety
    /// There is room for [`Self::bytes`], aligned to 64; nobody else touches these columns' part of it.
    pub unsafe fn pack(&self, columns: Columns<'_>, range: Range<usize>) {
        for column in range {
            let (shape, at) = self.of(column);
            // SAFETY: by the caller's contract.
            unsafe { shape.pack(column % PANEL, columns.get(column), self.lines.add(at)) };
        }
    }

    /// The columns of a range inside one panel.
    ///
    /// # Safety
    /// All columns were packed, and nobody writes them while the result is used.
    pub unsafe fn panel<'a>(&self, range: Range<usize>) -> Panel<'a> {
        let (shape, at) = self.of(range.start);
        let first = range.start / PANEL * PANEL;
        // SAFETY: by the caller's contract.
        let whole = unsafe { Panel::of(shape, first, self.lines.add(at)) };
        whole.part(range.start - first..range.end - first)
    }
}
