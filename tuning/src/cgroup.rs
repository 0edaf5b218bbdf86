//! What the process's control groups leave it: the tightest of its own and all above it.

use crate::machine::Machine;

impl Machine {
    /// Cores' worth of time, if there is a quota.
    pub(crate) fn cpu_quota(&self) -> Option<f64> {
        let unified = |text: &str| {
            let mut words = text.split_whitespace();
            quota(words.next()?.parse().ok()?, words.next()?.parse().ok()?)
        };
        let v2 =
            self.group_files("", "cpu.max").iter().filter_map(|(_, text)| unified(text)).reduce(f64::min);
        let v1 = |(dir, text): &(String, String)| {
            quota(text.parse().ok()?, self.number(&format!("{dir}/cpu.cfs_period_us"))?)
        };
        v2.or_else(|| self.group_files("cpu", "cpu.cfs_quota_us").iter().filter_map(v1).reduce(f64::min))
    }

    /// Bytes that the groups allow, if they limit them.
    pub(crate) fn memory_limit(&self) -> Option<u64> {
        let v2 = self.group_files("", "memory.max");
        let v1 = self.group_files("memory", "memory.limit_in_bytes");
        let bytes = v2.iter().chain(&v1).filter_map(|(_, text)| text.parse::<u64>().ok());
        // Version 1 writes no limit as the largest number of whole pages.
        bytes.filter(|bytes| *bytes < 1 << 62).min()
    }

    /// `file` of the process's group of this controller, and of each group above it; the
    /// controller of the unified hierarchy has no name.
    fn group_files(&self, controller: &str, file: &str) -> Vec<(String, String)> {
        let groups = self.read("/proc/self/cgroup").unwrap_or_default();
        let path = groups.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            parts.next()?.split(',').any(|name| name == controller).then_some(())?;
            parts.next()
        });
        let Some(path) = path else { return Vec::new() };
        let mount =
            if controller.is_empty() { "/sys/fs/cgroup" } else { &format!("/sys/fs/cgroup/{controller}") };
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        let dirs = ends.map(|end| format!("{mount}{}", &path[..end]));
        let mut files: Vec<_> =
            dirs.filter_map(|dir| Some((dir.clone(), self.read(&format!("{dir}/{file}"))?))).collect();
        files.dedup();
        files
    }
}

fn quota(micros: f64, period: u64) -> Option<f64> {
    (micros > 0.0 && period > 0).then(|| micros / period as f64)
}

#[cfg(test)]
mod tests {
    use crate::machine::tree;

    #[test]
    fn the_tightest_group_counts() {
        let (_root, machine) = tree(&[
            ("/proc/self/cgroup", "0::/system.slice/ringway.service\n"),
            ("/sys/fs/cgroup/system.slice/cpu.max", "150000 100000\n"),
            ("/sys/fs/cgroup/system.slice/ringway.service/cpu.max", "max 100000\n"),
            ("/sys/fs/cgroup/system.slice/memory.max", "max\n"),
            ("/sys/fs/cgroup/system.slice/ringway.service/memory.max", "1073741824\n"),
        ]);
        assert_eq!((machine.cpu_quota(), machine.memory_limit()), (Some(1.5), Some(1 << 30)));
    }

    #[test]
    fn groups_of_version_1_are_read_too() {
        let (_root, machine) = tree(&[
            ("/proc/self/cgroup", "4:memory:/a\n2:cpu,cpuacct:/\n0::/\n"),
            ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "200000\n"),
            ("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "4096\n"),
        ]);
        assert_eq!((machine.cpu_quota(), machine.memory_limit()), (Some(2.0), Some(4_096)));
    }

    #[test]
    fn no_group_is_no_limit() {
        let (_root, machine) = tree(&[
            ("/proc/self/cgroup", "2:cpu:/\n0::/\n"),
            ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"),
            ("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
        ]);
        assert_eq!((machine.cpu_quota(), machine.memory_limit()), (None, None));
    }
}
