//! The deltascope program: commands and the terminal workbench.

pub mod session;
pub mod tui;
