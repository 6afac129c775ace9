//! Packed weights: made in parallel when a plan first wants them, kept within a budget.

use crate::model::Model;
use deltascope_kernels::{Buffer, Layout, Packing, packing};
use std::collections::HashMap;

/// Packed copies of weights. The file stays mapped for the rest.
#[derive(Default)]
pub struct PackedStore {
    buffers: HashMap<(u32, Packing), Buffer>,
    bytes: usize,
    budget: usize,
}

/// A packed weight that would not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "packing `{tensor}` takes {need} MiB, but {used} of {budget} MiB for packed weights are in use; choose variants that \
     read the file's layout (`dot`, `dequant`) or raise the budget"
)]
pub struct BudgetError {
    /// The tensor.
    pub tensor: String,
    /// MiB that it takes.
    pub need: usize,
    /// MiB in use.
    pub used: usize,
    /// MiB that may be used.
    pub budget: usize,
}

/// How far packing has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackProgress {
    /// Bytes packed.
    pub done: usize,
    /// Bytes to pack.
    pub total: usize,
}

impl PackedStore {
    /// An empty store that may grow to `budget` bytes.
    pub fn new(budget: usize) -> PackedStore {
        PackedStore { budget, ..PackedStore::default() }
    }

    /// Bytes in use.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether all of these could be held.
    ///
    /// # Errors
    /// The first that could not.
    pub fn fits(&self, model: &Model, wanted: &[(u32, Packing)]) -> Result<(), BudgetError> {
        let mut used = self.bytes;
        for key in wanted.iter().filter(|k| !self.buffers.contains_key(k)) {
            let Some(t) = model.weight(key.0) else { continue };
            let need = t.data().len();
            if used + need > self.budget {
                let mib = |b: usize| b >> 20;
                return Err(BudgetError {
                    tensor: t.name().to_owned(),
                    need: mib(need),
                    used: mib(used),
                    budget: mib(self.budget),
                });
            }
            used += need;
        }
        Ok(())
    }

    /// Packs what is missing.
    ///
    /// # Errors
    /// If it would exceed the budget; nothing is packed then.
    pub fn ensure(
        &mut self,
        model: &Model,
        wanted: &[(u32, Packing)],
        progress: &mut dyn FnMut(PackProgress),
    ) -> Result<(), BudgetError> {
        self.fits(model, wanted)?;
        let missing: Vec<_> = wanted.iter().filter(|k| !self.buffers.contains_key(k)).copied().collect();
        let total = missing.iter().filter_map(|k| model.weight(k.0)).map(|t| t.data().len()).sum();
        let mut done = 0;
        for key in missing {
            let Some(t) = model.weight(key.0) else { continue };
            let packed = packing::pack(key.1, &Layout::contiguous(t.dtype(), t.ne()), t.data());
            self.bytes += packed.len();
            done += packed.len();
            self.buffers.insert(key, packed);
            progress(PackProgress { done, total });
        }
        Ok(())
    }

    /// Start and length of a packed weight.
    pub fn get(&self, id: u32, packing: Packing) -> Option<(*const u8, usize)> {
        self.buffers.get(&(id, packing)).map(|b| (b.as_ptr().cast_const(), b.len()))
    }
}
