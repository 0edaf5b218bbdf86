//! Memory: how much there is, in what pages, and whether it may be promised.

use crate::Status;
use crate::demand::{Demand, size};
use crate::finding::Finding;
use crate::machine::Machine;
use crate::ring::RingFacts;

const HUGE: &str = "/sys/kernel/mm/transparent_hugepage/enabled";

pub(crate) fn huge_pages(machine: &Machine, _: &Demand, _: &RingFacts) -> Finding {
    let should = "madvise or never";
    let text = machine.read(HUGE);
    let chosen =
        text.as_deref().and_then(|text| text.split_once('[')?.1.split_once(']')).map(|(chosen, _)| chosen);
    match chosen {
        None => Finding::unknown("not exposed", should),
        Some(chosen) => Finding::unless(
            chosen != "always",
            Status::Warn,
            chosen.to_owned(),
            should.to_owned(),
            format!("echo madvise | tee {HUGE}"),
        ),
    }
}

pub(crate) fn memory(machine: &Machine, demand: &Demand, _: &RingFacts) -> Finding {
    judge_memory(machine.memory("MemAvailable"), machine.memory_limit(), demand)
}

fn judge_memory(available: Option<u64>, limit: Option<u64>, demand: &Demand) -> Finding {
    let (resident, kernel) = (demand.resident_bytes(), demand.kernel_bytes());
    let needed = resident + kernel;
    let should = format!(
        "{} for {} idle connections: {} RSS (25 MiB, 12 MiB a shard, 800 B each) and {} in the kernel (5,000 B each); \
         slow readers may queue up to {} more",
        size(needed),
        demand.connections(),
        size(resident),
        size(kernel),
        size(demand.queued_bytes_max())
    );
    let Some(available) = available else {
        return Finding::unknown("/proc/meminfo can't be read", should);
    };
    let room = limit.map_or(available, |limit| limit.min(available));
    let bounded =
        limit.map_or_else(String::new, |limit| format!(", the control group allows {}", size(limit)));
    let is = format!("{} available{bounded}", size(available));
    let command =
        "lower limits.connections_max or engine.shards, or add memory (systemd: MemoryMax=, docker run -m)";
    let bad = if room < needed { Status::Fail } else { Status::Warn };
    Finding::unless(room >= 2 * needed, bad, is, should, command.to_owned())
}

pub(crate) fn overcommit(machine: &Machine, demand: &Demand, _: &RingFacts) -> Finding {
    let free = machine.memory("CommitLimit").zip(machine.memory("Committed_AS"));
    judge_overcommit(
        machine.number("/proc/sys/vm/overcommit_memory"),
        free.map(|(limit, used)| limit.saturating_sub(used)),
        demand,
    )
}

fn judge_overcommit(mode: Option<u64>, free: Option<u64>, demand: &Demand) -> Finding {
    let needed = demand.resident_bytes();
    let should = format!("0 or 1; at 2, {} that may still be committed", size(needed));
    let command = "sysctl -w vm.overcommit_memory=0".to_owned();
    match (mode, free) {
        (None, _) => Finding::unknown("vm.overcommit_memory can't be read", should),
        (Some(2), Some(free)) => {
            let is = format!("2, {} may still be committed", size(free));
            // Address space is reserved in larger pieces than are used: less than twice is close.
            let bad = if free < needed { Status::Fail } else { Status::Warn };
            Finding::unless(free >= 2 * needed, bad, is, should, command)
        }
        (Some(2), None) => Finding::warn("2", should, command),
        (Some(mode), _) => Finding::ok(mode.to_string(), should),
    }
}

#[cfg(test)]
mod tests {
    use super::{HUGE, huge_pages, judge_memory, judge_overcommit, memory, overcommit};
    use crate::machine::tree;
    use crate::{Demand, RingFacts, Status};

    #[test]
    fn huge_pages_are_for_those_who_ask() {
        let look = |text: &str| {
            let (_root, machine) = tree(&[(HUGE, text)]);
            huge_pages(&machine, &Demand::example(), &RingFacts::untried()).status
        };
        assert_eq!(look("always [madvise] never\n"), Status::Ok);
        assert_eq!(look("always madvise [never]\n"), Status::Ok);
        assert_eq!(look("[always] madvise never\n"), Status::Warn);
        assert_eq!(look(""), Status::Unknown);
    }

    #[test]
    fn memory_holds_every_connection_open_and_idle() {
        let demand = Demand::example();
        let status = |available, limit| judge_memory(Some(available), limit, &demand).status;
        assert_eq!(status(1 << 30, None), Status::Ok);
        assert_eq!(status(300 << 20, None), Status::Warn);
        assert_eq!(status(200 << 20, None), Status::Fail);
        assert_eq!(status(1 << 30, Some(200 << 20)), Status::Fail, "the group's limit counts");
        let (_root, machine) = tree(&[("/proc/meminfo", "MemAvailable:   20000000 kB\n")]);
        assert_eq!(memory(&machine, &demand, &RingFacts::untried()).status, Status::Ok);
        let (_root, machine) = tree(&[]);
        assert_eq!(memory(&machine, &demand, &RingFacts::untried()).status, Status::Unknown);
    }

    #[test]
    fn strict_commitment_needs_room() {
        let demand = Demand::example();
        assert_eq!(judge_overcommit(Some(0), None, &demand).status, Status::Ok);
        assert_eq!(judge_overcommit(Some(2), Some(1 << 30), &demand).status, Status::Ok);
        assert_eq!(judge_overcommit(Some(2), Some(100 << 20), &demand).status, Status::Warn);
        assert_eq!(judge_overcommit(Some(2), Some(1 << 20), &demand).status, Status::Fail);
        let (_root, machine) = tree(&[
            ("/proc/sys/vm/overcommit_memory", "2\n"),
            ("/proc/meminfo", "CommitLimit: 1000000 kB\nCommitted_AS: 999000 kB\n"),
        ]);
        assert_eq!(overcommit(&machine, &demand, &RingFacts::untried()).status, Status::Fail);
        let (_root, machine) = tree(&[]);
        assert_eq!(overcommit(&machine, &demand, &RingFacts::untried()).status, Status::Unknown);
    }
}
