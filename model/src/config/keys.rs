//! Keys under an architecture's prefix, with bounds.

use std::fmt::Display;
use std::ops::RangeInclusive;

use super::ConfigError;
use crate::gguf::{FromValue, Metadata};

pub(super) struct Keys<'a> {
    metadata: &'a Metadata,
    prefix: &'static str,
}

impl<'a> Keys<'a> {
    pub(super) fn new(metadata: &'a Metadata, prefix: &'static str) -> Keys<'a> {
        Keys { metadata, prefix }
    }

    pub(super) fn metadata(&self) -> &'a Metadata {
        self.metadata
    }

    fn full(&self, key: &str) -> String {
        format!("{}.{key}", self.prefix)
    }

    pub(super) fn find<T: FromValue<'a>>(&self, key: &str) -> Result<Option<T>, ConfigError> {
        Ok(self.metadata.find(&self.full(key))?)
    }

    pub(super) fn count(&self, key: &str, range: RangeInclusive<usize>) -> Result<usize, ConfigError> {
        let n = self.metadata.get_u32(&self.full(key))? as usize;
        self.within(key, n, range)
    }

    pub(super) fn find_count(&self, key: &str, range: RangeInclusive<usize>) -> Result<Option<usize>, ConfigError> {
        self.find::<u32>(key)?.map(|n| self.within(key, n as usize, range)).transpose()
    }

    pub(super) fn float(&self, key: &str, range: RangeInclusive<f32>) -> Result<f32, ConfigError> {
        let x = self.metadata.get_f32(&self.full(key))?;
        self.within(key, x, range)
    }

    fn within<T: PartialOrd + Display>(&self, key: &str, n: T, range: RangeInclusive<T>) -> Result<T, ConfigError> {
        // A NaN is in no range.
        if range.contains(&n) {
            return Ok(n);
        }
        let (min, max) = (range.start().to_string(), range.end().to_string());
        Err(ConfigError::Range { key: self.full(key), value: n.to_string(), min, max })
    }

    pub(super) fn wrong(&self, key: &str, value: impl ToString, why: String) -> ConfigError {
        ConfigError::Value { key: self.full(key), value: value.to_string(), why }
    }
}
