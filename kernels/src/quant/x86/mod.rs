//! The vector kernels for x86-64.
//!
//! Helpers are `#[inline(always)]` without features of their own and take the features of the entry point that they
//! end up in; each entry point is an `unsafe fn` with `#[target_feature]` behind a safe function that asks for a token.

pub(super) mod activation;
mod amx;
pub(super) mod dot;
mod formats256;
mod formats32;
pub(super) mod gemm;
pub(super) mod gemm_amx;
mod gemm_avx2;
mod gemm_avx512;
mod gemm_pairs;
pub(super) mod gemv;
mod integer;
mod lanes;
mod octets256;
mod octets32;
pub(super) mod panel;
pub(super) mod plain;
pub(super) mod tile;
