//! Tables for people and for programs: one table, five ways to print it.

mod ops;
mod table;

pub use ops::op_table;
pub use table::{Cell, Table, print, render};
