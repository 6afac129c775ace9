//! The library, loaded at run time, and the records that it hands over.
//!
//! CUPTI asks for buffers and gives them back full from threads of its own; what is in them is read there and kept in one
//! list for the process, as there is one CUPTI.

use super::record::{CONCURRENT_KERNEL, Head};
use super::{CuptiError, KernelRecord};
use libloading::Library;
use std::collections::HashSet;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

/// The loaded library.
pub struct Cupti {
    /// Its API's version: `28` is CUDA 12.9's, `130000` is CUDA 13.0's.
    pub version: u32,
    calls: Calls,
    /// Keeps the functions' code in memory.
    _library: Library,
}

type Requested = unsafe extern "C" fn(*mut *mut u8, *mut usize, *mut usize);
type Completed = unsafe extern "C" fn(*mut c_void, u32, *mut u8, usize, usize);
type Next = unsafe extern "C" fn(*mut u8, usize, *mut *mut u8) -> c_int;

/// Its functions.
struct Calls {
    register: unsafe extern "C" fn(Requested, Completed) -> c_int,
    enable: unsafe extern "C" fn(u32) -> c_int,
    disable: unsafe extern "C" fn(u32) -> c_int,
    flush: unsafe extern "C" fn(u32) -> c_int,
    dropped: unsafe extern "C" fn(*mut c_void, u32, *mut usize) -> c_int,
    next: Next,
    text: unsafe extern "C" fn(c_int, *mut *const c_char) -> c_int,
}

/// The first version whose kernel records begin as [`Head`] reads them.
const OLDEST: u32 = 14;
/// Bytes of a buffer: records of some thousand kernels.
const BUFFER: usize = 1 << 20;
/// What `cuptiActivityGetNextRecord` says behind the last record.
const NO_MORE: c_int = 12;

/// What was read of completed buffers, or why that failed.
static SEEN: Mutex<Seen> = Mutex::new(Seen { next: None, kernels: Vec::new(), failed: None });

struct Seen {
    next: Option<Next>,
    kernels: Vec<KernelRecord>,
    failed: Option<CuptiError>,
}

impl Cupti {
    /// Loads the library, once for the process; `driver` is the CUDA version that the driver serves, as 12080: of several
    /// libraries the one of its age is taken.
    ///
    /// # Errors
    /// If there is none, or none that serves.
    pub fn load(driver: i32) -> Result<&'static Cupti, CuptiError> {
        static LOADED: OnceLock<Result<Cupti, CuptiError>> = OnceLock::new();
        LOADED.get_or_init(|| Cupti::first_of(&candidates(driver / 1000))).as_ref().map_err(Clone::clone)
    }

    /// The first of these libraries that loads.
    pub(super) fn first_of(paths: &[PathBuf]) -> Result<Cupti, CuptiError> {
        let found = paths.iter().find_map(|p| {
            // SAFETY: CUPTI's initialisers have no precondition; a file that is no library is refused.
            unsafe { Library::new(p) }.ok()
        });
        let tried = || paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ");
        Cupti::new(found.ok_or_else(|| CuptiError::NotFound(tried()))?).ok_or_else(|| CuptiError::NotFound(tried()))?
    }

    /// None if it lacks what is called.
    fn new(library: Library) -> Option<Result<Cupti, CuptiError>> {
        // SAFETY: here and below the types are those of cupti_activity.h, which has kept them since CUDA 5.5.
        let (calls, get_version) = unsafe {
            let calls = Calls {
                register: *library.get(c"cuptiActivityRegisterCallbacks").ok()?,
                enable: *library.get(c"cuptiActivityEnable").ok()?,
                disable: *library.get(c"cuptiActivityDisable").ok()?,
                flush: *library.get(c"cuptiActivityFlushAll").ok()?,
                dropped: *library.get(c"cuptiActivityGetNumDroppedRecords").ok()?,
                next: *library.get(c"cuptiActivityGetNextRecord").ok()?,
                text: *library.get(c"cuptiGetResultString").ok()?,
            };
            (calls, *library.get::<unsafe extern "C" fn(*mut u32) -> c_int>(c"cuptiGetVersion").ok()?)
        };
        let mut cupti = Cupti { version: 0, calls, _library: library };
        // SAFETY: a place for the version.
        let asked = unsafe { get_version(&mut cupti.version) };
        Some(cupti.check(asked, "cuptiGetVersion").and_then(|()| cupti.registered()))
    }

    fn registered(self) -> Result<Cupti, CuptiError> {
        if self.version < OLDEST {
            return Err(CuptiError::TooOld(self.version));
        }
        lock().next = Some(self.calls.next);
        // SAFETY: both functions have the signatures that it asks for, and exist as long as the process.
        self.check(unsafe { (self.calls.register)(give_buffer, take_buffer) }, "cuptiActivityRegisterCallbacks")?;
        Ok(self)
    }

    fn check(&self, code: c_int, what: &'static str) -> Result<(), CuptiError> {
        if code == 0 {
            return Ok(());
        }
        let mut text = std::ptr::null();
        // SAFETY: a place for the address of a string that is the library's own, and stays.
        let answer = unsafe {
            let known = (self.calls.text)(code, &mut text) == 0 && !text.is_null();
            if known { CStr::from_ptr(text).to_string_lossy().into_owned() } else { format!("error {code}") }
        };
        Err(CuptiError::Call { what, answer })
    }

    /// From now on kernels are seen, those of graphs that are instantiated later among them. What was seen before is
    /// forgotten.
    ///
    /// # Errors
    /// If the library refuses, for want of privileges or because another tool traces.
    pub fn start(&self) -> Result<(), CuptiError> {
        // SAFETY: buffers are given and taken by the functions registered.
        self.check(unsafe { (self.calls.enable)(CONCURRENT_KERNEL) }, "cuptiActivityEnable")?;
        self.take().map(drop)
    }

    /// Kernels are no longer seen.
    ///
    /// # Errors
    /// The library's.
    pub fn stop(&self) -> Result<(), CuptiError> {
        // SAFETY: nothing is asked of the caller.
        self.check(unsafe { (self.calls.disable)(CONCURRENT_KERNEL) }, "cuptiActivityDisable")
    }

    /// The kernels that were seen since the last call, in no order. They are complete if the device was waited for.
    ///
    /// # Errors
    /// If records were lost or cannot be read.
    pub fn take(&self) -> Result<Vec<KernelRecord>, CuptiError> {
        let mut lost = 0;
        // SAFETY: buffers come through the functions registered; a place for the number of records lost.
        unsafe {
            self.check((self.calls.flush)(0), "cuptiActivityFlushAll")?;
            let asked = (self.calls.dropped)(std::ptr::null_mut(), 0, &mut lost);
            self.check(asked, "cuptiActivityGetNumDroppedRecords")?;
        }
        let mut seen = lock();
        let kernels = std::mem::take(&mut seen.kernels);
        match seen.failed.take() {
            Some(e) => Err(e),
            None if lost > 0 => Err(CuptiError::NoTime(format!("{lost} kernels: it dropped their records"))),
            None => Ok(kernels),
        }
    }
}

fn lock() -> std::sync::MutexGuard<'static, Seen> {
    SEEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives CUPTI an empty buffer.
///
/// # Safety
/// CUPTI's own call: each argument is a place to write to.
unsafe extern "C" fn give_buffer(buffer: *mut *mut u8, size: *mut usize, records: *mut usize) {
    // Of words, because records are aligned to 8 bytes; `take_buffer` gives it back.
    let words = Box::into_raw(vec![0u64; BUFFER / 8].into_boxed_slice());
    // SAFETY: promised by the caller.
    unsafe {
        *buffer = words.cast();
        *size = BUFFER;
        // As many as there is room for.
        *records = 0;
    }
}

/// Takes a buffer back and keeps what its records say.
///
/// # Safety
/// CUPTI's own call: `buffer` was given by [`give_buffer`] and comes back once, `valid` bytes of it are records.
unsafe extern "C" fn take_buffer(_context: *mut c_void, _stream: u32, buffer: *mut u8, _size: usize, valid: usize) {
    if buffer.is_null() {
        return;
    }
    // SAFETY: it was made by `give_buffer` from a box of so many words, and is nobody's any more.
    let mut words = unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(buffer.cast::<u64>(), BUFFER / 8)) };
    let mut seen = lock();
    let Some(next) = seen.next else { return };
    let (base, valid) = (words.as_mut_ptr().cast::<u8>(), valid.min(BUFFER));
    let mut record = std::ptr::null_mut();
    loop {
        // SAFETY: the buffer has so many valid bytes; `record` is null or what the call before has left there.
        match unsafe { next(base, valid, &mut record) } {
            0 => {}
            NO_MORE => return,
            _ => break seen.failed = Some(CuptiError::Record(valid)),
        }
        let left = valid.saturating_sub((record as usize).wrapping_sub(base as usize));
        // SAFETY: `left` bytes from there on are in the buffer, as was just counted.
        let bytes = unsafe { std::slice::from_raw_parts(record, left.min(Head::LEN)) };
        let Some(head) = Head::parse(bytes) else { break seen.failed = Some(CuptiError::Record(left)) };
        let name = match head.name as usize as *const c_char {
            p if p.is_null() => String::new(),
            // SAFETY: the address of a string of CUPTI's that ends with a zero, as the record's definition says.
            p => unsafe { CStr::from_ptr(p) }.to_string_lossy().into_owned(),
        };
        seen.kernels.push(KernelRecord { name, start: head.start, end: head.end });
    }
}

/// Where the library is looked for: `DELTASCOPE_CUPTI` alone if it is set, else by the names of its versions, those of the
/// driver's age first, where the loader looks and in the toolkits' folders.
fn candidates(major: i32) -> Vec<PathBuf> {
    if let Some(path) = std::env::var_os("DELTASCOPE_CUPTI") {
        return vec![path.into()];
    }
    let toolkits = ["CUDA_PATH", "CUDA_HOME"].iter().filter_map(std::env::var_os).map(PathBuf::from);
    let installed = std::fs::read_dir("/usr/local").into_iter().flatten().flatten().map(|entry| entry.path());
    let mut installed: Vec<PathBuf> =
        installed.filter(|p| p.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"cuda"))).collect();
    installed.sort();
    installed.reverse();
    let toolkits: Vec<PathBuf> = toolkits.chain(installed).chain([PathBuf::from("/opt/cuda")]).collect();
    paths(major, &toolkits)
}

fn paths(major: i32, toolkits: &[PathBuf]) -> Vec<PathBuf> {
    let mut majors = vec![major, 13, 12];
    majors.retain(|m| *m >= 12);
    let mut names: Vec<String> = majors.iter().map(|m| format!("libcupti.so.{m}")).collect();
    names.push("libcupti.so".to_owned());
    let folders: Vec<PathBuf> = std::iter::once(PathBuf::new())
        .chain(toolkits.iter().flat_map(|t| ["extras/CUPTI/lib64", "lib64"].map(|f| t.join(f))))
        .collect();
    let mut once = HashSet::new();
    let all = names.iter().flat_map(|name| folders.iter().map(move |f| f.join(Path::new(name))));
    all.filter(|p| once.insert(p.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_of_the_drivers_age_is_looked_for_first_and_each_file_once() {
        let found = paths(12, &[PathBuf::from("/usr/local/cuda-13.0"), PathBuf::from("/usr/local/cuda")]);
        assert_eq!(found[0], Path::new("libcupti.so.12"));
        assert_eq!(found[1], Path::new("/usr/local/cuda-13.0/extras/CUPTI/lib64/libcupti.so.12"));
        let at = |p: &str| found.iter().position(|f| f == Path::new(p)).unwrap();
        assert!(at("/usr/local/cuda/lib64/libcupti.so.12") < at("libcupti.so.13"));
        assert!(at("/usr/local/cuda/extras/CUPTI/lib64/libcupti.so.13") < at("libcupti.so"));
        assert_eq!(found.iter().collect::<HashSet<_>>().len(), found.len());
    }

    #[test]
    fn a_library_that_is_not_there_or_none_is_said_by_name() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, b"no library").unwrap();
        let missing = PathBuf::from("/nowhere/libcupti.so.13");
        let Err(CuptiError::NotFound(tried)) = Cupti::first_of(&[missing, file.path().to_owned()]) else {
            panic!("loaded")
        };
        assert!(tried.starts_with("/nowhere/libcupti.so.13, ") && tried.contains(file.path().to_str().unwrap()));
    }

    #[test]
    fn records_of_a_buffer_are_read_and_what_is_none_is_an_error() {
        /// One record of 208 bytes after another, as the library walks them.
        unsafe extern "C" fn walk(buffer: *mut u8, valid: usize, record: *mut *mut u8) -> c_int {
            // SAFETY: called by `take_buffer`, with a buffer of `valid` bytes and a place for the next record.
            unsafe {
                let at = if (*record).is_null() { 0 } else { (*record).offset_from(buffer) as usize + 208 };
                if at >= valid {
                    return NO_MORE;
                }
                *record = buffer.add(at);
            }
            0
        }
        let mut buffer = std::ptr::null_mut();
        let (mut size, mut records) = (0, 1);
        let run = |kinds: [u32; 2], buffer: *mut u8| {
            for (i, kind) in kinds.into_iter().enumerate() {
                // SAFETY: two records lie well inside the buffer.
                unsafe {
                    let record = buffer.add(i * 208);
                    record.cast::<u32>().write(kind);
                    record.add(16).cast::<u64>().write(100 + i as u64);
                    record.add(24).cast::<u64>().write(200 + i as u64);
                    record.add(104).cast::<u64>().write(c"gemv".as_ptr() as u64);
                }
            }
            // SAFETY: the buffer is one of `give_buffer`'s and is given back once.
            unsafe { take_buffer(std::ptr::null_mut(), 0, buffer, BUFFER, 2 * 208) };
        };
        let before = lock().next.replace(walk);
        // SAFETY: three places to write to.
        unsafe { give_buffer(&mut buffer, &mut size, &mut records) };
        assert_eq!((size, records), (BUFFER, 0));
        run([CONCURRENT_KERNEL; 2], buffer);
        let seen = std::mem::take(&mut lock().kernels);
        assert_eq!(seen[1], KernelRecord { name: "gemv".into(), start: 101, end: 201 });
        assert_eq!(seen.len(), 2);
        // SAFETY: as above.
        unsafe { give_buffer(&mut buffer, &mut size, &mut records) };
        run([CONCURRENT_KERNEL, 1], buffer);
        let mut seen = lock();
        assert_eq!(std::mem::take(&mut seen.kernels).len(), 1);
        assert_eq!(seen.failed.take(), Some(CuptiError::Record(208)));
        seen.next = before;
    }
}
