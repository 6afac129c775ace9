//! The deltascope program: commands and the terminal workbench.

pub mod cli;
pub mod commands;
pub mod report;
mod sample;
pub mod session;
pub mod tui;
