//! The bytes of a file: mapped, so that opening a 45 GB model costs nothing and its pages are shared.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use memmap2::{Mmap, MmapMut};

/// A file's bytes and the name that errors give it.
#[derive(Debug)]
pub(super) struct Source {
    name: PathBuf,
    bytes: Option<Mmap>,
}

impl Source {
    pub(super) fn map(path: &Path) -> io::Result<Source> {
        let file = File::open(path)?;
        // An empty file cannot be mapped everywhere.
        if file.metadata()?.len() == 0 {
            return Ok(Source { name: path.to_owned(), bytes: None });
        }
        // Another process that writes or truncates the file while it is mapped can change what we read or end us by
        // SIGBUS; no checked length depends on bytes read twice, and all engines that map weights accept this.
        // SAFETY: the mapping is private, and only read as `&[u8]`, for which every bit pattern is valid.
        let map = unsafe { Mmap::map(&file)? };
        Ok(Source { name: path.to_owned(), bytes: Some(map) })
    }

    /// Copies `bytes` to pages of their own, so that tensors are aligned as in a mapped file, whatever `bytes` are.
    pub(super) fn copy(name: &str, bytes: &[u8]) -> io::Result<Source> {
        if bytes.is_empty() {
            return Ok(Source { name: name.into(), bytes: None });
        }
        let mut map = MmapMut::map_anon(bytes.len())?;
        map.copy_from_slice(bytes);
        Ok(Source { name: name.into(), bytes: Some(map.make_read_only()?) })
    }

    pub(super) fn name(&self) -> &Path {
        &self.name
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.as_deref().unwrap_or_default()
    }
}
