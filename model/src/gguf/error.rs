//! What can be wrong with a GGUF file, with the file, the key or tensor, and the byte offset.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A file that could not be read as GGUF.
#[derive(Debug, thiserror::Error)]
#[error("{}{}: {fault}", file.display(), At(*offset))]
pub struct GgufError {
    /// The file (a shard, if the model is split), or a label such as `<memory>`.
    pub file: PathBuf,
    /// Where in the file the offending field starts, in bytes, where a single field is to blame.
    pub offset: Option<u64>,
    /// What is wrong.
    pub fault: Fault,
}

impl GgufError {
    pub(super) fn new(file: &Path, offset: Option<u64>, fault: impl Into<Fault>) -> GgufError {
        GgufError { file: file.to_owned(), offset, fault: fault.into() }
    }
}

struct At(Option<u64>);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(offset) => write!(f, " at byte {offset}"),
            None => Ok(()),
        }
    }
}

/// The reasons for refusing a GGUF file. Lengths and offsets are in bytes unless said otherwise.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum Fault {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("not a GGUF file: it starts with {found:02x?}, not with \"GGUF\"")]
    Magic { found: Vec<u8> },
    #[error("a big-endian GGUF file; only little-endian files are read")]
    BigEndian,
    #[error("GGUF version {0}; versions 2 and 3 are read")]
    Version(u32),
    #[error("the file ends inside {what}: {wanted} bytes wanted, {left} left")]
    Truncated { what: String, wanted: u64, left: u64 },
    #[error("{what} claims {count} entries of at least {each} bytes, but {left} bytes are left")]
    Count { what: String, count: u64, each: u64, left: u64 },
    #[error("{what} is not valid UTF-8")]
    Utf8 { what: String },
    #[error("key `{key}`: value type {id} does not exist")]
    ValueType { key: String, id: u32 },
    #[error("key `{key}`: boolean with value {found}")]
    Bool { key: String, found: u8 },
    #[error("key `{key}`: arrays nested deeper than {max}")]
    Depth { key: String, max: usize },
    #[error("key `{key}` appears twice")]
    DuplicateKey { key: String },
    #[error("`general.alignment` is {0}; a power of two from 8 to 65536 is wanted")]
    Alignment(u64),
    #[error("tensor `{tensor}` appears twice")]
    DuplicateTensor { tensor: String },
    #[error("tensor `{tensor}` has {found} dimensions; 1 to 4 are supported")]
    Dimensions { tensor: String, found: u32 },
    #[error("tensor `{tensor}`: shape {ne:?} is empty or too large")]
    Shape { tensor: String, ne: Vec<u64> },
    #[error("tensor `{tensor}` is of type {id} ({name}), which is not supported")]
    UnknownType { tensor: String, id: u32, name: &'static str },
    #[error("tensor `{tensor}`: rows of {row} elements are no whole number of {dtype} blocks of {block}")]
    Row { tensor: String, row: u64, dtype: &'static str, block: usize },
    #[error("tensor `{tensor}`: data offset {offset} is no multiple of the alignment {alignment}")]
    Misaligned { tensor: String, offset: u64, alignment: u64 },
    #[error("tensor `{tensor}`: data {start}..{end} is outside the file of {len} bytes")]
    OutOfRange { tensor: String, start: u64, end: u64, len: u64 },
    #[error("tensors `{first}` and `{second}` overlap")]
    Overlap { first: String, second: String },
    #[error("one part of a split model, but its name does not end in `-{no:05}-of-{count:05}.gguf`")]
    SplitName { no: u64, count: u64 },
    #[error("part {no} of {count} of a split model; open the first part, {first}")]
    SplitNotFirst { no: u64, count: u64, first: String },
    #[error("key `{key}` of this part is {found}, and {wanted} was expected")]
    SplitMismatch { key: &'static str, wanted: u64, found: u64 },
    #[error("one of {count} parts of a split model, which cannot be read from memory")]
    SplitInMemory { count: u64 },
}

/// Metadata that is absent or of another type than its reader wants.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum MetadataError {
    #[error("key `{key}` is missing ({wanted} wanted)")]
    Missing { key: String, wanted: &'static str },
    #[error("key `{key}` holds {found}, and {wanted} is wanted")]
    Type { key: String, wanted: &'static str, found: String },
    #[error("key `{key}` holds {value}, which is out of range for {wanted}")]
    Range { key: String, wanted: &'static str, value: String },
}
