//! The profile file: schema, validation, layers, diff and export.
//!
//! A [`Profile`] is a TOML file of choices. Each [`Choice`] says which variant of an op to run where its [`Rule`] holds,
//! and what measurement justifies it. `example.toml` in this crate's folder shows every key with its meaning.
//!
//! ```
//! use deltascope_profiles::{Backend, Phase, Query, parse};
//! use std::path::Path;
//!
//! let text = r#"
//!     schema = 1
//!     [[choice]]
//!     op = "scale"
//!     phase = "decode"
//!     elements = "65536.."
//!     variant = "blocked"
//!     tunables = { block = 1024 }
//! "#;
//! let profile = parse(text, Path::new("my.toml"))?;
//!
//! let mut query = Query::new("scale", Backend::Cpu, Phase::Decode);
//! query.elements = Some(548_864);
//! assert_eq!(profile.lookup(&query).unwrap().to_string(), "blocked block=1024");
//! query.elements = Some(4096);
//! assert!(profile.lookup(&query).is_none(), "outside of the tuned range the default stands");
//! # Ok::<(), deltascope_profiles::Error>(())
//! ```
//!
//! The crate knows no op, variant or model: names are strings here, and whoever loads a profile says what it does not
//! know. Files are untrusted; [`parse`] gives an error with line, column and key, and never panics.

mod choice;
mod diff;
mod edit;
mod encode;
mod error;
mod export;
mod fit;
mod glob;
mod layers;
mod lookup;
mod machine;
mod merge;
mod parse;
mod place;
mod presets;
mod profile;
mod range;
mod reader;
mod save;

pub use choice::{Backend, Choice, Measured, Phase, Rule, TunableValue, UnknownName};
pub use diff::{Change, diff};
pub use edit::update;
pub use error::{Error, Fault, Invalid};
pub use export::{to_json, to_markdown, to_toml};
pub use fit::{Mismatch, Scope};
pub use glob::{MAX_PATTERN, Pattern, PatternError};
pub use layers::{Found, Layer, Origin, Stack, read_user_profile, user_profile_path};
pub use lookup::{Query, Specificity};
pub use machine::{Gpu, Machine, ModelId};
pub use merge::Merged;
pub use parse::{MAX_BYTES, parse};
pub use place::{Placement, PlacementError};
pub use presets::{Preset, presets};
pub use profile::{Engine, Profile, SCHEMA, Threads};
pub use range::{RangeError, SizeRange};
pub use save::Existing;
