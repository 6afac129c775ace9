//! Which CPUs the scheduler may put this thread on.

/// Numbers of the CPUs that this thread may run on, rising; never empty.
pub(super) fn allowed() -> Vec<usize> {
    let cpus = mask();
    if !cpus.is_empty() {
        return cpus;
    }
    (0..std::thread::available_parallelism().map_or(1, usize::from)).collect()
}

#[cfg(target_os = "linux")]
fn mask() -> Vec<usize> {
    let mut set = std::mem::MaybeUninit::<libc::cpu_set_t>::zeroed();
    // SAFETY: the call writes at most the size that it is given, into memory of that size.
    let failed = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), set.as_mut_ptr()) } != 0;
    if failed {
        return Vec::new();
    }
    // SAFETY: a set of bits is valid whatever its bits, and all were zeroed.
    let set = unsafe { set.assume_init() };
    // SAFETY: numbers stay below the size of the set.
    (0..libc::CPU_SETSIZE as usize).filter(|&c| unsafe { libc::CPU_ISSET(c, &set) }).collect()
}

#[cfg(not(target_os = "linux"))]
fn mask() -> Vec<usize> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    #[test]
    fn there_is_a_cpu_and_the_list_rises() {
        let cpus = super::allowed();
        assert!(!cpus.is_empty() && cpus.is_sorted());
    }
}
