//! Kernel and io_uring: what was really tried, judged with what the machine's files say.

use crate::Status;
use crate::demand::Demand;
use crate::finding::Finding;
use crate::machine::Machine;
use std::io::ErrorKind;

/// The oldest kernel that has all a shard needs.
const KERNEL_MIN: (u32, u32) = (6, 1);
const DISABLED: &str = "/proc/sys/kernel/io_uring_disabled";

/// Why something was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The kernel's answer.
    pub kind: ErrorKind,
    /// In words.
    pub message: String,
}

/// What trying the engine's ring gave; `None` is what could not be tried for want of a ring.
#[derive(Debug, Clone)]
pub struct RingFacts {
    /// The rings of all shards.
    pub setup: Option<Result<(), Refusal>>,
    /// A table of sockets of the configured size.
    pub table: Option<Result<(), Refusal>>,
    /// Operations that this kernel does not know.
    pub missing: Option<Vec<&'static str>>,
    /// One socket's way through two rings.
    pub trial: Option<Result<(), Refusal>>,
    /// Newer abilities that are there.
    pub newer: Vec<&'static str>,
}

impl RingFacts {
    /// Nothing was tried.
    pub fn untried() -> Self {
        Self { setup: None, table: None, missing: None, trial: None, newer: Vec::new() }
    }

    pub(crate) fn refused_for(&self, kind: ErrorKind) -> bool {
        matches!(&self.setup, Some(Err(refusal)) if refusal.kind == kind)
    }
}

pub(crate) fn kernel(machine: &Machine, _: &Demand, facts: &RingFacts) -> Finding {
    let release = machine.read("/proc/sys/kernel/osrelease");
    judge_kernel(release.as_deref(), &facts.newer)
}

fn judge_kernel(release: Option<&str>, newer: &[&str]) -> Finding {
    let should = format!("{}.{} or newer", KERNEL_MIN.0, KERNEL_MIN.1);
    let Some(release) = release else {
        return Finding::unknown("/proc/sys/kernel/osrelease can't be read", should);
    };
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
        return Finding::unknown(release, should);
    };
    let has = if newer.is_empty() { String::new() } else { format!(", with {}", newer.join(", ")) };
    let command =
        "boot a newer kernel: uname -r tells the running one, your distribution's packages the others";
    Finding::unless(
        (major, minor) >= KERNEL_MIN,
        Status::Fail,
        format!("{release}{has}"),
        should,
        command.to_owned(),
    )
}

pub(crate) fn io_uring(machine: &Machine, _: &Demand, facts: &RingFacts) -> Finding {
    let filtered = machine.field("/proc/self/status", "Seccomp").is_some_and(|mode| mode == "2");
    judge_io_uring(facts.setup.as_ref(), machine.number(DISABLED), filtered)
}

fn judge_io_uring(setup: Option<&Result<(), Refusal>>, disabled: Option<u64>, filtered: bool) -> Finding {
    let should = "a ring with SINGLE_ISSUER and DEFER_TASKRUN can be made";
    let sysctl = disabled.map_or_else(String::new, |value| format!(", kernel.io_uring_disabled={value}"));
    match setup {
        None => Finding::unknown(format!("not tried{sysctl}"), should),
        // At 1 it is allowed to some, and this process is one of them: a server started otherwise may not be.
        Some(Ok(())) if disabled == Some(1) => Finding::warn(
            format!(
                "allowed to this process{sysctl}: only to CAP_SYS_ADMIN and the group in kernel.io_uring_group"
            ),
            should,
            "sysctl -w kernel.io_uring_disabled=0   # or: sysctl -w kernel.io_uring_group=$(id -g USER)",
        ),
        Some(Ok(())) => Finding::ok(format!("allowed{sysctl}"), should),
        Some(Err(refusal)) if refusal.kind == ErrorKind::PermissionDenied => {
            let (cause, command) = forbidden_by(disabled, filtered);
            Finding::fail(format!("forbidden by {cause}{sysctl}"), should, command)
        }
        Some(Err(refusal)) if refusal.kind == ErrorKind::Unsupported => {
            let command = if filtered { PROFILE } else { "boot a kernel with CONFIG_IO_URING=y" };
            Finding::fail(format!("there is no io_uring: {}", refusal.message), should, command)
        }
        // Other checks tell what to do about memory and descriptors.
        Some(Err(refusal)) => {
            Finding::fail(refusal.message.clone(), should, "see memlock, open-files and kernel below")
        }
    }
}

const PROFILE: &str =
    "docker run --security-opt seccomp=ringway-seccomp.json ...   # docs/tuning.md makes that file";

fn forbidden_by(disabled: Option<u64>, filtered: bool) -> (&'static str, &'static str) {
    match disabled {
        Some(2) => ("the host", "sysctl -w kernel.io_uring_disabled=0   # on the host"),
        Some(1) if !filtered => (
            "the host for all but CAP_SYS_ADMIN and one group",
            "sysctl -w kernel.io_uring_disabled=0   # or: sysctl -w kernel.io_uring_group=$(id -g)",
        ),
        _ if filtered => ("a seccomp profile (Docker's default one forbids it)", PROFILE),
        _ => (
            "a security module, or by what runs this container",
            "journalctl -k -g 'apparmor|avc'   # on the host: names the rule",
        ),
    }
}

pub(crate) fn operations(_: &Machine, _: &Demand, facts: &RingFacts) -> Finding {
    judge_operations(facts.missing.as_deref(), facts.trial.as_ref())
}

fn judge_operations(missing: Option<&[&str]>, trial: Option<&Result<(), Refusal>>) -> Finding {
    let should =
        "ACCEPT, RECV, SEND, SHUTDOWN, CLOSE, MSG_RING, POLL_ADD and ASYNC_CANCEL as a shard uses them";
    let command = "boot Linux 6.1 or newer";
    match (missing, trial) {
        (Some(missing), _) if !missing.is_empty() => {
            Finding::fail(format!("not known to this kernel: {}", missing.join(", ")), should, command)
        }
        // The check of locked memory tells what to do.
        (_, Some(Err(refusal))) if refusal.kind == ErrorKind::OutOfMemory => {
            Finding::unknown("not tried for want of lockable memory", should)
        }
        (_, Some(Err(refusal))) => Finding::fail(refusal.message.clone(), should, command),
        (_, Some(Ok(()))) => {
            Finding::ok("all 8 known; a socket was accepted, moved, received on, sent on and closed", should)
        }
        (_, None) => Finding::unknown("not tried for want of a ring", should),
    }
}

pub(crate) fn socket_table(_: &Machine, demand: &Demand, facts: &RingFacts) -> Finding {
    judge_table(facts.table.as_ref(), demand.table)
}

fn judge_table(table: Option<&Result<(), Refusal>>, slots: u64) -> Finding {
    let should = format!("{slots} slots per shard: connections_max, headroom and 64 spare ones");
    match table {
        None => Finding::unknown("not tried for want of a ring", should),
        Some(Ok(())) => Finding::ok(format!("{slots} slots were granted"), should),
        Some(Err(refusal)) => Finding::fail(
            format!("refused: {}", refusal.message),
            should,
            format!("ulimit -n {slots}   # or lower limits.connections_max and raise engine.shards"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::{Refusal, RingFacts, judge_io_uring, judge_kernel, judge_operations, judge_table, kernel};
    use crate::machine::tree;
    use crate::{Demand, Status};
    use std::io::ErrorKind;

    fn refused(kind: ErrorKind) -> Result<(), Refusal> {
        Err(Refusal { kind, message: "no".to_owned() })
    }

    #[test]
    fn kernels_from_6_1_on_will_do() {
        for (release, status) in [
            ("6.1.0-18-amd64", Status::Ok),
            ("6.18.44", Status::Ok),
            ("10.0", Status::Ok),
            ("6.0.19", Status::Fail),
            ("5.15.0-generic", Status::Fail),
            ("weird", Status::Unknown),
        ] {
            assert_eq!(judge_kernel(Some(release), &[]).status, status, "{release}");
        }
        let (_root, machine) = tree(&[("/proc/sys/kernel/osrelease", "5.10.0\n")]);
        let finding = kernel(&machine, &Demand::example(), &RingFacts::untried());
        assert_eq!((finding.status, finding.is.as_str()), (Status::Fail, "5.10.0"));
        let (_root, machine) = tree(&[]);
        assert_eq!(kernel(&machine, &Demand::example(), &RingFacts::untried()).status, Status::Unknown);
    }

    #[test]
    fn a_refused_ring_is_put_down_to_sysctl_or_seccomp() {
        let denied = refused(ErrorKind::PermissionDenied);
        let finding = judge_io_uring(Some(&denied), Some(2), true);
        assert_eq!(finding.status, Status::Fail);
        assert!(finding.command.contains("kernel.io_uring_disabled=0"), "{finding:?}");
        let finding = judge_io_uring(Some(&denied), Some(0), true);
        assert!(finding.command.contains("--security-opt seccomp="), "{finding:?}");
        let finding = judge_io_uring(Some(&denied), None, false);
        assert!(finding.is.contains("security module"), "{finding:?}");
        let finding = judge_io_uring(Some(&refused(ErrorKind::Unsupported)), None, false);
        assert!(finding.command.contains("CONFIG_IO_URING"), "{finding:?}");
        assert_eq!(
            judge_io_uring(Some(&refused(ErrorKind::OutOfMemory)), Some(0), false).status,
            Status::Fail
        );
    }

    #[test]
    fn an_allowed_ring_is_ok_unless_others_may_not_have_one() {
        assert_eq!(judge_io_uring(Some(&Ok(())), Some(0), false).status, Status::Ok);
        assert_eq!(judge_io_uring(Some(&Ok(())), None, true).status, Status::Ok);
        assert_eq!(judge_io_uring(Some(&Ok(())), Some(1), false).status, Status::Warn);
        assert_eq!(judge_io_uring(None, Some(0), false).status, Status::Unknown);
    }

    #[test]
    fn operations_are_tried_and_not_only_known() {
        assert_eq!(judge_operations(Some(&[]), Some(&Ok(()))).status, Status::Ok);
        assert_eq!(judge_operations(Some(&[]), Some(&refused(ErrorKind::Other))).status, Status::Fail);
        let finding = judge_operations(Some(&["MSG_RING"]), Some(&Ok(())));
        assert!(finding.status == Status::Fail && finding.is.contains("MSG_RING"), "{finding:?}");
        assert_eq!(judge_operations(None, None).status, Status::Unknown);
        assert_eq!(
            judge_operations(Some(&[]), Some(&refused(ErrorKind::OutOfMemory))).status,
            Status::Unknown
        );
    }

    #[test]
    fn a_refused_table_names_the_limit_it_needs() {
        assert_eq!(judge_table(Some(&Ok(())), 100).status, Status::Ok);
        assert_eq!(judge_table(None, 100).status, Status::Unknown);
        let finding = judge_table(Some(&refused(ErrorKind::Other)), 100);
        assert!(finding.status == Status::Fail && finding.command.contains("ulimit -n 100"), "{finding:?}");
    }
}
