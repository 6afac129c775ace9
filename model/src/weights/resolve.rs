//! Takes tensors from a file by name, with the shape and the types that the graph can use.

use std::collections::HashSet;

use deltascope_kernels::DType;

use crate::gguf::{GgufFile, TensorInfo};

/// A tensor that is missing or not as the hyperparameters say.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum WeightsError {
    #[error("tensor `{tensor}` of shape {expected:?} is missing")]
    Missing { tensor: String, expected: Vec<usize> },
    #[error("tensor `{tensor}` has shape {found:?}, and {expected:?} is expected")]
    Shape { tensor: String, expected: Vec<usize>, found: Vec<usize> },
    #[error("tensor `{tensor}` is of type {found}, and {expected} is expected")]
    Type { tensor: String, expected: &'static str, found: DType },
}

pub(super) struct Resolver<'a> {
    file: &'a GgufFile,
    used: HashSet<String>,
}

impl<'a> Resolver<'a> {
    pub(super) fn new(file: &'a GgufFile) -> Resolver<'a> {
        Resolver { file, used: HashSet::new() }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.file.tensor(name).is_some()
    }

    /// A matrix, or a stack of them, that may be quantised.
    pub(super) fn matrix(&mut self, name: &str, shape: &[usize]) -> Result<TensorInfo, WeightsError> {
        self.take(name, shape, "any type but I32", |t| t != DType::I32)
    }

    /// A tensor that is never quantised and may be narrower than F32.
    pub(super) fn float(&mut self, name: &str, shape: &[usize]) -> Result<TensorInfo, WeightsError> {
        self.take(name, shape, "F32, F16 or BF16", |t| matches!(t, DType::F32 | DType::F16 | DType::BF16))
    }

    pub(super) fn f32(&mut self, name: &str, shape: &[usize]) -> Result<TensorInfo, WeightsError> {
        self.take(name, shape, "F32", |t| t == DType::F32)
    }

    pub(super) fn vector(&mut self, name: &str, n: usize) -> Result<TensorInfo, WeightsError> {
        self.f32(name, &[n])
    }

    /// Tensors that nothing has taken, in the order of the file.
    pub(super) fn unused(&self) -> Vec<TensorInfo> {
        self.file.tensors().iter().filter(|t| !self.used.contains(t.name())).cloned().collect()
    }

    fn take(
        &mut self,
        name: &str,
        shape: &[usize],
        expected: &'static str,
        accepts: impl Fn(DType) -> bool,
    ) -> Result<TensorInfo, WeightsError> {
        let Some(tensor) = self.file.tensor(name) else {
            return Err(WeightsError::Missing { tensor: name.to_owned(), expected: shape.to_vec() });
        };
        // Whether a file lists trailing dimensions of 1 says nothing.
        let mut ne = [1; 4];
        ne[..shape.len()].copy_from_slice(shape);
        if tensor.ne() != ne {
            let found = tensor.dims().to_vec();
            return Err(WeightsError::Shape { tensor: name.to_owned(), expected: shape.to_vec(), found });
        }
        if !accepts(tensor.dtype()) {
            return Err(WeightsError::Type { tensor: name.to_owned(), expected, found: tensor.dtype() });
        }
        self.used.insert(name.to_owned());
        Ok(tensor.clone())
    }
}
