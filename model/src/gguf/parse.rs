//! Header, metadata and tensor table of one file.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use deltascope_kernels::DType;

use super::cursor::Cursor;
use super::error::{Fault, GgufError};
use super::metadata::Metadata;
use super::source::Source;
use super::tensor::TensorInfo;
use super::value::{Array, Value, type_id};
use super::{DEFAULT_ALIGNMENT, MAGIC};

/// Arrays of arrays are legal; no file in circulation has even two levels.
const MAX_DEPTH: usize = 4;

/// The contents of one file.
#[derive(Debug)]
pub(super) struct Shard {
    pub version: u32,
    pub metadata: Metadata,
    pub tensors: Vec<TensorInfo>,
}

pub(super) fn parse(source: &Arc<Source>) -> Result<Shard, GgufError> {
    let bytes = source.bytes();
    let mut c = Cursor::new(source.name(), bytes);

    if !bytes.starts_with(MAGIC) {
        return Err(c.fault(0, Fault::Magic { found: bytes.iter().take(4).copied().collect() }));
    }
    c.take(4, &|| "the magic".into())?;
    let version = c.u32(&|| "the version".into())?;
    if !(2..=3).contains(&version) {
        let fault = if version.swap_bytes() <= 0xffff { Fault::BigEndian } else { Fault::Version(version) };
        return Err(c.fault(4, fault));
    }
    let tensors_at = c.position();
    let n_tensors = c.u64(&|| "the number of tensors".into())?;
    // Key length, value type and a value of one byte.
    let n_keys = c.count(8 + 4 + 1, &|| "the metadata".into())?;

    let mut metadata = Metadata::default();
    for i in 0..n_keys {
        let at = c.position();
        let key = c.string(&|| format!("the name of key {i}"))?;
        let value = read_value(&mut c, key)?;
        if !metadata.insert(key.to_owned(), value) {
            return Err(c.fault(at, Fault::DuplicateKey { key: key.to_owned() }));
        }
    }

    // Name length, number of dimensions, one dimension, type and offset.
    let n_tensors = c.check_count(tensors_at, n_tensors, 8 + 4 + 8 + 4 + 8, &|| "the tensor table".into())?;
    let alignment = alignment(&metadata, source.name())?;
    let mut entries = Vec::with_capacity(n_tensors);
    let mut names = HashSet::with_capacity(n_tensors);
    for i in 0..n_tensors {
        let at = c.position();
        let entry = Entry::read(&mut c, i, alignment)?;
        if !names.insert(entry.name) {
            return Err(c.fault(at, Fault::DuplicateTensor { tensor: entry.name.to_owned() }));
        }
        entries.push(entry);
    }

    let data = (c.position() as u64).next_multiple_of(alignment);
    let tensors = entries.into_iter().map(|e| e.place(source, data)).collect::<Result<Vec<_>, _>>()?;
    check_overlap(&tensors, source.name())?;
    Ok(Shard { version, metadata, tensors })
}

fn alignment(metadata: &Metadata, file: &Path) -> Result<u64, GgufError> {
    let wrong = |n| GgufError::new(file, None, Fault::Alignment(n));
    let alignment = match metadata.value("general.alignment") {
        None => DEFAULT_ALIGNMENT,
        Some(Value::U32(n)) => u64::from(*n),
        Some(Value::U64(n)) => *n,
        Some(_) => return Err(wrong(0)),
    };
    // Below 8 a tensor of f32 might not be aligned to its element.
    if alignment.is_power_of_two() && (8..=1 << 16).contains(&alignment) {
        Ok(alignment)
    } else {
        Err(wrong(alignment))
    }
}

fn read_value(c: &mut Cursor<'_>, key: &str) -> Result<Value, GgufError> {
    let what = || format!("the value of key `{key}`");
    let at = c.position();
    let id = c.u32(&what)?;
    Ok(match id {
        type_id::U8 => Value::U8(c.array::<1>(&what)?[0]),
        type_id::I8 => Value::I8(i8::from_le_bytes(c.array(&what)?)),
        type_id::U16 => Value::U16(u16::from_le_bytes(c.array(&what)?)),
        type_id::I16 => Value::I16(i16::from_le_bytes(c.array(&what)?)),
        type_id::U32 => Value::U32(c.u32(&what)?),
        type_id::I32 => Value::I32(i32::from_le_bytes(c.array(&what)?)),
        type_id::F32 => Value::F32(f32::from_le_bytes(c.array(&what)?)),
        type_id::BOOL => Value::Bool(read_bool(c, key)?),
        type_id::STRING => Value::String(c.string(&what)?.to_owned()),
        type_id::ARRAY => Value::Array(read_array(c, key, 1)?),
        type_id::U64 => Value::U64(c.u64(&what)?),
        type_id::I64 => Value::I64(i64::from_le_bytes(c.array(&what)?)),
        type_id::F64 => Value::F64(f64::from_le_bytes(c.array(&what)?)),
        _ => return Err(c.fault(at, Fault::ValueType { key: key.to_owned(), id })),
    })
}

fn read_bool(c: &mut Cursor<'_>, key: &str) -> Result<bool, GgufError> {
    let at = c.position();
    match c.array::<1>(&|| format!("the value of key `{key}`"))? {
        [0] => Ok(false),
        [1] => Ok(true),
        [found] => Err(c.fault(at, Fault::Bool { key: key.to_owned(), found })),
    }
}

fn read_array(c: &mut Cursor<'_>, key: &str, depth: usize) -> Result<Array, GgufError> {
    let what = || format!("the array of key `{key}`");
    let at = c.position();
    if depth > MAX_DEPTH {
        return Err(c.fault(at, Fault::Depth { key: key.to_owned(), max: MAX_DEPTH }));
    }
    let id = c.u32(&what)?;

    /// Elements of a fixed size: checked as a whole, then decoded.
    macro_rules! plain {
        ($variant:ident, $t:ty) => {{
            const SIZE: usize = size_of::<$t>();
            let n = c.count(SIZE as u64, &what)?;
            let (elements, _) = c.take((n * SIZE) as u64, &what)?.as_chunks::<SIZE>();
            Array::$variant(elements.iter().map(|bytes| <$t>::from_le_bytes(*bytes)).collect())
        }};
    }

    Ok(match id {
        type_id::U8 => plain!(U8, u8),
        type_id::I8 => plain!(I8, i8),
        type_id::U16 => plain!(U16, u16),
        type_id::I16 => plain!(I16, i16),
        type_id::U32 => plain!(U32, u32),
        type_id::I32 => plain!(I32, i32),
        type_id::F32 => plain!(F32, f32),
        type_id::U64 => plain!(U64, u64),
        type_id::I64 => plain!(I64, i64),
        type_id::F64 => plain!(F64, f64),
        type_id::BOOL => {
            let n = c.count(1, &what)?;
            Array::Bool((0..n).map(|_| read_bool(c, key)).collect::<Result<_, _>>()?)
        }
        type_id::STRING => {
            let n = c.count(8, &what)?;
            Array::String((0..n).map(|_| Ok(c.string(&what)?.to_owned())).collect::<Result<_, GgufError>>()?)
        }
        type_id::ARRAY => {
            let n = c.count(4 + 8, &what)?;
            Array::Array((0..n).map(|_| read_array(c, key, depth + 1)).collect::<Result<_, _>>()?)
        }
        _ => return Err(c.fault(at, Fault::ValueType { key: key.to_owned(), id })),
    })
}

/// A line of the tensor table, before it is known where the data starts.
struct Entry<'a> {
    at: usize,
    name: &'a str,
    dtype: DType,
    n_dims: usize,
    ne: [usize; 4],
    bytes: usize,
    offset: u64,
}

impl<'a> Entry<'a> {
    fn read(c: &mut Cursor<'a>, index: usize, alignment: u64) -> Result<Entry<'a>, GgufError> {
        let at = c.position();
        let name = c.string(&|| format!("the name of tensor {index}"))?;
        let what = || format!("the entry of tensor `{name}`");
        let tensor = || name.to_owned();

        let n_dims = c.u32(&what)?;
        if !(1..=4).contains(&n_dims) {
            return Err(c.fault(at, Fault::Dimensions { tensor: tensor(), found: n_dims }));
        }
        let mut wide = [1u64; 4];
        for n in wide.iter_mut().take(n_dims as usize) {
            *n = c.u64(&what)?;
        }
        let id = c.u32(&what)?;
        let offset = c.u64(&what)?;

        let dtype = DType::from_gguf_id(id)
            .ok_or_else(|| c.fault(at, Fault::UnknownType { tensor: tensor(), id, name: unsupported_name(id) }))?;
        let shape = || c.fault(at, Fault::Shape { tensor: tensor(), ne: wide[..n_dims as usize].to_vec() });
        let mut ne = [1usize; 4];
        for (n, wide) in ne.iter_mut().zip(wide) {
            *n = usize::try_from(wide).ok().filter(|n| *n > 0).ok_or_else(shape)?;
        }
        if !ne[0].is_multiple_of(dtype.block_len()) {
            let fault = Fault::Row { tensor: tensor(), row: wide[0], dtype: dtype.name(), block: dtype.block_len() };
            return Err(c.fault(at, fault));
        }
        // Elements are counted as well as bytes: readers index by element.
        let elements = ne.iter().try_fold(1usize, |n, d| n.checked_mul(*d)).filter(|n| isize::try_from(*n).is_ok());
        let rows = elements.map(|n| n / ne[0]);
        let bytes = dtype.row_bytes(ne[0]).zip(rows).and_then(|(row, rows)| row.checked_mul(rows)).ok_or_else(shape)?;
        if !offset.is_multiple_of(alignment) {
            return Err(c.fault(at, Fault::Misaligned { tensor: tensor(), offset, alignment }));
        }
        Ok(Entry { at, name, dtype, n_dims: n_dims as usize, ne, bytes, offset })
    }

    fn place(self, source: &Arc<Source>, data: u64) -> Result<TensorInfo, GgufError> {
        let len = source.bytes().len() as u64;
        let start = data.saturating_add(self.offset);
        let end = start.saturating_add(self.bytes as u64);
        if end > len {
            let fault = Fault::OutOfRange { tensor: self.name.to_owned(), start, end, len };
            return Err(GgufError::new(source.name(), Some(self.at as u64), fault));
        }
        let range = start as usize..end as usize;
        Ok(TensorInfo::new(self.name, self.dtype, self.n_dims, self.ne, Arc::clone(source), range))
    }
}

fn check_overlap(tensors: &[TensorInfo], file: &Path) -> Result<(), GgufError> {
    let mut order: Vec<&TensorInfo> = tensors.iter().collect();
    order.sort_by_key(|t| t.range().start);
    for pair in order.windows(2) {
        let (a, b) = (pair[0], pair[1]);
        if a.range().end > b.range().start {
            let fault = Fault::Overlap { first: a.name().to_owned(), second: b.name().to_owned() };
            return Err(GgufError::new(file, Some(b.range().start as u64), fault));
        }
    }
    Ok(())
}

/// Names of the types that files may hold and that we do not read.
fn unsupported_name(id: u32) -> &'static str {
    match id {
        9 => "Q8_1",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        21 => "IQ3_S",
        22 => "IQ2_S",
        24 => "I8",
        25 => "I16",
        27 => "I64",
        28 => "F64",
        29 => "IQ1_M",
        34 => "TQ1_0",
        35 => "TQ2_0",
        39 => "MXFP4",
        _ => "unknown",
    }
}
