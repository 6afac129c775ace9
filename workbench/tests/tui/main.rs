//! The workbench's screen: drawn from made-up snapshots at the sizes that matter, and driven by key events over the
//! demo model.
#![allow(clippy::unwrap_used)]

mod keys;
mod live;
mod screens;
mod synthetic;
