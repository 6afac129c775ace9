//! Metadata values: what they are in the file, and the conversions that readers ask for.

use super::error::MetadataError;

/// Numbers that the format gives to the types of values.
pub(super) mod type_id {
    pub const U8: u32 = 0;
    pub const I8: u32 = 1;
    pub const U16: u32 = 2;
    pub const I16: u32 = 3;
    pub const U32: u32 = 4;
    pub const I32: u32 = 5;
    pub const F32: u32 = 6;
    pub const BOOL: u32 = 7;
    pub const STRING: u32 = 8;
    pub const ARRAY: u32 = 9;
    pub const U64: u32 = 10;
    pub const I64: u32 = 11;
    pub const F64: u32 = 12;
}

/// A metadata value.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    String(String),
    Array(Array),
    U64(u64),
    I64(i64),
    F64(f64),
}

/// An array of values of one type.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Array {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    F32(Vec<f32>),
    Bool(Vec<bool>),
    String(Vec<String>),
    Array(Vec<Array>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F64(Vec<f64>),
}

impl Value {
    /// The type and, for an array, its length: `u32`, `array of 3 strings`.
    pub fn describe(&self) -> String {
        match self {
            Value::U8(_) => "a u8".into(),
            Value::I8(_) => "an i8".into(),
            Value::U16(_) => "a u16".into(),
            Value::I16(_) => "an i16".into(),
            Value::U32(_) => "a u32".into(),
            Value::I32(_) => "an i32".into(),
            Value::F32(_) => "an f32".into(),
            Value::Bool(_) => "a bool".into(),
            Value::String(_) => "a string".into(),
            Value::U64(_) => "a u64".into(),
            Value::I64(_) => "an i64".into(),
            Value::F64(_) => "an f64".into(),
            Value::Array(a) => format!("an array of {} {}", a.len(), a.element_name()),
        }
    }

    /// The value as an integer, whatever its width in the file: writers disagree on widths.
    fn as_integer(&self) -> Option<i128> {
        Some(match *self {
            Value::U8(v) => v.into(),
            Value::I8(v) => v.into(),
            Value::U16(v) => v.into(),
            Value::I16(v) => v.into(),
            Value::U32(v) => v.into(),
            Value::I32(v) => v.into(),
            Value::U64(v) => v.into(),
            Value::I64(v) => v.into(),
            _ => return None,
        })
    }
}

impl Array {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Array::U8(v) => v.len(),
            Array::I8(v) => v.len(),
            Array::U16(v) => v.len(),
            Array::I16(v) => v.len(),
            Array::U32(v) => v.len(),
            Array::I32(v) => v.len(),
            Array::F32(v) => v.len(),
            Array::Bool(v) => v.len(),
            Array::String(v) => v.len(),
            Array::Array(v) => v.len(),
            Array::U64(v) => v.len(),
            Array::I64(v) => v.len(),
            Array::F64(v) => v.len(),
        }
    }

    /// True without elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn element_name(&self) -> &'static str {
        match self {
            Array::U8(_) => "u8",
            Array::I8(_) => "i8",
            Array::U16(_) => "u16",
            Array::I16(_) => "i16",
            Array::U32(_) => "u32",
            Array::I32(_) => "i32",
            Array::F32(_) => "f32",
            Array::Bool(_) => "bool",
            Array::String(_) => "strings",
            Array::Array(_) => "arrays",
            Array::U64(_) => "u64",
            Array::I64(_) => "i64",
            Array::F64(_) => "f64",
        }
    }
}

/// A type that metadata can be read as.
pub trait FromValue<'a>: Sized {
    /// What errors call it.
    const WANTED: &'static str;

    /// Converts the value of `key`.
    fn from_value(key: &str, value: &'a Value) -> Result<Self, MetadataError>;
}

fn mismatch(key: &str, wanted: &'static str, value: &Value) -> MetadataError {
    MetadataError::Type { key: key.to_owned(), wanted, found: value.describe() }
}

macro_rules! from_integer {
    ($($t:ty, $wanted:literal;)*) => {$(
        impl FromValue<'_> for $t {
            const WANTED: &'static str = $wanted;

            fn from_value(key: &str, value: &Value) -> Result<Self, MetadataError> {
                let n = value.as_integer().ok_or_else(|| mismatch(key, $wanted, value))?;
                <$t>::try_from(n).map_err(|_| MetadataError::Range {
                    key: key.to_owned(), wanted: $wanted, value: n.to_string(),
                })
            }
        }
    )*};
}

from_integer! { u32, "a u32"; i32, "an i32"; u64, "a u64"; }

macro_rules! from_variant {
    ($($t:ty, $wanted:literal, $p:pat => $e:expr;)*) => {$(
        impl<'a> FromValue<'a> for $t {
            const WANTED: &'static str = $wanted;

            fn from_value(key: &str, value: &'a Value) -> Result<Self, MetadataError> {
                match value {
                    $p => Ok($e),
                    _ => Err(mismatch(key, $wanted, value)),
                }
            }
        }
    )*};
}

from_variant! {
    bool, "a bool", Value::Bool(v) => *v;
    &'a str, "a string", Value::String(v) => v.as_str();
    &'a Array, "an array", Value::Array(v) => v;
    &'a [String], "an array of strings", Value::Array(Array::String(v)) => v.as_slice();
    &'a [bool], "an array of bool", Value::Array(Array::Bool(v)) => v.as_slice();
    &'a [f32], "an array of f32", Value::Array(Array::F32(v)) => v.as_slice();
}

impl FromValue<'_> for f32 {
    const WANTED: &'static str = "an f32";

    fn from_value(key: &str, value: &Value) -> Result<Self, MetadataError> {
        match *value {
            Value::F32(v) => Ok(v),
            Value::F64(v) => Ok(v as f32),
            _ => Err(mismatch(key, Self::WANTED, value)),
        }
    }
}

impl FromValue<'_> for Vec<i32> {
    const WANTED: &'static str = "an array of i32";

    fn from_value(key: &str, value: &Value) -> Result<Self, MetadataError> {
        match value {
            Value::Array(Array::I32(v)) => Ok(v.clone()),
            Value::Array(Array::U32(v)) => {
                let range =
                    |n: &u32| MetadataError::Range { key: key.to_owned(), wanted: Self::WANTED, value: n.to_string() };
                v.iter().map(|n| i32::try_from(*n).map_err(|_| range(n))).collect()
            }
            _ => Err(mismatch(key, Self::WANTED, value)),
        }
    }
}

macro_rules! into_value {
    ($($t:ty, $v:ident => $e:expr;)*) => {$(
        impl From<$t> for Value {
            fn from($v: $t) -> Value {
                $e
            }
        }
    )*};
}

into_value! {
    u16, v => Value::U16(v);
    u32, v => Value::U32(v);
    i32, v => Value::I32(v);
    u64, v => Value::U64(v);
    f32, v => Value::F32(v);
    bool, v => Value::Bool(v);
    &str, v => Value::String(v.to_owned());
    String, v => Value::String(v);
    Array, v => Value::Array(v);
    Vec<String>, v => Value::Array(Array::String(v));
    Vec<i32>, v => Value::Array(Array::I32(v));
    Vec<u32>, v => Value::Array(Array::U32(v));
    Vec<f32>, v => Value::Array(Array::F32(v));
    Vec<bool>, v => Value::Array(Array::Bool(v));
}
