//! The AMX instructions that `gemm_amx` is made of.
//!
//! Eight registers hold a tile each, rows of 64 bytes. A product takes a tile of columns, a row for each, and a tile of
//! weights as lines of `Tile` lie, four of each of sixteen rows in a line, and adds to a tile of i32: a row for each
//! column, in it the sixteen rows of weights. What shape the tiles have a thread says beforehand.
//!
//! The compiler has no names for these registers' contents: each function below leaves nothing in them that a later one
//! needs.

use std::arch::asm;

use super::panel::{lines_of, tail_of};
use super::tile::{CODES_32, CODES_256, Form};
use crate::quant::tile::Line;

/// Rows of a tile at most.
pub(super) const ROWS: usize = 16;
/// Bytes from a column to the next.
pub(super) const COLUMN: usize = 64 * lines_of(Form::Planes);

const _: () = assert!(COLUMN == 320 && tail_of(Form::Planes) == 256 && CODES_256 == 64 && CODES_32 == 8);

/// Four tiles of results: rows of sixteen i32.
#[repr(C, align(64))]
pub(super) struct Results(pub [[[i32; ROWS]; ROWS]; 4]);

/// What the instruction that shapes tiles reads.
#[repr(C, align(64))]
struct Shapes {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// Shapes this thread's tiles: 0 to 3 results of `columns` columns, 4 and 5 weights, 6 and 7 columns; `k` products in a
/// step.
///
/// # Safety
/// AMX. `columns` is 1 to 16, `k` a multiple of 4 and at most 64. [`release`] follows on this thread.
pub(super) unsafe fn shape(columns: usize, k: usize) {
    debug_assert!((1..=ROWS).contains(&columns) && k.is_multiple_of(4) && k <= 64);
    let mut shapes = Shapes { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
    for tile in 0..8 {
        let (rows, bytes) = match tile {
            0..4 => (columns, 64),
            4 | 5 => (k / 4, 64),
            _ => (columns, k),
        };
        (shapes.rows[tile], shapes.row_bytes[tile]) = (rows as u8, bytes as u16);
    }
    // SAFETY: AMX, by the caller's contract; the instruction reads 64 bytes.
    unsafe {
        asm!("ldtilecfg [{0}]", in(reg) &raw const shapes, options(nostack, readonly, preserves_flags));
    }
}

/// Gives this thread's tiles back, so that the system need not save them.
///
/// # Safety
/// AMX.
pub(super) unsafe fn release() {
    // SAFETY: AMX, by the caller's contract; nobody needs what the tiles hold.
    unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) }
}

/// A function that loads, multiplies and stores as told: `w` weights, `x` and `y` two groups of columns.
macro_rules! products {
    ($(#[$doc:meta])* $name:ident: $($line:literal)*) => {
        $(#[$doc])*
        #[inline(always)]
        pub(super) unsafe fn $name(w: *const Line, x: *const u8, y: *const u8, out: &mut Results) {
            // SAFETY: by the caller's contract the lines and the columns are readable; the results have room.
            unsafe {
                asm!(
                    $($line,)*
                    w = in(reg) w,
                    x = in(reg) x,
                    y = in(reg) y,
                    out = in(reg) out,
                    line = in(reg) 64usize,
                    column = in(reg) COLUMN,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack, preserves_flags),
                );
            }
        }
    };
}

products! {
    /// A chunk in planes times the columns at `x` and at `y`: lower bytes and upper bytes of those at `x`, of those at `y`.
    ///
    /// # Safety
    /// AMX, shaped for steps of 64; 128 lines at `w`; as many columns as shaped at `x` and at `y`.
    two_groups:
    "tilezero tmm0" "tilezero tmm1" "tilezero tmm2" "tilezero tmm3"
    ".irp step, 0, 1, 2, 3"
    "tileloadd tmm4, [{w} + {line} + 1024 * \\step]"
    "tileloadd tmm6, [{x} + {column} + 64 * \\step]"
    "tdpbsud tmm0, tmm6, tmm4"
    "tileloadd tmm5, [{w} + {line} + 4096 + 1024 * \\step]"
    "tdpbssd tmm1, tmm6, tmm5"
    "tileloadd tmm7, [{y} + {column} + 64 * \\step]"
    "tdpbsud tmm2, tmm7, tmm4"
    "tdpbssd tmm3, tmm7, tmm5"
    ".endr"
    "tilestored [{out} + {line}], tmm0"
    "tilestored [{out} + {line} + 1024], tmm1"
    "tilestored [{out} + {line} + 2048], tmm2"
    "tilestored [{out} + {line} + 3072], tmm3"
}

products! {
    /// A chunk in planes times the columns at `x`: lower bytes and upper bytes of the even steps, and of the odd ones, so
    /// that four sums are under way. Both `x` and `y` point to the columns.
    ///
    /// # Safety
    /// AMX, shaped for steps of 64; 128 lines at `w`; as many columns as shaped.
    one_group:
    "tilezero tmm0" "tilezero tmm1" "tilezero tmm2" "tilezero tmm3"
    ".irp step, 0, 2"
    "tileloadd tmm4, [{w} + {line} + 1024 * \\step]"
    "tileloadd tmm6, [{x} + {column} + 64 * \\step]"
    "tdpbsud tmm0, tmm6, tmm4"
    "tileloadd tmm5, [{w} + {line} + 4096 + 1024 * \\step]"
    "tdpbssd tmm1, tmm6, tmm5"
    "tileloadd tmm4, [{w} + {line} + 1024 + 1024 * \\step]"
    "tileloadd tmm7, [{y} + {column} + 64 + 64 * \\step]"
    "tdpbsud tmm2, tmm7, tmm4"
    "tileloadd tmm5, [{w} + {line} + 5120 + 1024 * \\step]"
    "tdpbssd tmm3, tmm7, tmm5"
    ".endr"
    "tilestored [{out} + {line}], tmm0"
    "tilestored [{out} + {line} + 1024], tmm1"
    "tilestored [{out} + {line} + 2048], tmm2"
    "tilestored [{out} + {line} + 3072], tmm3"
}

products! {
    /// A block of 32 times the columns at `x`, and times those at `y`.
    ///
    /// # Safety
    /// AMX, shaped for steps of 32; 8 lines at `w`; as many columns as shaped at `x` and at `y`.
    block_of_32:
    "tilezero tmm0" "tilezero tmm1"
    "tileloadd tmm4, [{w} + {line}]"
    "tileloadd tmm6, [{x} + {column}]"
    "tdpbssd tmm0, tmm6, tmm4"
    "tileloadd tmm7, [{y} + {column}]"
    "tdpbssd tmm1, tmm7, tmm4"
    "tilestored [{out} + {line}], tmm0"
    "tilestored [{out} + {line} + 1024], tmm1"
}
