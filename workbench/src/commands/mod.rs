//! The commands, one file each.

pub mod bench;
pub mod check;
pub mod doctor;
pub mod export;
mod loading;
pub mod logits;
pub mod perplexity;
pub mod profile;
pub mod run;
pub mod synth;
pub mod tune;
mod unserved;
pub mod workbench;

pub use loading::{DEMO_MODEL, DEMO_NAME, engine, engine_options, open_model, stack};
