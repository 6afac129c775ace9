//! What the system says of this machine: cores that we may use, caches, nodes and memory. Nothing here fails: what the
//! system does not say stays empty.

use super::Isa;
use std::fs::read_to_string;
use std::path::Path;

/// The machine as this process may use it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Topology {
    /// What the CPU calls itself.
    pub brand: String,
    /// Logical CPUs that the scheduler may put us on.
    pub cpus: Vec<usize>,
    /// Cores among them, hardware threads of one core counted once.
    pub physical_cores: usize,
    /// CPUs' worth of time that the cgroup allows; `None` without a limit.
    pub quota: Option<f64>,
    /// Those of `cpus` that are efficiency cores, on hybrid machines.
    pub efficiency_cpus: Vec<usize>,
    /// Data and unified caches, each kind once, small to large.
    pub caches: Vec<Cache>,
    /// Memory nodes.
    pub nodes: Vec<Node>,
    /// Bytes of memory installed.
    pub memory: usize,
    /// Bytes that can be had without swapping, within the cgroup's limit.
    pub memory_available: Option<usize>,
}

/// A kind of cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    /// 1, 2, 3.
    pub level: u32,
    /// Bytes of one.
    pub bytes: usize,
    /// How many there are under the CPUs that we may use.
    pub count: usize,
    /// Logical CPUs that share one.
    pub shared_by: usize,
}

/// Memory and the CPUs that are near to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The system's number.
    pub id: usize,
    /// Those of its CPUs that we may use.
    pub cpus: Vec<usize>,
}

impl Topology {
    /// Asks the system.
    pub fn detect() -> Topology {
        let cpus = super::affinity::allowed();
        let memory_available = super::available_memory();
        Topology { brand: brand(), memory_available, ..Topology::read(Path::new("/"), cpus) }
    }

    /// Reads `proc` and `sys` under `root`.
    pub fn read(root: &Path, cpus: Vec<usize>) -> Topology {
        let system = root.join("sys/devices/system");
        let allowed = |list: Vec<usize>| -> Vec<usize> { list.into_iter().filter(|c| cpus.contains(c)).collect() };
        let mut cores: Vec<Vec<usize>> =
            cpus.iter().map(|c| cpu_list(&system.join(format!("cpu/cpu{c}/topology/thread_siblings_list")))).collect();
        // A CPU of which the system says nothing is a core by itself.
        for (core, &cpu) in cores.iter_mut().zip(&cpus) {
            if core.is_empty() {
                core.push(cpu);
            }
        }
        cores.sort_unstable();
        cores.dedup();
        Topology {
            brand: String::new(),
            physical_cores: cores.len(),
            quota: quota(root),
            efficiency_cpus: allowed(cpu_list(&root.join("sys/devices/cpu_atom/cpus"))),
            caches: caches(&system, &cpus),
            nodes: numbered(&system.join("node"), "node")
                .into_iter()
                .map(|id| Node { id, cpus: allowed(cpu_list(&system.join(format!("node/node{id}/cpulist")))) })
                .collect(),
            memory: read_to_string(root.join("proc/meminfo")).map_or(0, |t| mem_total(&t).unwrap_or(0)),
            memory_available: None,
            cpus,
        }
    }

    /// Threads that can run at once: CPUs, or the quota where it is less.
    pub fn threads(&self) -> usize {
        let quota = self.quota.map_or(usize::MAX, |q| q.ceil() as usize);
        self.cpus.len().min(quota).max(1)
    }

    /// Threads worth starting: one a physical performance core, within the quota. Hardware threads of one core share
    /// its multipliers, and a slow core makes the others wait at every barrier.
    pub fn good_threads(&self) -> usize {
        let fast = self.physical_cores.saturating_sub(self.efficiency_cpus.len());
        let cores = if fast == 0 { self.physical_cores } else { fast };
        cores.clamp(1, self.threads())
    }

    /// Bytes of all caches of the highest level.
    pub fn last_level_cache(&self) -> usize {
        self.caches.last().map_or(0, |c| c.bytes * c.count)
    }

    /// `AMD EPYC, 2 cores, avx2, 32 MiB L3, 24 GiB`.
    pub fn summary(&self) -> String {
        let mut s = format!("{}, {} cores, {}", self.brand, self.physical_cores, Isa::detect());
        if let Some(q) = self.quota {
            s += &format!(", {q:.1} CPUs of time");
        }
        if let Some(c) = self.caches.last() {
            s += &format!(", {} MiB L{}", (c.bytes * c.count) >> 20, c.level);
        }
        s + &format!(", {:.0} GiB", self.memory as f64 / (1u64 << 30) as f64)
    }
}

#[cfg(target_arch = "x86_64")]
fn brand() -> String {
    let brand = raw_cpuid::CpuId::new().get_processor_brand_string();
    brand.map_or_else(|| "x86-64".to_owned(), |b| b.as_str().trim().to_owned())
}

#[cfg(not(target_arch = "x86_64"))]
fn brand() -> String {
    std::env::consts::ARCH.to_owned()
}

/// `0-3,8` and a line feed. What is no list is empty.
pub(super) fn parse_cpu_list(text: &str) -> Vec<usize> {
    // No machine has more; a damaged range must not fill the memory.
    const MOST: usize = 1 << 16;
    let mut cpus = Vec::new();
    for part in text.trim().split(',').filter(|p| !p.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        match (first.trim().parse::<usize>(), last.trim().parse::<usize>()) {
            (Ok(first), Ok(last)) if last < MOST => cpus.extend(first..=last),
            _ => return Vec::new(),
        }
    }
    cpus
}

fn cpu_list(path: &Path) -> Vec<usize> {
    read_to_string(path).map_or_else(|_| Vec::new(), |t| parse_cpu_list(&t))
}

/// `512K`, `32768K`, `2M`.
fn parse_size(text: &str) -> Option<usize> {
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let shift = match unit {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        _ => return None,
    };
    number.parse::<usize>().ok()?.checked_mul(1 << shift)
}

fn mem_total(meminfo: &str) -> Option<usize> {
    let line = meminfo.lines().find_map(|l| l.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()?.checked_mul(1024)
}

/// Numbers of the entries named `prefix` and a number of a directory, rising.
fn numbered(dir: &Path, prefix: &str) -> Vec<usize> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut ids: Vec<usize> =
        entries.flatten().filter_map(|e| e.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()).collect();
    ids.sort_unstable();
    ids
}

fn caches(system: &Path, cpus: &[usize]) -> Vec<Cache> {
    // Each cache is seen from every CPU that shares it: the list of those names it.
    let mut seen: Vec<(u32, Vec<usize>, usize)> = Vec::new();
    for cpu in cpus {
        let dir = system.join(format!("cpu/cpu{cpu}/cache"));
        for index in numbered(&dir, "index") {
            let text = |name: &str| read_to_string(dir.join(format!("index{index}/{name}"))).unwrap_or_default();
            let (Ok(level), Some(bytes)) = (text("level").trim().parse(), parse_size(&text("size"))) else { continue };
            let cache = (level, parse_cpu_list(&text("shared_cpu_list")), bytes);
            if text("type").trim() != "Instruction" && !seen.contains(&cache) {
                seen.push(cache);
            }
        }
    }
    let mut kinds: Vec<Cache> = Vec::new();
    for (level, shared, bytes) in seen {
        let shared_by = shared.len().max(1);
        match kinds.iter_mut().find(|k| (k.level, k.bytes, k.shared_by) == (level, bytes, shared_by)) {
            Some(kind) => kind.count += 1,
            None => kinds.push(Cache { level, bytes, count: 1, shared_by }),
        }
    }
    kinds.sort_by_key(|k| (k.level, k.bytes));
    kinds
}

/// The least of the limits of our cgroup and those around it, in CPUs: version 2, or else version 1.
fn quota(root: &Path) -> Option<f64> {
    let own = read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let mut least: Option<f64> = None;
    for line in own.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let base = match controllers {
            "" => root.join("sys/fs/cgroup"),
            c if c.split(',').any(|c| c == "cpu") => root.join("sys/fs/cgroup/cpu"),
            _ => continue,
        };
        // In a container the path may not exist below the mount: then its ancestors, up to the mount itself, count.
        for ancestor in Path::new(path.trim_start_matches('/')).ancestors() {
            let dir = base.join(ancestor);
            let limit = if controllers.is_empty() {
                read_to_string(dir.join("cpu.max")).ok().and_then(|t| cpu_max(&t))
            } else {
                let read = |name| read_to_string(dir.join(name)).unwrap_or_default();
                cpu_max(&format!("{} {}", read("cpu.cfs_quota_us").trim(), read("cpu.cfs_period_us").trim()))
            };
            least = [least, limit].into_iter().flatten().reduce(f64::min);
        }
    }
    least
}

/// `200000 100000` is two CPUs; `max 100000` and `-1 100000` are no limit.
fn cpu_max(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota, period) = (quota.parse::<f64>().ok()?, period.parse::<f64>().ok()?);
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_sizes() {
        assert_eq!(parse_cpu_list("0-3,8,10-11\n"), [0, 1, 2, 3, 8, 10, 11]);
        assert_eq!(parse_cpu_list("\n"), [0usize; 0]);
        assert_eq!(parse_cpu_list("0-99999999999"), [0usize; 0]);
        assert_eq!(parse_cpu_list("a-b"), [0usize; 0]);
        assert_eq!(parse_size("512K\n"), Some(512 << 10));
        assert_eq!(parse_size("2M"), Some(2 << 20));
        assert_eq!(parse_size("12 apples"), None);
        assert_eq!(parse_size(""), None);
    }

    #[test]
    fn limits_of_both_cgroup_versions() {
        assert_eq!(cpu_max("150000 100000\n"), Some(1.5));
        assert_eq!(cpu_max("max 100000"), None);
        assert_eq!(cpu_max("-1 100000"), None);
        assert_eq!(cpu_max("100000 0"), None);
        assert_eq!(cpu_max(" "), None);
    }

    /// Writes files under a fresh directory.
    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        dir
    }

    #[test]
    fn a_machine_with_two_threads_a_core_and_a_limit_from_an_outer_group() {
        let cpu = "sys/devices/system/cpu";
        let mut files = vec![
            ("proc/self/cgroup".to_owned(), "0::/box/inner\n"),
            ("sys/fs/cgroup/box/cpu.max".to_owned(), "300000 100000\n"),
            ("sys/fs/cgroup/box/inner/cpu.max".to_owned(), "max 100000\n"),
            ("proc/meminfo".to_owned(), "MemTotal:       1024 kB\nMemFree: 1 kB\n"),
            ("sys/devices/system/node/node0/cpulist".to_owned(), "0-3\n"),
            ("sys/devices/system/node/node1/cpulist".to_owned(), "4-7\n"),
        ];
        for c in 0..4 {
            let core = if c % 2 == 0 { "0,2\n" } else { "1,3\n" };
            files.push((format!("{cpu}/cpu{c}/topology/thread_siblings_list"), core));
            for (index, kind, level, size, shared) in [
                (0, "Data\n", "1\n", "32K\n", core),
                (1, "Instruction\n", "1\n", "32K\n", core),
                (2, "Unified\n", "3\n", "16384K\n", "0-3\n"),
            ] {
                let dir = format!("{cpu}/cpu{c}/cache/index{index}");
                files.push((format!("{dir}/type"), kind));
                files.push((format!("{dir}/level"), level));
                files.push((format!("{dir}/size"), size));
                files.push((format!("{dir}/shared_cpu_list"), shared));
            }
        }
        let files: Vec<(&str, &str)> = files.iter().map(|(n, t)| (n.as_str(), *t)).collect();
        let root = machine(&files);
        let t = Topology::read(root.path(), vec![0, 1, 2, 3]);
        assert_eq!((t.physical_cores, t.quota, t.threads(), t.good_threads()), (2, Some(3.0), 3, 2));
        let l1 = Cache { level: 1, bytes: 32 << 10, count: 2, shared_by: 2 };
        let l3 = Cache { level: 3, bytes: 16 << 20, count: 1, shared_by: 4 };
        assert_eq!(t.caches, [l1, l3]);
        assert_eq!(t.last_level_cache(), 16 << 20);
        assert_eq!(t.nodes, [Node { id: 0, cpus: vec![0, 1, 2, 3] }, Node { id: 1, cpus: vec![] }]);
        assert_eq!(t.memory, 1 << 20);
    }

    #[test]
    fn a_hybrid_machine_under_version_1() {
        let root = machine(&[
            ("proc/self/cgroup", "9:memory:/other\n4:cpu,cpuacct:/job\n"),
            ("sys/fs/cgroup/cpu/job/cpu.cfs_quota_us", "-1\n"),
            ("sys/fs/cgroup/cpu/job/cpu.cfs_period_us", "100000\n"),
            ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "250000\n"),
            ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
            ("sys/devices/cpu_atom/cpus", "2-5\n"),
        ]);
        let t = Topology::read(root.path(), vec![0, 1, 2, 3]);
        assert_eq!(t.quota, Some(2.5));
        assert_eq!(t.efficiency_cpus, [2, 3]);
        assert_eq!((t.physical_cores, t.threads(), t.good_threads()), (4, 3, 2));
    }

    #[test]
    fn a_system_that_says_nothing() {
        let root = machine(&[]);
        let t = Topology::read(root.path(), vec![0, 1]);
        assert_eq!((t.physical_cores, t.threads(), t.good_threads(), t.last_level_cache()), (2, 2, 2, 0));
    }

    #[test]
    fn this_machine_has_at_least_one_core() {
        let t = Topology::detect();
        assert!(!t.cpus.is_empty() && t.physical_cores >= 1 && !t.brand.is_empty());
    }
}
