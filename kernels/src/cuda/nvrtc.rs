//! NVIDIA's run-time compiler, loaded at run time. It needs no GPU.

use super::CudaError;
use libloading::Library;
use std::ffi::{CStr, CString, c_char, c_int};
use std::path::PathBuf;
use std::sync::OnceLock;

type Program = *mut std::ffi::c_void;

/// The loaded compiler.
pub struct Nvrtc {
    /// Major and minor version.
    pub version: (i32, i32),
    /// Architectures that it compiles for, as 75, 80, 90.
    pub archs: Vec<i32>,
    calls: Calls,
    /// Keeps the functions' code in memory.
    _library: Library,
}

/// Its functions.
struct Calls {
    create: unsafe extern "C" fn(
        *mut Program,
        *const c_char,
        *const c_char,
        c_int,
        *const *const c_char,
        *const *const c_char,
    ) -> c_int,
    compile: unsafe extern "C" fn(Program, c_int, *const *const c_char) -> c_int,
    log_size: unsafe extern "C" fn(Program, *mut usize) -> c_int,
    log: unsafe extern "C" fn(Program, *mut c_char) -> c_int,
    cubin_size: unsafe extern "C" fn(Program, *mut usize) -> c_int,
    cubin: unsafe extern "C" fn(Program, *mut c_char) -> c_int,
    destroy: unsafe extern "C" fn(*mut Program) -> c_int,
}

/// Where the library is looked for: `DELTASCOPE_NVRTC` alone if it is set, else by the names that toolkits give it, and
/// in their usual folders.
fn candidates() -> Vec<PathBuf> {
    if let Some(path) = std::env::var_os("DELTASCOPE_NVRTC") {
        return vec![path.into()];
    }
    let names = if cfg!(windows) {
        &["nvrtc64_130_0.dll", "nvrtc64_120_0.dll"][..]
    } else {
        &["libnvrtc.so", "libnvrtc.so.13", "libnvrtc.so.12"][..]
    };
    let folders = ["", "/usr/local/cuda/lib64", "/opt/cuda/lib64"];
    folders.iter().flat_map(|f| names.iter().map(move |n| PathBuf::from(f).join(n))).collect()
}

fn check(code: c_int, what: &'static str) -> Result<(), CudaError> {
    if code == 0 { Ok(()) } else { Err(CudaError::Nvrtc { what, code }) }
}

impl Nvrtc {
    /// Loads the compiler, once for the process.
    ///
    /// # Errors
    /// If no library can be loaded, or one that lacks what we call.
    pub fn load() -> Result<&'static Nvrtc, CudaError> {
        static LOADED: OnceLock<Result<Nvrtc, CudaError>> = OnceLock::new();
        LOADED.get_or_init(|| Nvrtc::first_of(&candidates())).as_ref().map_err(Clone::clone)
    }

    /// The first of these libraries that loads.
    pub(super) fn first_of(paths: &[PathBuf]) -> Result<Nvrtc, CudaError> {
        let found = paths.iter().find_map(|p| {
            // SAFETY: NVRTC's initialisers have no precondition; a file that is no library is refused.
            unsafe { Library::new(p) }.ok()
        });
        let tried = || paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ");
        let library = found.ok_or_else(|| CudaError::NoNvrtc(tried()))?;
        Nvrtc::new(library).ok_or_else(|| CudaError::NoNvrtc(tried()))?
    }

    fn new(library: Library) -> Option<Result<Nvrtc, CudaError>> {
        // SAFETY: here and below the types are those of nvrtc.h, which has not changed them since CUDA 11.2.
        let version = unsafe { library.get::<unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int>(c"nvrtcVersion") };
        let version = *version.ok()?;
        // SAFETY: as above.
        let archs = unsafe {
            let count = *library.get::<unsafe extern "C" fn(*mut c_int) -> c_int>(c"nvrtcGetNumSupportedArchs").ok()?;
            let list = *library.get::<unsafe extern "C" fn(*mut c_int) -> c_int>(c"nvrtcGetSupportedArchs").ok()?;
            let mut n = 0;
            if count(&mut n) != 0 {
                return None;
            }
            let mut archs = vec![0; usize::try_from(n).ok()?];
            if list(archs.as_mut_ptr()) != 0 {
                return None;
            }
            archs
        };
        // SAFETY: as above.
        let calls = unsafe {
            Calls {
                create: *library.get(c"nvrtcCreateProgram").ok()?,
                compile: *library.get(c"nvrtcCompileProgram").ok()?,
                log_size: *library.get(c"nvrtcGetProgramLogSize").ok()?,
                log: *library.get(c"nvrtcGetProgramLog").ok()?,
                cubin_size: *library.get(c"nvrtcGetCUBINSize").ok()?,
                cubin: *library.get(c"nvrtcGetCUBIN").ok()?,
                destroy: *library.get(c"nvrtcDestroyProgram").ok()?,
            }
        };
        let mut v = (0, 0);
        // SAFETY: two places for an int each.
        let code = unsafe { version(&mut v.0, &mut v.1) };
        Some(check(code, "nvrtcVersion").map(|()| Nvrtc { version: v, archs, calls, _library: library }))
    }

    /// `sm_90` for compute capability 9.0.
    ///
    /// # Errors
    /// If this compiler does not know it.
    pub fn arch_for(&self, capability: (i32, i32)) -> Result<String, CudaError> {
        let arch = capability.0 * 10 + capability.1;
        if self.archs.contains(&arch) && arch >= 75 {
            return Ok(format!("sm_{arch}"));
        }
        let known = self.archs.iter().filter(|&&a| a >= 75).map(|a| format!("sm_{a}")).collect::<Vec<_>>().join(", ");
        Err(CudaError::UnknownArchitecture { nvrtc: self.version_text(), capability, known })
    }

    /// `12.9`.
    pub fn version_text(&self) -> String {
        format!("{}.{}", self.version.0, self.version.1)
    }

    /// Compiles to a cubin; also gives the log, which holds warnings.
    ///
    /// # Errors
    /// If the source does not compile; `what` names it in the error.
    pub fn compile(&self, what: &str, source: &str, options: &[String]) -> Result<(Vec<u8>, String), CudaError> {
        let c_string = |s: &str| CString::new(s.replace('\0', " ")).unwrap_or_default();
        let (text, name) = (c_string(source), c_string(&format!("{what}.cu")));
        let options: Vec<CString> = options.iter().map(|o| c_string(o)).collect();
        let pointers: Vec<*const c_char> = options.iter().map(|o| o.as_ptr()).collect();
        let mut program: Program = std::ptr::null_mut();
        let none = std::ptr::null();
        // SAFETY: strings and options outlive the calls; sizes are asked for before buffers are filled.
        unsafe {
            let c = &self.calls;
            check((c.create)(&mut program, text.as_ptr(), name.as_ptr(), 0, none, none), "nvrtcCreateProgram")?;
            let compiled = (c.compile)(program, pointers.len() as c_int, pointers.as_ptr());
            let result = self.log(program).and_then(|log| {
                if compiled != 0 {
                    let arch = options.first().map(|o| o.to_string_lossy().into_owned()).unwrap_or_default();
                    return Err(CudaError::Compile { what: what.to_owned(), arch, log });
                }
                let mut n = 0;
                check((c.cubin_size)(program, &mut n), "nvrtcGetCUBINSize")?;
                let mut cubin = vec![0u8; n];
                check((c.cubin)(program, cubin.as_mut_ptr().cast()), "nvrtcGetCUBIN")?;
                Ok((cubin, log))
            });
            (c.destroy)(&mut program);
            result
        }
    }

    /// # Safety
    /// The program exists.
    unsafe fn log(&self, program: Program) -> Result<String, CudaError> {
        let mut n = 0;
        // SAFETY: the caller's program; the buffer has the size asked for.
        unsafe {
            check((self.calls.log_size)(program, &mut n), "nvrtcGetProgramLogSize")?;
            let mut log = vec![0u8; n.max(1)];
            check((self.calls.log)(program, log.as_mut_ptr().cast()), "nvrtcGetProgramLog")?;
            Ok(CStr::from_bytes_until_nul(&log).map(|s| s.to_string_lossy().trim().to_owned()).unwrap_or_default())
        }
    }
}
