//! Limits of this process and of the machine: locked memory and files.

use crate::Status;
use crate::demand::{Demand, size};
use crate::finding::Finding;
use crate::machine::{Limit, Machine};
use crate::ring::RingFacts;
use std::io::ErrorKind;

pub(crate) fn memlock(machine: &Machine, demand: &Demand, facts: &RingFacts) -> Finding {
    let limit = machine.limit("Max locked memory");
    judge_memlock(limit, demand, machine.may_lock(), facts.refused_for(ErrorKind::OutOfMemory))
}

fn judge_memlock(limit: Option<Limit>, demand: &Demand, may_lock: bool, refused: bool) -> Finding {
    let shards = u64::from(demand.shards);
    let needed = (shards * demand.locked_bytes).max(demand.locked_bytes_min);
    let safe = shards * (demand.locked_bytes + demand.pinned_bytes_max);
    let should = format!(
        "{} for {shards} shard(s), {} to be safe; at least {} in any case",
        size(needed),
        size(safe),
        size(demand.locked_bytes_min)
    );
    let Some(limit) = limit else {
        return Finding::unknown("/proc/self/limits can't be read", should);
    };
    let soft = limit.soft.unwrap_or(u64::MAX);
    let mut is = limit.soft.map_or("unlimited".to_owned(), size);
    let kib = safe >> 10;
    let command = if limit.hard.is_none_or(|hard| hard >= safe) {
        format!("ulimit -l {kib}   # systemd: LimitMEMLOCK={kib}K")
    } else {
        format!(
            "LimitMEMLOCK={kib}K in the systemd unit, or `* - memlock {kib}` in /etc/security/limits.conf"
        )
    };
    if soft < demand.locked_bytes_min {
        return Finding::fail(is, should, command);
    }
    if may_lock {
        is += ", and CAP_IPC_LOCK lifts it";
        return Finding::ok(is, should);
    }
    if refused {
        return Finding::fail(format!("{is}, and the rings of all shards were refused"), should, command);
    }
    Finding::unless(soft >= safe, Status::Warn, is, should, command)
}

pub(crate) fn open_files(machine: &Machine, demand: &Demand, _: &RingFacts) -> Finding {
    judge_open_files(machine.limit("Max open files"), demand)
}

fn judge_open_files(limit: Option<Limit>, demand: &Demand) -> Finding {
    let needed = demand.table.max(demand.files());
    let should = format!(
        "{needed}: the table of one shard ({}), and {} descriptors of the process",
        demand.table,
        demand.files()
    );
    let Some(Limit { soft, hard }) = limit else {
        return Finding::unknown("/proc/self/limits can't be read", should);
    };
    let show = |limit: Option<u64>| limit.map_or("unlimited".to_owned(), |limit| limit.to_string());
    let is = format!("{} (hard: {})", show(soft), show(hard));
    let command = if hard.is_none_or(|hard| hard >= needed) {
        format!("ulimit -n {needed}   # systemd: LimitNOFILE={needed}")
    } else {
        format!(
            "LimitNOFILE={needed} in the systemd unit, or `* - nofile {needed}` in /etc/security/limits.conf"
        )
    };
    Finding::unless(soft.is_none_or(|soft| soft >= needed), Status::Fail, is, should, command)
}

pub(crate) fn nr_open(machine: &Machine, demand: &Demand, _: &RingFacts) -> Finding {
    let needed = demand.table.max(demand.files());
    let should = format!("{needed}: no limit of open files can be higher than it");
    match machine.number("/proc/sys/fs/nr_open") {
        None => Finding::unknown("fs.nr_open can't be read", should),
        Some(value) => Finding::unless(
            value >= needed,
            Status::Fail,
            value.to_string(),
            should,
            format!("sysctl -w fs.nr_open={}", needed.next_power_of_two()),
        ),
    }
}

pub(crate) fn file_max(machine: &Machine, demand: &Demand, _: &RingFacts) -> Finding {
    let used = machine.numbers("/proc/sys/fs/file-nr").and_then(|numbers| numbers.first().copied());
    judge_file_max(machine.number("/proc/sys/fs/file-max"), used.unwrap_or(0), demand, machine.is_admin())
}

fn judge_file_max(max: Option<u64>, used: u64, demand: &Demand, is_admin: bool) -> Finding {
    let needed = demand.sockets() + demand.files();
    let should = format!("{needed} free: {} sockets of all shards, and the process's own", demand.sockets());
    let Some(max) = max else {
        return Finding::unknown("fs.file-max can't be read", should);
    };
    let bad = if is_admin { Status::Warn } else { Status::Fail };
    let is = format!("{max}, {used} in use");
    let command = format!("sysctl -w fs.file-max={}", (used + 2 * needed).next_power_of_two());
    Finding::unless(max.saturating_sub(used) >= needed, bad, is, should, command)
}

#[cfg(test)]
mod tests {
    use super::{Limit, file_max, judge_file_max, judge_memlock, memlock, nr_open, open_files};
    use crate::machine::tree;
    use crate::{Demand, RingFacts, Status};

    fn limit(soft: u64) -> Option<Limit> {
        Some(Limit { soft: Some(soft), hard: Some(soft) })
    }

    #[test]
    fn locked_memory_is_judged_by_what_all_shards_lock() {
        let demand = Demand::example();
        let status = |soft, may_lock, refused| judge_memlock(limit(soft), &demand, may_lock, refused).status;
        assert_eq!(status(16 << 20, false, false), Status::Ok);
        assert_eq!(status(8 << 20, false, false), Status::Warn, "pinned memory may take what rings need");
        assert_eq!(status(8 << 20, false, true), Status::Fail);
        assert_eq!(status(8 << 20, true, false), Status::Ok);
        assert_eq!(status(64 << 10, true, false), Status::Fail, "the executor looks at the limit itself");
        let finding = judge_memlock(Some(Limit { soft: Some(64 << 10), hard: None }), &demand, false, false);
        assert_eq!(finding.command, "ulimit -l 13008   # systemd: LimitMEMLOCK=13008K");
        let finding = judge_memlock(limit(64 << 10), &demand, false, false);
        assert!(finding.command.contains("* - memlock 13008"), "{finding:?}");
    }

    #[test]
    fn limits_are_read_from_the_process() {
        let text = "Limit Soft Hard Units\nMax open files 1024 524288 files\nMax locked memory 67108864 67108864 bytes\n";
        let (_root, machine) = tree(&[("/proc/self/limits", text)]);
        let (demand, facts) = (Demand::example(), RingFacts::untried());
        assert_eq!(memlock(&machine, &demand, &facts).status, Status::Ok);
        let finding = open_files(&machine, &demand, &facts);
        assert_eq!((finding.status, finding.is.as_str()), (Status::Fail, "1024 (hard: 524288)"));
        assert!(finding.command.starts_with("ulimit -n 19064"), "{finding:?}");
        let (_root, machine) = tree(&[("/proc/self/limits", "Max open files 1024 4096 files\n")]);
        assert!(
            open_files(&machine, &demand, &facts).command.contains("limits.conf"),
            "the hard one is too low"
        );
        let (_root, machine) = tree(&[("/proc/self/limits", "Max open files 20000 unlimited files\n")]);
        assert_eq!(open_files(&machine, &demand, &facts).status, Status::Ok);
        let (_root, machine) = tree(&[]);
        assert_eq!(open_files(&machine, &demand, &facts).status, Status::Unknown);
        assert_eq!(memlock(&machine, &demand, &facts).status, Status::Unknown);
    }

    #[test]
    fn limits_of_the_machine_hold_all_shards() {
        let (demand, facts) = (Demand::example(), RingFacts::untried());
        let (_root, machine) = tree(&[
            ("/proc/sys/fs/nr_open", "1048576\n"),
            ("/proc/sys/fs/file-max", "2466177\n"),
            ("/proc/sys/fs/file-nr", "466\t0\t2466177\n"),
        ]);
        assert_eq!(nr_open(&machine, &demand, &facts).status, Status::Ok);
        assert_eq!(file_max(&machine, &demand, &facts).status, Status::Ok);
        let (_root, machine) = tree(&[("/proc/sys/fs/nr_open", "1024")]);
        assert_eq!(nr_open(&machine, &demand, &facts).status, Status::Fail);
        assert_eq!(file_max(&machine, &demand, &facts).status, Status::Unknown);
        assert_eq!(judge_file_max(Some(40_000), 30_000, &demand, false).status, Status::Fail);
        assert_eq!(judge_file_max(Some(40_000), 30_000, &demand, true).status, Status::Warn);
    }
}
