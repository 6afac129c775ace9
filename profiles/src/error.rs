//! What can be wrong with a profile, and where.

use std::fmt;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::fit::Mismatch;
use crate::glob::PatternError;
use crate::range::RangeError;

/// Anything that reading, writing or finding a profile can meet.
#[derive(Debug, Error)]
pub enum Error {
    /// The file could not be read.
    #[error("{}: can't read this profile", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is larger than any profile has a reason to be.
    #[error("{}: larger than {} MiB, which no profile is", path.display(), limit >> 20)]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The file is no valid profile.
    #[error(transparent)]
    Invalid(#[from] Box<Invalid>),
    /// The file holds the profile of another machine or model, and the caller did not say to overwrite it.
    #[error("{}: this profile was made elsewhere ({}); it is kept unless told to overwrite it", path.display(), list(mismatches))]
    MadeElsewhere {
        /// The file.
        path: PathBuf,
        /// How it differs from what was to be written.
        mismatches: Vec<Mismatch>,
    },
    /// The file could not be written; what was there before is untouched.
    #[error("{}: can't write this profile", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No preset has this name.
    #[error("no preset is named {name:?}{}", did_you_mean(suggestion.as_deref()))]
    UnknownPreset {
        /// The name asked for.
        name: String,
        /// The nearest name that exists.
        suggestion: Option<String>,
    },
}

/// A fault in a profile's text, at its place: `my.toml:12:9: choice[2].phase: …`.
#[derive(Clone, Debug, PartialEq, Error)]
#[error("{}:{line}:{column}: {}{fault}", origin.display(), key_prefix(key))]
pub struct Invalid {
    /// The file, or what stands for it (a preset's name).
    pub origin: PathBuf,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The key as a path, `choice[2].phase` (choices count from 1); empty for the file as a whole.
    pub key: String,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong with a profile's text.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum Fault {
    /// Not TOML.
    #[error("{0}")]
    Syntax(String),
    /// The file's bytes are not UTF-8.
    #[error("not UTF-8 text")]
    NotUtf8,
    /// A key that the schema lacks.
    #[error("unknown key{}", hint(*suggestion, known))]
    UnknownKey {
        /// The nearest key that exists there.
        suggestion: Option<&'static str>,
        /// All that exist there.
        known: &'static [&'static str],
    },
    /// A key that must be there is not.
    #[error("missing key `{0}`")]
    MissingKey(&'static str),
    /// A value of another type.
    #[error("expected {expected}, found {found}")]
    WrongType {
        /// What the key takes.
        expected: &'static str,
        /// The type that was there.
        found: &'static str,
    },
    /// A number outside of what the key can mean.
    #[error("{found} is out of range: expected {expected}")]
    OutOfRange {
        /// The number.
        found: String,
        /// The numbers that are allowed.
        expected: String,
    },
    /// A name outside of a closed list.
    #[error("unknown {what} {found:?}{}", hint(*suggestion, known))]
    UnknownName {
        /// What it should name: `phase`, `backend`.
        what: &'static str,
        /// The name.
        found: String,
        /// The nearest one that exists.
        suggestion: Option<&'static str>,
        /// All that exist.
        known: &'static [&'static str],
    },
    /// A name with characters that names don't have, or none at all.
    #[error("{0:?} is no name: expected 1 to 64 letters, digits and `_ . : + -`")]
    BadName(String),
    /// Free text that is too long or would disturb a terminal.
    #[error("{0:?} is no plain text: expected 1 to 256 characters and no control characters")]
    BadText(String),
    /// A bad size range.
    #[error(transparent)]
    Range(#[from] RangeError),
    /// A bad node pattern.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// A file of another format version.
    #[error("schema {found} is not supported; this version of Deltascope reads schema {}", crate::SCHEMA)]
    UnsupportedSchema {
        /// The version that the file declares.
        found: i64,
    },
    /// Two placements of the same nodes: the second would never hold.
    #[error("the same nodes as the place in line {first_line}, which holds")]
    DuplicatePlace {
        /// Where the first one stands.
        first_line: usize,
    },
    /// Two choices with the same rule: one of them would never hold.
    #[error("the same rule as the choice in line {first_line}")]
    DuplicateChoice {
        /// Where the first one stands.
        first_line: usize,
    },
}

fn key_prefix(key: &str) -> String {
    if key.is_empty() { String::new() } else { format!("{}: ", key.escape_debug()) }
}

fn did_you_mean(suggestion: Option<&str>) -> String {
    suggestion.map_or_else(String::new, |name| format!(", did you mean {name:?}?"))
}

fn hint(suggestion: Option<&str>, known: &[&str]) -> String {
    match suggestion {
        Some(_) => did_you_mean(suggestion),
        None => format!(", expected one of {}", known.join(", ")),
    }
}

fn list(items: &[impl fmt::Display]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// The name of `known` that `name` is most likely a misspelling of.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A third of the letters wrong is still a slip; more is another word. The length is cut first, since the distance
    // costs the product of both lengths and `name` comes from outside.
    const LONGEST: usize = 64;
    if name.len() > LONGEST {
        return None;
    }
    let allowed = (name.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|candidate| (strsim::osa_distance(&name.to_lowercase(), candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn only_slips_get_a_suggestion() {
        let known = ["decode", "prefill"];
        assert_eq!(nearest("decoed", known), Some("decode"));
        assert_eq!(nearest("Prefil", known), Some("prefill"));
        assert_eq!(nearest("training", known), None);
        assert_eq!(nearest(&"decode".repeat(1000), known), None);
    }
}
