//! Tables for people and for programs: one table, five ways to print it.

mod ops;
mod sides;
mod table;
mod timeline;

pub use ops::op_table;
pub use sides::side_table;
pub use table::{Cell, Table, print, render};
pub use timeline::timeline_table;
