//! GGUF files, versions 2 and 3, little endian: read through a memory map, and written.
//!
//! Files are untrusted. Every length, count and offset is checked against the size of the file before it is used, so
//! that opening a file takes memory in proportion to its metadata and never more than a small multiple of its size.

mod cursor;
mod error;
mod metadata;
mod parse;
mod source;
mod split;
mod tensor;
mod value;
mod writer;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

pub use error::{Fault, GgufError, MetadataError};
pub use metadata::Metadata;
pub use tensor::TensorInfo;
pub use value::{Array, FromValue, Value};
pub use writer::{GgufWriter, TensorStream, WriteError};

use parse::{Shard, parse};
use source::Source;
use split::Part;

const MAGIC: &[u8; 4] = b"GGUF";
const DEFAULT_ALIGNMENT: u64 = 32;

/// An open model: its metadata and the tensors of all its parts.
#[derive(Debug)]
pub struct GgufFile {
    version: u32,
    metadata: Metadata,
    tensors: Vec<TensorInfo>,
    by_name: HashMap<String, usize>,
    parts: usize,
    bytes: u64,
}

impl GgufFile {
    /// Opens and maps a file. If it is the first part of a split model, its siblings are opened as well.
    pub fn open(path: impl AsRef<Path>) -> Result<GgufFile, GgufError> {
        let path = path.as_ref();
        let map = |path: &Path| Source::map(path).map(Arc::new).map_err(|e| GgufError::new(path, None, e));

        let source = map(path)?;
        let shard = parse(&source)?;
        let part = Part::of(&shard.metadata, path)?;
        let mut file = GgufFile::from_shard(shard, source.bytes().len());
        if part.count == 1 {
            return Ok(file);
        }

        let siblings = part.siblings(path)?;
        if part.no != 0 {
            let first = siblings[0].display().to_string();
            let fault = Fault::SplitNotFirst { no: part.no + 1, count: part.count, first };
            return Err(GgufError::new(path, None, fault));
        }
        for (no, sibling) in (1..).zip(&siblings[1..]) {
            let source = map(sibling)?;
            let shard = parse(&source)?;
            let found = Part::of(&shard.metadata, sibling)?;
            for (key, wanted, found) in [("split.no", no, found.no), ("split.count", part.count, found.count)] {
                if wanted != found {
                    return Err(GgufError::new(sibling, None, Fault::SplitMismatch { key, wanted, found }));
                }
            }
            file.append(shard, &source)?;
        }
        file.check_split_total(path)?;
        Ok(file)
    }

    /// Reads a model that is in memory, as one embedded in the program. The bytes are copied once, to aligned pages.
    pub fn from_bytes(bytes: &[u8]) -> Result<GgufFile, GgufError> {
        let label = "<memory>";
        let source = Source::copy(label, bytes).map_err(|e| GgufError::new(Path::new(label), None, e))?;
        let source = Arc::new(source);
        let shard = parse(&source)?;
        match Part::of(&shard.metadata, source.name())?.count {
            1 => Ok(GgufFile::from_shard(shard, bytes.len())),
            count => Err(GgufError::new(source.name(), None, Fault::SplitInMemory { count })),
        }
    }

    fn from_shard(shard: Shard, bytes: usize) -> GgufFile {
        let by_name = shard.tensors.iter().enumerate().map(|(i, t)| (t.name().to_owned(), i)).collect();
        let Shard { version, metadata, tensors } = shard;
        GgufFile { version, metadata, tensors, by_name, parts: 1, bytes: bytes as u64 }
    }

    fn append(&mut self, shard: Shard, source: &Source) -> Result<(), GgufError> {
        for tensor in shard.tensors {
            if self.by_name.insert(tensor.name().to_owned(), self.tensors.len()).is_some() {
                let fault = Fault::DuplicateTensor { tensor: tensor.name().to_owned() };
                return Err(GgufError::new(source.name(), None, fault));
            }
            self.tensors.push(tensor);
        }
        self.parts += 1;
        self.bytes += source.bytes().len() as u64;
        Ok(())
    }

    /// A part of another quantisation of the same model would have the right numbers and too few or too many tensors.
    fn check_split_total(&self, path: &Path) -> Result<(), GgufError> {
        let key = "split.tensors.count";
        let found = self.tensors.len() as u64;
        match self.metadata.find::<u64>(key) {
            Ok(Some(wanted)) if wanted != found => {
                Err(GgufError::new(path, None, Fault::SplitMismatch { key, wanted, found }))
            }
            _ => Ok(()),
        }
    }

    /// Version of the format, of the first part.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Metadata, of the first part.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// All tensors, in the order of the files.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The tensor of that name.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.by_name.get(name).map(|i| &self.tensors[*i])
    }

    /// The data of a tensor; the same as [`TensorInfo::data`].
    pub fn data<'a>(&self, tensor: &'a TensorInfo) -> &'a [u8] {
        tensor.data()
    }

    /// Number of files.
    pub fn parts(&self) -> usize {
        self.parts
    }

    /// Size of all files together.
    pub fn len_bytes(&self) -> u64 {
        self.bytes
    }
}
