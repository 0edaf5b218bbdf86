//! Reading `/proc` and `/sys` below a root, so that a test can give a tree of its own.

use std::fs;
use std::path::{Path, PathBuf};

/// `CAP_IPC_LOCK`: locked memory without a limit.
const CAP_IPC_LOCK: u32 = 14;
/// `CAP_SYS_ADMIN`: files beyond `fs.file-max`, rings with `io_uring_disabled` at 1.
const CAP_SYS_ADMIN: u32 = 21;

/// A machine, as its files tell.
#[derive(Debug, Clone)]
pub struct Machine {
    root: PathBuf,
}

/// A soft and a hard limit of this process; `None` is unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) soft: Option<u64>,
    pub(crate) hard: Option<u64>,
}

impl Machine {
    /// The machine whose `proc` and `sys` are below `root`.
    pub fn at(root: impl AsRef<Path>) -> Self {
        Self { root: root.as_ref().to_path_buf() }
    }

    /// A file's text without white space around it.
    pub(crate) fn read(&self, path: &str) -> Option<String> {
        let text = fs::read_to_string(self.root.join(path.trim_start_matches('/'))).ok()?;
        Some(text.trim().to_owned())
    }

    pub(crate) fn number(&self, path: &str) -> Option<u64> {
        self.read(path)?.parse().ok()
    }

    /// The numbers of a file such as `net.ipv4.tcp_mem`.
    pub(crate) fn numbers(&self, path: &str) -> Option<Vec<u64>> {
        self.read(path)?.split_whitespace().map(|word| word.parse().ok()).collect()
    }

    /// What stands behind `key:` in a file such as `/proc/meminfo`.
    pub(crate) fn field(&self, path: &str, key: &str) -> Option<String> {
        let text = self.read(path)?;
        text.lines().find_map(|line| Some(line.strip_prefix(key)?.strip_prefix(':')?.trim().to_owned()))
    }

    /// A figure of `/proc/meminfo`, in bytes.
    pub(crate) fn memory(&self, key: &str) -> Option<u64> {
        let kib: u64 = self.field("/proc/meminfo", key)?.strip_suffix(" kB")?.parse().ok()?;
        Some(kib * 1_024)
    }

    /// A line of `/proc/self/limits`.
    pub(crate) fn limit(&self, name: &str) -> Option<Limit> {
        let text = self.read("/proc/self/limits")?;
        let mut words = text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace();
        let mut next = || match words.next()? {
            "unlimited" => Some(None),
            word => word.parse().ok().map(Some),
        };
        Some(Limit { soft: next()?, hard: next()? })
    }

    /// The cores that this process may run on.
    pub(crate) fn cores(&self) -> Option<Vec<usize>> {
        cpu_list(&self.field("/proc/self/status", "Cpus_allowed_list")?)
    }

    pub(crate) fn may_lock(&self) -> bool {
        self.has(CAP_IPC_LOCK)
    }

    pub(crate) fn is_admin(&self) -> bool {
        self.has(CAP_SYS_ADMIN)
    }

    fn has(&self, capability: u32) -> bool {
        let effective = self.field("/proc/self/status", "CapEff");
        let set = effective.and_then(|text| u64::from_str_radix(&text, 16).ok()).unwrap_or(0);
        set & 1 << capability != 0
    }
}

/// Cores as the kernel lists them: `0-2,5`.
pub fn cpu_list(text: &str) -> Option<Vec<usize>> {
    let mut cores = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        cores.extend(first.trim().parse::<usize>().ok()?..=last.trim().parse().ok()?);
    }
    Some(cores)
}

/// A tree of files for tests.
#[cfg(test)]
pub(crate) fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, Machine) {
    let root = tempfile::tempdir().expect("a directory");
    for (path, text) in files {
        let path = root.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().expect("below the root")).expect("a directory");
        fs::write(path, text).expect("a file");
    }
    let machine = Machine::at(root.path());
    (root, machine)
}

#[cfg(test)]
mod tests {
    use super::{Limit, cpu_list, tree};

    #[test]
    fn lists_of_cores_are_read_as_the_kernel_writes_them() {
        assert_eq!(cpu_list("0-2,5"), Some(vec![0, 1, 2, 5]));
        assert_eq!(cpu_list("3"), Some(vec![3]));
        assert_eq!(cpu_list(""), None);
    }

    #[test]
    fn fields_limits_and_capabilities_are_found() {
        let (_root, machine) = tree(&[
            ("/proc/meminfo", "MemTotal:       24684000 kB\nMemAvailable:   1000 kB\n"),
            (
                "/proc/self/limits",
                "Limit   Soft Limit   Hard Limit  Units\nMax open files    1024     unlimited    files\n",
            ),
            ("/proc/self/status", "CapEff:\t0000000000004000\nCpus_allowed_list:\t0,2-3\n"),
        ]);
        assert_eq!(machine.memory("MemAvailable"), Some(1_024_000));
        assert_eq!(machine.limit("Max open files"), Some(Limit { soft: Some(1_024), hard: None }));
        assert_eq!(machine.limit("Max locked memory"), None);
        assert_eq!(machine.cores(), Some(vec![0, 2, 3]));
        assert!(machine.may_lock() && !machine.is_admin());
    }
}
