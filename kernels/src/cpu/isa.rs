//! Which instructions the CPU at hand has, proved once and carried as a token.
//!
//! Kernels compiled with `#[target_feature]` are sound only on a CPU that has the features. A token can be had from
//! [`Isa::detect`] and [`Isa::available`] alone, so whoever holds one may call the kernels of its level.

use std::fmt;
use std::sync::OnceLock;

/// Proof of AVX2, FMA and F16C.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Avx2(());

/// Proof of AVX2, FMA, F16C and AVX-512 F, BW, DQ, VL and VNNI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Avx512Vnni(());

/// Proof of all that [`Avx512Vnni`] proves, of AMX with int8, and that the system lets this process use its tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Amx(());

/// An instruction-set level, in rising order. The quantised kernels give the same bits at each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Isa {
    /// Portable Rust.
    Scalar,
    /// AVX2 + FMA + F16C: Haswell, Zen and later.
    Avx2(Avx2),
    /// AVX-512 with VNNI: Ice Lake, Zen 4 and later.
    Avx512Vnni(Avx512Vnni),
    /// The same and AMX int8: Sapphire Rapids and later.
    Amx(Amx),
}

/// Environment variable that caps [`Isa::detect`]: `scalar`, `avx2`, `avx512` or `amx`.
pub const ISA_VARIABLE: &str = "DELTASCOPE_ISA";

impl Isa {
    /// The best level of this CPU, capped by [`ISA_VARIABLE`]. An unknown value of the variable caps nothing.
    pub fn detect() -> Isa {
        static DETECTED: OnceLock<Isa> = OnceLock::new();
        *DETECTED.get_or_init(|| {
            let cap = std::env::var(ISA_VARIABLE).ok();
            best_under(Self::available(), cap.as_deref())
        })
    }

    /// Every level that this CPU has, in rising order, whatever the environment says.
    pub fn available() -> &'static [Isa] {
        static AVAILABLE: OnceLock<Vec<Isa>> = OnceLock::new();
        AVAILABLE.get_or_init(|| {
            [Some(Isa::Scalar), avx2().map(Isa::Avx2), avx512_vnni().map(Isa::Avx512Vnni), amx().map(Isa::Amx)]
                .into_iter()
                .flatten()
                .collect()
        })
    }

    /// The AVX2 token, if this level includes AVX2.
    pub const fn avx2(self) -> Option<Avx2> {
        match self {
            Isa::Scalar => None,
            Isa::Avx2(token) => Some(token),
            Isa::Avx512Vnni(_) | Isa::Amx(_) => Some(Avx2(())),
        }
    }

    /// The AVX-512 token, if this level includes AVX-512 with VNNI.
    pub const fn avx512_vnni(self) -> Option<Avx512Vnni> {
        match self {
            Isa::Avx512Vnni(token) => Some(token),
            Isa::Amx(_) => Some(Avx512Vnni(())),
            Isa::Scalar | Isa::Avx2(_) => None,
        }
    }

    /// The AMX token, if this level includes AMX.
    pub const fn amx(self) -> Option<Amx> {
        match self {
            Isa::Amx(token) => Some(token),
            Isa::Scalar | Isa::Avx2(_) | Isa::Avx512Vnni(_) => None,
        }
    }

    /// This level, or the one below if it is AMX.
    pub const fn without_amx(self) -> Isa {
        match self {
            Isa::Amx(_) => Isa::Avx512Vnni(Avx512Vnni(())),
            other => other,
        }
    }

    /// The name that [`ISA_VARIABLE`] takes for this level.
    pub const fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            Isa::Avx2(_) => "avx2",
            Isa::Avx512Vnni(_) => "avx512",
            Isa::Amx(_) => "amx",
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

fn best_under(available: &[Isa], cap: Option<&str>) -> Isa {
    const ORDER: [&str; 4] = ["scalar", "avx2", "avx512", "amx"];
    let rank = |name: &str| ORDER.iter().position(|known| known.eq_ignore_ascii_case(name));
    let cap = cap.and_then(rank).unwrap_or(ORDER.len());
    available.iter().copied().rfind(|isa| rank(isa.name()).is_some_and(|level| level <= cap)).unwrap_or(Isa::Scalar)
}

#[cfg(target_arch = "x86_64")]
fn avx2() -> Option<Avx2> {
    let has = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c");
    has.then_some(Avx2(()))
}

#[cfg(target_arch = "x86_64")]
fn avx512_vnni() -> Option<Avx512Vnni> {
    let has = avx2().is_some()
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vnni");
    has.then_some(Avx512Vnni(()))
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn amx() -> Option<Amx> {
    /// `ARCH_REQ_XCOMP_PERM` of Linux: asks for a part of the register state that is not given unasked.
    const REQUEST: libc::c_long = 0x1023;
    /// The tiles.
    const TILE_DATA: libc::c_long = 18;
    avx512_vnni()?;
    let leaf = std::arch::x86_64::__cpuid_count(7, 0);
    let (tiles, int8) = (leaf.edx >> 24 & 1, leaf.edx >> 25 & 1);
    // The system refuses if it does not know tiles, or a signal's stack has no room for them.
    // SAFETY: the call changes what registers this process may use, and nothing else.
    let allowed = tiles & int8 == 1 && unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST, TILE_DATA) } == 0;
    allowed.then_some(Amx(()))
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
fn amx() -> Option<Amx> {
    None
}

#[cfg(not(target_arch = "x86_64"))]
fn avx2() -> Option<Avx2> {
    None
}

#[cfg(not(target_arch = "x86_64"))]
fn avx512_vnni() -> Option<Avx512Vnni> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cap_lowers_and_never_raises() {
        let all = [Isa::Scalar, Isa::Avx2(Avx2(())), Isa::Avx512Vnni(Avx512Vnni(())), Isa::Amx(Amx(()))];
        assert_eq!(best_under(&all, None).name(), "amx");
        assert_eq!(best_under(&all, Some("avx512")), Isa::Amx(Amx(())).without_amx());
        assert_eq!(best_under(&all, Some("AVX2")).name(), "avx2");
        assert_eq!(best_under(&all, Some("scalar")).name(), "scalar");
        assert_eq!(best_under(&all[..1], Some("avx512")).name(), "scalar");
        assert_eq!(best_under(&all, Some("neon")).name(), "amx");
    }

    #[test]
    fn a_level_includes_those_below() {
        for &isa in Isa::available() {
            assert!(isa.avx2().is_some() || isa == Isa::Scalar);
            assert!(isa.avx512_vnni().is_none() || isa.avx2().is_some());
            assert!(isa.amx().is_none() || isa.avx512_vnni().is_some());
        }
        assert_eq!(Isa::available()[0], Isa::Scalar);
    }
}
