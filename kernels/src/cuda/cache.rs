//! Compiled kernels on disk: `$XDG_CACHE_HOME/deltascope/cubin`, a file a kernel.
//!
//! A file holds the whole key (compiler, options, source) before the cubin, so that a name that two keys share gives a
//! miss and not another kernel, and a checksum, so that a damaged file is compiled again. Writing is by rename. Nothing
//! here fails: without a cache every kernel is compiled.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

const MAGIC: &[u8; 8] = b"DSCUBIN1";
/// Magic, checksum, length of the key, length of the cubin.
const HEAD: usize = 32;

/// A folder of cubins.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: Option<PathBuf>,
}

impl Cache {
    /// In the user's cache folder; none if the environment names no home.
    pub fn of_user() -> Cache {
        let set = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let base = set("XDG_CACHE_HOME").filter(|p| p.is_absolute()).or_else(|| Some(set("HOME")?.join(".cache")));
        Cache { folder: base.map(|b| b.join("deltascope").join("cubin")) }
    }

    /// In this folder, which is made at the first write.
    pub fn at(folder: impl Into<PathBuf>) -> Cache {
        Cache { folder: Some(folder.into()) }
    }

    /// Keeps nothing.
    pub const fn none() -> Cache {
        Cache { folder: None }
    }

    fn path(&self, key: &[u8]) -> Option<PathBuf> {
        Some(self.folder.as_ref()?.join(format!("{:032x}.cubin", fnv128(&[key]))))
    }

    /// The cubin of a key, if it is there and whole.
    pub fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        let file = std::fs::read(self.path(key)?).ok()?;
        let word = |at: usize| Some(u64::from_le_bytes(file.get(at..at + 8)?.try_into().ok()?));
        let (sum, key_len, cubin_len) = (word(8)?, word(16)?, word(24)?);
        let whole = file.starts_with(MAGIC)
            && key_len == key.len() as u64
            && key_len.checked_add(cubin_len)?.checked_add(HEAD as u64)? == file.len() as u64;
        if !whole {
            return None;
        }
        let (stored, cubin) = file[HEAD..].split_at(key.len());
        (stored == key && sum == fnv128(&[key, cubin]) as u64).then(|| cubin.to_vec())
    }

    /// Keeps a cubin, if that can be done.
    pub fn put(&self, key: &[u8], cubin: &[u8]) {
        static TURN: AtomicU32 = AtomicU32::new(0);
        let Some(path) = self.path(key) else { return };
        let Some(folder) = path.parent() else { return };
        let turn = TURN.fetch_add(1, Ordering::Relaxed);
        let part = folder.join(format!(".{}-{turn}.part", std::process::id()));
        let sum = fnv128(&[key, cubin]) as u64;
        let mut file = Vec::with_capacity(HEAD + key.len() + cubin.len());
        file.extend_from_slice(MAGIC);
        for word in [sum, key.len() as u64, cubin.len() as u64] {
            file.extend_from_slice(&word.to_le_bytes());
        }
        file.extend_from_slice(key);
        file.extend_from_slice(cubin);
        let written = std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(&part, &file))
            .and_then(|()| std::fs::rename(&part, &path));
        if written.is_err() {
            // A full disk or a read-only home costs compile time, nothing else.
            let _ = std::fs::remove_file(&part);
        }
    }
}

/// Fowler, Noll and Vo's hash 1a in 128 bits.
fn fnv128(parts: &[&[u8]]) -> u128 {
    let mut h: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    for byte in parts.iter().copied().flatten() {
        h = (h ^ u128::from(*byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
    }
    h
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_and_foreign_files_are_misses() {
        let folder = std::env::temp_dir().join(format!("deltascope-cubin-{}", std::process::id()));
        let cache = Cache::at(&folder);
        assert_eq!(cache.get(b"key"), None);
        cache.put(b"key", b"cubin");
        assert_eq!(cache.get(b"key").as_deref(), Some(&b"cubin"[..]));
        assert_eq!(cache.get(b"other"), None);
        let path = cache.path(b"key").unwrap();
        let whole = std::fs::read(&path).unwrap();
        for at in [0, 9, 17, 25, HEAD, HEAD + 4] {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            std::fs::write(&path, damaged).unwrap();
            assert_eq!(cache.get(b"key"), None, "byte {at}");
        }
        std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert_eq!(cache.get(b"key"), None);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn without_a_folder_nothing_is_kept() {
        Cache::none().put(b"key", b"cubin");
        assert_eq!(Cache::none().get(b"key"), None);
    }
}
