//! Every measurement, a JSON line each, appended as it is made.
//!
//! A file that was cut in the middle of a line (a crash, a full disk) is read up to there and written on after it. What
//! is in the journal is not measured again: an entry is found by its [`Key`], which holds all that a time depends on.

use crate::TuneError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// What profiles can tell apart between nodes of an op.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Shape {
    /// Elements of the result.
    pub elements: Option<u64>,
    /// Tokens of the run.
    pub tokens: u64,
    /// Rows of the weight, or of the first input.
    pub rows: Option<u64>,
    /// Columns of the same.
    pub cols: Option<u64>,
    /// Type of the weight, for ops that have one.
    pub dtype: Option<String>,
}

/// All that a time depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Key {
    /// Version of the engine.
    pub engine: String,
    /// CPU, instruction set and cores.
    pub machine: String,
    /// Fingerprint of the model's shapes and types.
    pub model: String,
    /// Workers of the run.
    pub threads: usize,
    /// Tokens in the KV cache, rounded up as plans round them.
    pub context: usize,
    /// `decode` or `prefill`.
    pub phase: String,
    /// The op.
    pub op: String,
    /// Of its nodes.
    pub shape: Shape,
    /// What it was measured against, with tunables.
    pub baseline: String,
    /// The variant.
    pub variant: String,
    /// Its revision.
    pub revision: u32,
    /// Its tunables.
    pub tunables: BTreeMap<String, i64>,
}

/// What happened to a candidate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Entry {
    /// One turn between two of the baseline.
    Measured {
        /// Times of a node, microseconds.
        samples_us: Vec<f64>,
        /// Their median over the baseline's around them.
        ratio: f64,
    },
    /// It may not be measured: not legal here, or wrong.
    Refused {
        /// Why.
        reason: String,
    },
    /// It was measured and left the race.
    Dropped {
        /// Why.
        reason: String,
    },
    /// What was made of it in the end.
    Decided {
        /// `won`, or `tied: default kept`.
        verdict: String,
        /// Whether whole runs confirmed it; absent if they were not asked.
        confirmed: Option<bool>,
    },
}

/// A line of the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Seconds since 1970.
    pub at: u64,
    /// Of what.
    pub key: Key,
    /// What happened.
    #[serde(flatten)]
    pub entry: Entry,
}

/// An append-only file of measurements.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    lines: Vec<Line>,
    unreadable: usize,
}

impl Journal {
    /// Opens or creates a journal and reads what is there.
    ///
    /// # Errors
    /// If the file cannot be read or written. Lines that are none of ours are skipped and counted.
    pub fn open(path: impl AsRef<Path>) -> Result<Journal, TuneError> {
        let path = path.as_ref().to_owned();
        let fail = |source| TuneError::Journal { path: path.clone(), source };
        let mut file = File::options().read(true).append(true).create(true).open(&path).map_err(fail)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(fail)?;
        let (mut lines, mut unreadable) = (Vec::new(), 0);
        for text in bytes.split(|&b| b == b'\n').filter(|t| !t.is_empty()) {
            match serde_json::from_slice(text) {
                Ok(line) => lines.push(line),
                Err(_) => unreadable += 1,
            }
        }
        if bytes.last().is_some_and(|&b| b != b'\n') {
            // The half line stays by itself; ours begin on their own.
            file.write_all(b"\n").map_err(fail)?;
        }
        Ok(Journal { path, file, lines, unreadable })
    }

    /// Appends an entry; it is in the file when this returns.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn append(&mut self, key: &Key, entry: Entry) -> Result<(), TuneError> {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let line = Line { at, key: key.clone(), entry };
        let fail = |source| TuneError::Journal { path: self.path.clone(), source };
        let mut text = serde_json::to_vec(&line).map_err(|e| fail(e.into()))?;
        text.push(b'\n');
        self.file.write_all(&text).map_err(fail)?;
        self.lines.push(line);
        Ok(())
    }

    /// Everything, in the order of the file.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// What is known of one key, the oldest first.
    pub fn history<'a>(&'a self, key: &'a Key) -> impl Iterator<Item = &'a Entry> {
        self.lines.iter().filter(move |l| l.key == *key).map(|l| &l.entry)
    }

    /// Lines that could not be read when it was opened.
    pub fn unreadable(&self) -> usize {
        self.unreadable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(variant: &str) -> Key {
        Key {
            engine: "0.1.0".into(),
            machine: "m".into(),
            model: "f".into(),
            threads: 2,
            context: 256,
            phase: "decode".into(),
            op: "scale".into(),
            shape: Shape { elements: Some(64), tokens: 1, ..Shape::default() },
            baseline: "serial".into(),
            variant: variant.into(),
            revision: 1,
            tunables: [("block".to_owned(), 1024)].into(),
        }
    }

    #[test]
    fn every_entry_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        let entries = [
            Entry::Measured { samples_us: vec![1.5, 2.25], ratio: 0.5 },
            Entry::Refused { reason: "needs AVX-512".into() },
            Entry::Dropped { reason: "2.00x slower".into() },
            Entry::Decided { verdict: "won".into(), confirmed: Some(true) },
        ];
        let mut j = Journal::open(&path).unwrap();
        for e in &entries {
            j.append(&key("blocked"), e.clone()).unwrap();
        }
        j.append(&key("rows"), entries[1].clone()).unwrap();
        let again = Journal::open(&path).unwrap();
        assert_eq!(again.history(&key("blocked")).cloned().collect::<Vec<_>>(), entries);
        assert_eq!((again.lines().len(), again.unreadable()), (5, 0));
    }

    #[test]
    fn cut_anywhere_it_reads_what_is_whole_and_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        let entry = Entry::Measured { samples_us: vec![1.0], ratio: 1.0 };
        let mut j = Journal::open(&path).unwrap();
        for _ in 0..2 {
            j.append(&key("blocked"), entry.clone()).unwrap();
        }
        let whole = std::fs::read(&path).unwrap();
        let first = whole.iter().position(|&b| b == b'\n').unwrap() + 1;
        for cut in [first + 1, first + 40, whole.len() - 2] {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let mut j = Journal::open(&path).unwrap();
            assert_eq!((j.lines().len(), j.unreadable()), (1, 1), "cut at {cut}");
            j.append(&key("rows"), entry.clone()).unwrap();
            let j = Journal::open(&path).unwrap();
            assert_eq!((j.lines().len(), j.unreadable()), (2, 1), "cut at {cut}");
        }
    }

    #[test]
    fn a_folder_is_no_journal() {
        let dir = tempfile::tempdir().unwrap();
        let e = Journal::open(dir.path()).unwrap_err();
        assert!(matches!(e, TuneError::Journal { .. }));
    }
}
