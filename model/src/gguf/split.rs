//! Models in parts: `NAME-00001-of-00003.gguf` and its siblings.

use std::path::{Path, PathBuf};

use super::error::{Fault, GgufError};
use super::metadata::Metadata;

/// More parts than any model has; each costs a file handle while it is mapped.
const MAX_PARTS: u64 = 4096;

/// Which part a file says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// From 0.
    pub no: u64,
    pub count: u64,
}

impl Part {
    /// The part that the metadata names; a file without the keys is a model of one part.
    pub(super) fn of(metadata: &Metadata, file: &Path) -> Result<Part, GgufError> {
        let key = |key: &'static str, default: u64| match metadata.find::<u64>(key) {
            Ok(n) => Ok(n.unwrap_or(default)),
            Err(_) => Err(GgufError::new(file, None, Fault::SplitMismatch { key, wanted: default, found: 0 })),
        };
        let part = Part { no: key("split.no", 0)?, count: key("split.count", 1)?.max(1) };
        if part.count > MAX_PARTS {
            let fault = Fault::SplitMismatch { key: "split.count", wanted: MAX_PARTS, found: part.count };
            return Err(GgufError::new(file, None, fault));
        }
        Ok(part)
    }

    /// Paths of all parts, from the path of this one.
    pub(super) fn siblings(self, path: &Path) -> Result<Vec<PathBuf>, GgufError> {
        let wrong = || GgufError::new(path, None, Fault::SplitName { no: self.no + 1, count: self.count });
        let name = path.file_name().and_then(|n| n.to_str()).ok_or_else(wrong)?;
        let suffix = |no: u64| format!("-{:05}-of-{:05}.gguf", no + 1, self.count);
        let prefix = name.strip_suffix(&suffix(self.no)).ok_or_else(wrong)?;
        Ok((0..self.count).map(|no| path.with_file_name(format!("{prefix}{}", suffix(no)))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn siblings_are_found_by_name() {
        let part = Part { no: 0, count: 2 };
        let found = part.siblings(Path::new("d/m-00001-of-00002.gguf")).unwrap();
        assert_eq!(found, [Path::new("d/m-00001-of-00002.gguf"), Path::new("d/m-00002-of-00002.gguf")]);
        assert!(part.siblings(Path::new("d/m.gguf")).is_err());
        assert!(part.siblings(Path::new("d/m-00001-of-00003.gguf")).is_err());
    }
}
