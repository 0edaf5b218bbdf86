//! Cores, their siblings, their speed, and the clock that is read once per tick.

use crate::Status;
use crate::demand::Demand;
use crate::finding::Finding;
use crate::machine::{Machine, cpu_list};
use crate::ring::RingFacts;
use std::collections::BTreeMap;

pub(crate) fn cores(machine: &Machine, demand: &Demand, _: &RingFacts) -> Finding {
    judge_cores(machine.cores().as_deref(), machine.cpu_quota(), demand)
}

fn judge_cores(allowed: Option<&[usize]>, quota: Option<f64>, demand: &Demand) -> Finding {
    let shards = demand.shards;
    let should = format!("a core for each of {shards} shard(s)");
    let Some(allowed) = allowed else {
        return Finding::unknown("/proc/self/status can't be read", should);
    };
    let limit = quota.map_or_else(String::new, |quota| format!(", a quota of {quota:.1} cores"));
    let is = format!("{} core(s) allowed ({}){limit}", allowed.len(), list(allowed));
    if let Some(core) = demand.cores.iter().find(|core| !allowed.contains(core)) {
        let command = format!("set engine.cores to some of {}, or run without taskset", list(allowed));
        return Finding::fail(format!("{is}, and not core {core}"), should, command);
    }
    let distinct = demand.cores.iter().collect::<std::collections::BTreeSet<_>>().len();
    let cores = if distinct == 0 { allowed.len() } else { distinct };
    let room = quota.map_or(cores as f64, |quota| quota.min(cores as f64));
    let fewer = (room.floor() as u16).max(1);
    let command =
        format!("--shards {fewer}   # or more cores: taskset, CPUQuota= in systemd, docker run --cpus");
    Finding::unless(room >= f64::from(shards), Status::Warn, is, should, command)
}

pub(crate) fn siblings(machine: &Machine, demand: &Demand, _: &RingFacts) -> Finding {
    let should = "no two shards on siblings of one physical core";
    let cores = machine.cores().unwrap_or_default();
    let used = if demand.cores.is_empty() { &cores } else { &demand.cores };
    let mut physical = BTreeMap::<Vec<usize>, Vec<usize>>::new();
    for core in used {
        let path = format!("/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list");
        let Some(siblings) = machine.read(&path).and_then(|text| cpu_list(&text)) else {
            return Finding::unknown(format!("core {core}'s siblings are not exposed"), should);
        };
        physical.entry(siblings).or_default().push(*core);
    }
    if physical.is_empty() {
        return Finding::unknown("the cores are not exposed", should);
    }
    judge_siblings(&physical, used.len(), demand)
}

/// `physical`: which of the `used` cores lie on each physical one.
fn judge_siblings(physical: &BTreeMap<Vec<usize>, Vec<usize>>, used: usize, demand: &Demand) -> Finding {
    let should = "no two shards on siblings of one physical core";
    let is = format!("{used} core(s) on {} physical one(s)", physical.len());
    let first: Vec<usize> = physical.values().filter_map(|cores| cores.first().copied()).collect();
    let shards = usize::from(demand.shards);
    // Not pinned, as many shards as physical cores can keep out of each other's way.
    let enough = demand.cores.is_empty() && shards <= physical.len();
    let shared = used > physical.len() && !enough;
    let command = format!("--shards {} --cores {}", shards.min(first.len()), list(&first));
    if shared {
        return Finding::warn(is, should, command);
    }
    Finding::ok(is, should)
}

pub(crate) fn governor(machine: &Machine, _: &Demand, _: &RingFacts) -> Finding {
    let cores = machine.cores().unwrap_or_default();
    let read = |core: &usize| {
        let path = format!("/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor");
        Some((machine.read(&path)?, *core))
    };
    judge_governor(&cores.iter().filter_map(read).collect::<Vec<_>>())
}

fn judge_governor(governors: &[(String, usize)]) -> Finding {
    let should = "performance on every core";
    if governors.is_empty() {
        return Finding::unknown("not exposed (usual in a virtual machine: the host decides)", should);
    }
    let mut by_name = BTreeMap::<&str, Vec<usize>>::new();
    for (name, core) in governors {
        by_name.entry(name).or_default().push(*core);
    }
    let is = by_name.iter().map(|(name, cores)| format!("{name} on {}", list(cores)));
    let is = is.collect::<Vec<_>>().join(", ");
    let good = by_name.keys().all(|name| *name == "performance");
    let command = "echo performance | tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor";
    Finding::unless(good, Status::Warn, is, should.to_owned(), command.to_owned())
}

const CLOCK: &str = "/sys/devices/system/clocksource/clocksource0";

pub(crate) fn clock_source(machine: &Machine, _: &Demand, _: &RingFacts) -> Finding {
    let current = machine.read(&format!("{CLOCK}/current_clocksource"));
    let available = machine.read(&format!("{CLOCK}/available_clocksource")).unwrap_or_default();
    judge_clock(current.as_deref(), &available)
}

fn judge_clock(current: Option<&str>, available: &str) -> Finding {
    // Read without a system call, by the vDSO.
    const GOOD: [&str; 5] =
        ["tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter", "riscv_clocksource"];
    let should = "tsc or kvm-clock (arch_sys_counter on ARM)";
    let Some(current) = current else {
        return Finding::unknown("not exposed", should);
    };
    let is = format!("{current} (available: {available})");
    let better = available.split_whitespace().find(|name| GOOD.contains(name));
    let command = better.map_or_else(
        || "clocksource=tsc tsc=reliable on the kernel's command line; ask the host why the tsc is not trusted".into(),
        |name| format!("echo {name} | tee {CLOCK}/current_clocksource"),
    );
    Finding::unless(GOOD.contains(&current), Status::Warn, is, should.to_owned(), command)
}

/// Cores as they are given to `--cores`.
fn list(cores: &[usize]) -> String {
    cores.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::{clock_source, cores, governor, judge_cores, siblings};
    use crate::machine::tree;
    use crate::{Demand, RingFacts, Status};

    const STATUS: (&str, &str) = ("/proc/self/status", "Cpus_allowed_list:\t0-1\n");

    #[test]
    fn a_shard_wants_a_core() {
        let demand = Demand::example();
        let status = |allowed: &[usize], quota| judge_cores(Some(allowed), quota, &demand).status;
        assert_eq!(status(&[0, 1], None), Status::Ok);
        assert_eq!(status(&[0, 1], Some(2.0)), Status::Ok);
        assert_eq!(status(&[0, 1], Some(1.5)), Status::Warn);
        assert_eq!(status(&[0], None), Status::Warn);
        let pinned = Demand { cores: vec![0, 9], ..demand.clone() };
        assert_eq!(judge_cores(Some(&[0, 1]), None, &pinned).status, Status::Fail);
        let pinned = Demand { cores: vec![1, 1], ..demand.clone() };
        assert_eq!(judge_cores(Some(&[0, 1]), None, &pinned).status, Status::Warn, "both on one");
        let (_root, machine) = tree(&[STATUS]);
        assert_eq!(cores(&machine, &demand, &RingFacts::untried()).status, Status::Ok);
        let (_root, machine) = tree(&[]);
        assert_eq!(cores(&machine, &demand, &RingFacts::untried()).status, Status::Unknown);
    }

    #[test]
    fn siblings_are_one_core() {
        let demand = Demand::example();
        let look = |first: &str, second: &str, demand: &Demand| {
            let topology = |core| format!("/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list");
            let (_root, machine) = tree(&[STATUS, (&topology(0), first), (&topology(1), second)]);
            siblings(&machine, demand, &RingFacts::untried())
        };
        assert_eq!(look("0", "1", &demand).status, Status::Ok);
        let finding = look("0-1", "0-1", &demand);
        assert_eq!((finding.status, finding.command.as_str()), (Status::Warn, "--shards 1 --cores 0"));
        let pinned = Demand { cores: vec![0, 1], ..demand.clone() };
        assert_eq!(look("0-1", "0-1", &pinned).status, Status::Warn);
        assert_eq!(look("0", "1", &pinned).status, Status::Ok);
        let one = Demand { shards: 1, ..demand.clone() };
        assert_eq!(look("0-1", "0-1", &one).status, Status::Ok);
        let (_root, machine) = tree(&[STATUS]);
        assert_eq!(siblings(&machine, &demand, &RingFacts::untried()).status, Status::Unknown);
    }

    #[test]
    fn every_core_should_run_at_full_speed() {
        let look = |governors: &[(usize, &str)]| {
            let path = |core: &usize| format!("/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor");
            let files: Vec<_> = governors.iter().map(|(core, text)| (path(core), *text)).collect();
            let mut files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
            files.push(STATUS);
            let (_root, machine) = tree(&files);
            governor(&machine, &Demand::example(), &RingFacts::untried())
        };
        assert_eq!(look(&[(0, "performance"), (1, "performance")]).status, Status::Ok);
        let finding = look(&[(0, "performance"), (1, "powersave")]);
        assert_eq!((finding.status, finding.is.as_str()), (Status::Warn, "performance on 0, powersave on 1"));
        assert_eq!(look(&[]).status, Status::Unknown);
    }

    #[test]
    fn the_clock_should_cost_no_system_call() {
        let look = |current: &str, available: &str| {
            let dir = "/sys/devices/system/clocksource/clocksource0";
            let files = [
                (format!("{dir}/current_clocksource"), current),
                (format!("{dir}/available_clocksource"), available),
            ];
            let (_root, machine) = tree(&files.each_ref().map(|(path, text)| (path.as_str(), *text)));
            clock_source(&machine, &Demand::example(), &RingFacts::untried())
        };
        assert_eq!(look("tsc", "tsc kvm-clock").status, Status::Ok);
        assert_eq!(look("kvm-clock", "kvm-clock acpi_pm").status, Status::Ok);
        let finding = look("hpet", "hpet tsc");
        assert!(
            finding.status == Status::Warn && finding.command.starts_with("echo tsc | tee"),
            "{finding:?}"
        );
        assert!(look("acpi_pm", "acpi_pm").command.contains("clocksource=tsc"));
        let (_root, machine) = tree(&[]);
        assert_eq!(clock_source(&machine, &Demand::example(), &RingFacts::untried()).status, Status::Unknown);
    }
}
