//! The key-value part of a file, with typed getters.

use std::collections::BTreeMap;

use super::error::MetadataError;
use super::value::{Array, FromValue, Value};

/// Metadata of a model, by key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    values: BTreeMap<String, Value>,
}

impl Metadata {
    /// The value as it is in the file.
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }

    /// All keys and values, in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.values.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// True without keys.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The value of a key that must be there.
    pub fn get<'a, T: FromValue<'a>>(&'a self, key: &str) -> Result<T, MetadataError> {
        self.find(key)?.ok_or_else(|| MetadataError::Missing { key: key.to_owned(), wanted: T::WANTED })
    }

    /// The value of a key that may be absent; one that is there must be of the right type.
    pub fn find<'a, T: FromValue<'a>>(&'a self, key: &str) -> Result<Option<T>, MetadataError> {
        self.value(key).map(|value| T::from_value(key, value)).transpose()
    }

    /// An integer of any width that fits a u32.
    pub fn get_u32(&self, key: &str) -> Result<u32, MetadataError> {
        self.get(key)
    }

    /// An f32 or f64.
    pub fn get_f32(&self, key: &str) -> Result<f32, MetadataError> {
        self.get(key)
    }

    /// A boolean.
    pub fn get_bool(&self, key: &str) -> Result<bool, MetadataError> {
        self.get(key)
    }

    /// A string.
    pub fn get_str(&self, key: &str) -> Result<&str, MetadataError> {
        self.get(key)
    }

    /// An array of any type.
    pub fn get_array(&self, key: &str) -> Result<&Array, MetadataError> {
        self.get(key)
    }

    /// Adds a value; false, and nothing changes, if the key is taken.
    pub(super) fn insert(&mut self, key: String, value: Value) -> bool {
        match self.values.entry(key) {
            std::collections::btree_map::Entry::Occupied(_) => false,
            std::collections::btree_map::Entry::Vacant(slot) => {
                slot.insert(value);
                true
            }
        }
    }
}

impl<K: Into<String>, V: Into<Value>> FromIterator<(K, V)> for Metadata {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Metadata {
        Metadata { values: entries.into_iter().map(|(key, value)| (key.into(), value.into())).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_of_any_width_are_taken_if_they_fit() {
        let m = Metadata::from_iter([
            ("a", Value::U16(7)),
            ("b", Value::I64(-1)),
            ("c", Value::U64(1 << 40)),
            ("d", Value::String("x".into())),
        ]);
        assert_eq!(m.get_u32("a"), Ok(7));
        assert!(matches!(m.get_u32("b"), Err(MetadataError::Range { .. })));
        assert_eq!(m.get::<i32>("b"), Ok(-1));
        assert!(matches!(m.get_u32("c"), Err(MetadataError::Range { .. })));
        assert_eq!(m.get_u32("d").unwrap_err().to_string(), "key `d` holds a string, and a u32 is wanted");
        assert_eq!(m.get_u32("e").unwrap_err().to_string(), "key `e` is missing (a u32 wanted)");
    }

    #[test]
    fn an_optional_key_of_the_wrong_type_is_an_error_and_not_absent() {
        let m = Metadata::from_iter([("a", true)]);
        assert_eq!(m.find::<u32>("b"), Ok(None));
        assert!(m.find::<u32>("a").is_err());
    }
}
