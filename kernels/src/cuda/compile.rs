//! From a kernel's source and macros to a cubin.

use super::{Cache, CudaError, Nvrtc, Unit};

/// What every kernel sees before its own source.
const PRELUDE: &str = include_str!("prelude.cuh");

/// A compiler for one architecture, with its cache.
pub struct Compiler {
    nvrtc: &'static Nvrtc,
    /// `sm_90`.
    arch: String,
    cache: Cache,
}

/// A compiled unit.
pub struct Compiled {
    /// The machine code.
    pub cubin: Vec<u8>,
    /// Warnings, and what the assembler says of registers, spills and shared memory; empty if it came from the cache.
    pub log: String,
}

impl Compiler {
    /// For a compute capability.
    ///
    /// # Errors
    /// If there is no NVRTC, or it does not know the architecture.
    pub fn new(capability: (i32, i32), cache: Cache) -> Result<Compiler, CudaError> {
        let nvrtc = Nvrtc::load()?;
        Ok(Compiler { nvrtc, arch: nvrtc.arch_for(capability)?, cache })
    }

    /// Compiles, or takes from the cache.
    ///
    /// # Errors
    /// If it does not compile.
    pub fn compile(&self, unit: &Unit) -> Result<Compiled, CudaError> {
        let mut options = vec![format!("--gpu-architecture={}", self.arch), "--std=c++17".into()];
        options.push("--ptxas-options=-v".into());
        options.extend(unit.macros.iter().map(|(name, value)| format!("-D{name}={value}")));
        let source = format!("{PRELUDE}\n{}", unit.sources.concat());
        let key = format!("nvrtc {}\n{}\n{source}", self.nvrtc.version_text(), options.join("\n"));
        if let Some(cubin) = self.cache.get(key.as_bytes()) {
            return Ok(Compiled { cubin, log: String::new() });
        }
        let (cubin, log) = self.nvrtc.compile(unit.name, &source, &options)?;
        self.cache.put(key.as_bytes(), &cubin);
        Ok(Compiled { cubin, log })
    }

    /// `sm_90`.
    pub fn arch(&self) -> &str {
        &self.arch
    }
}
