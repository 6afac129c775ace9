//! The deltascope program: commands and the terminal workbench.
