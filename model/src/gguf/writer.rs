//! Writes GGUF version 3: first what is in the file, then the tensors' data as a stream.

use std::io::{self, Write};

use deltascope_kernels::DType;

use super::value::{Array, Value, type_id};
use super::{DEFAULT_ALIGNMENT, MAGIC};

/// Metadata and tensor table of a file to be written. See [`GgufWriter::start`].
#[derive(Clone, Debug, Default)]
pub struct GgufWriter {
    metadata: Vec<(String, Value)>,
    tensors: Vec<Declared>,
}

#[derive(Clone, Debug)]
struct Declared {
    name: String,
    dtype: DType,
    ne: Vec<usize>,
    bytes: usize,
}

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum WriteError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("tensor `{0}` was declared before")]
    Duplicate(String),
    #[error("tensor `{tensor}`: {ne:?} is no shape that {dtype} can have")]
    Shape { tensor: String, dtype: DType, ne: Vec<usize> },
    #[error("{extra} bytes written after the last tensor")]
    Extra { extra: usize },
    #[error("the data of tensor `{tensor}` lacks {missing} bytes")]
    Incomplete { tensor: String, missing: usize },
}

impl GgufWriter {
    /// An empty file.
    pub fn new() -> GgufWriter {
        GgufWriter::default()
    }

    /// Sets a key, in the order of the calls; a key set before keeps its place and takes the new value.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) -> &mut GgufWriter {
        let value = value.into();
        match self.metadata.iter_mut().find(|(k, _)| k == key) {
            Some(slot) => slot.1 = value,
            None => self.metadata.push((key.to_owned(), value)),
        }
        self
    }

    /// Declares a tensor; its data is to follow in the order of the declarations. `ne[0]` is the contiguous dimension.
    pub fn tensor(&mut self, name: &str, dtype: DType, ne: &[usize]) -> Result<(), WriteError> {
        if self.tensors.iter().any(|t| t.name == name) {
            return Err(WriteError::Duplicate(name.to_owned()));
        }
        let bytes = (1..=4)
            .contains(&ne.len())
            .then(|| ne[1..].iter().try_fold(dtype.row_bytes(ne[0])?, |n, d| n.checked_mul(*d)))
            .flatten()
            .filter(|n| *n > 0 && dtype.gguf_id().is_some());
        let Some(bytes) = bytes else {
            return Err(WriteError::Shape { tensor: name.to_owned(), dtype, ne: ne.to_vec() });
        };
        self.tensors.push(Declared { name: name.to_owned(), dtype, ne: ne.to_vec(), bytes });
        Ok(())
    }

    /// Writes header, metadata and tensor table to `out`, and returns the stream that takes the data.
    pub fn start<W: Write>(self, mut out: W) -> Result<TensorStream<W>, WriteError> {
        let mut head = Vec::new();
        head.extend_from_slice(MAGIC);
        head.extend_from_slice(&3u32.to_le_bytes());
        head.extend_from_slice(&(self.tensors.len() as u64).to_le_bytes());
        head.extend_from_slice(&(self.metadata.len() as u64).to_le_bytes());
        for (key, value) in &self.metadata {
            put_string(&mut head, key);
            put_value(&mut head, value);
        }
        let mut offset = 0u64;
        for t in &self.tensors {
            put_string(&mut head, &t.name);
            head.extend_from_slice(&(t.ne.len() as u32).to_le_bytes());
            for n in &t.ne {
                head.extend_from_slice(&(*n as u64).to_le_bytes());
            }
            // `tensor` refused the types without a number.
            head.extend_from_slice(&t.dtype.gguf_id().unwrap_or_default().to_le_bytes());
            head.extend_from_slice(&offset.to_le_bytes());
            offset += (t.bytes as u64).next_multiple_of(DEFAULT_ALIGNMENT);
        }
        head.resize(head.len().next_multiple_of(DEFAULT_ALIGNMENT as usize), 0);
        out.write_all(&head)?;
        let left = self.tensors.first().map_or(0, |t| t.bytes);
        Ok(TensorStream { out, tensors: self.tensors, current: 0, left })
    }
}

/// Takes the tensors' data, in pieces of any size, in the order of the declarations.
#[derive(Debug)]
pub struct TensorStream<W: Write> {
    out: W,
    tensors: Vec<Declared>,
    current: usize,
    left: usize,
}

impl<W: Write> TensorStream<W> {
    /// The tensor whose data comes next, its type, and the bytes that it still wants; `None` after the last.
    pub fn pending(&self) -> Option<(&str, DType, usize)> {
        self.tensors.get(self.current).map(|t| (t.name.as_str(), t.dtype, self.left))
    }

    /// Appends data; a tensor that is complete is padded to the alignment, and the next begins.
    pub fn write(&mut self, mut data: &[u8]) -> Result<(), WriteError> {
        while !data.is_empty() {
            let Some(tensor) = self.tensors.get(self.current) else {
                return Err(WriteError::Extra { extra: data.len() });
            };
            let (now, rest) = data.split_at(data.len().min(self.left));
            self.out.write_all(now)?;
            self.left -= now.len();
            data = rest;
            if self.left == 0 {
                let padding = tensor.bytes.next_multiple_of(DEFAULT_ALIGNMENT as usize) - tensor.bytes;
                self.out.write_all(&[0; DEFAULT_ALIGNMENT as usize][..padding])?;
                self.current += 1;
                self.left = self.tensors.get(self.current).map_or(0, |t| t.bytes);
            }
        }
        Ok(())
    }

    /// Flushes, and hands the writer back once all data has been written.
    pub fn finish(mut self) -> Result<W, WriteError> {
        if let Some(tensor) = self.tensors.get(self.current) {
            return Err(WriteError::Incomplete { tensor: tensor.name.clone(), missing: self.left });
        }
        self.out.flush()?;
        Ok(self.out)
    }
}

fn put_string(out: &mut Vec<u8>, s: &str) {
    out.extend_from_slice(&(s.len() as u64).to_le_bytes());
    out.extend_from_slice(s.as_bytes());
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    macro_rules! plain {
        ($id:ident, $v:expr) => {{
            out.extend_from_slice(&type_id::$id.to_le_bytes());
            out.extend_from_slice(&$v.to_le_bytes());
        }};
    }
    match value {
        Value::U8(v) => plain!(U8, v),
        Value::I8(v) => plain!(I8, v),
        Value::U16(v) => plain!(U16, v),
        Value::I16(v) => plain!(I16, v),
        Value::U32(v) => plain!(U32, v),
        Value::I32(v) => plain!(I32, v),
        Value::F32(v) => plain!(F32, v),
        Value::U64(v) => plain!(U64, v),
        Value::I64(v) => plain!(I64, v),
        Value::F64(v) => plain!(F64, v),
        Value::Bool(v) => plain!(BOOL, u8::from(*v)),
        Value::String(v) => {
            out.extend_from_slice(&type_id::STRING.to_le_bytes());
            put_string(out, v);
        }
        Value::Array(v) => {
            out.extend_from_slice(&type_id::ARRAY.to_le_bytes());
            put_array(out, v);
        }
    }
}

fn put_array(out: &mut Vec<u8>, array: &Array) {
    let len = array.len() as u64;
    let mut head = |id: u32| {
        out.extend_from_slice(&id.to_le_bytes());
        out.extend_from_slice(&len.to_le_bytes());
    };
    macro_rules! plain {
        ($id:ident, $v:expr) => {{
            head(type_id::$id);
            $v.iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes()));
        }};
    }
    match array {
        Array::U8(v) => plain!(U8, v),
        Array::I8(v) => plain!(I8, v),
        Array::U16(v) => plain!(U16, v),
        Array::I16(v) => plain!(I16, v),
        Array::U32(v) => plain!(U32, v),
        Array::I32(v) => plain!(I32, v),
        Array::F32(v) => plain!(F32, v),
        Array::U64(v) => plain!(U64, v),
        Array::I64(v) => plain!(I64, v),
        Array::F64(v) => plain!(F64, v),
        Array::Bool(v) => {
            head(type_id::BOOL);
            v.iter().for_each(|x| out.push(u8::from(*x)));
        }
        Array::String(v) => {
            head(type_id::STRING);
            v.iter().for_each(|s| put_string(out, s));
        }
        Array::Array(v) => {
            head(type_id::ARRAY);
            v.iter().for_each(|a| put_array(out, a));
        }
    }
}
