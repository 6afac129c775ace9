//! The deltascope program: commands and the terminal workbench.

pub mod cli;
pub mod commands;
pub mod report;
pub mod session;
pub mod tui;
