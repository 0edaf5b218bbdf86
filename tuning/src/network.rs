//! The kernel's network settings.

use crate::Status;
use crate::demand::{Demand, size};
use crate::finding::Finding;
use crate::machine::Machine;
use crate::ring::RingFacts;

const PAGE: u64 = 4_096;
/// Ports above 1023.
const PORTS_MAX: u64 = 64_512;
/// A connection with a message on its way holds a page for each direction.
const PAGES_PER_CONNECTION: u64 = 2;

pub(crate) fn somaxconn(machine: &Machine, demand: &Demand, _: &RingFacts) -> Finding {
    let should = format!("{}, the backlog that each shard asks for", demand.backlog);
    match machine.number("/proc/sys/net/core/somaxconn") {
        None => Finding::unknown("net.core.somaxconn can't be read", should),
        Some(value) => Finding::unless(
            value >= demand.backlog,
            Status::Warn,
            value.to_string(),
            should,
            format!("sysctl -w net.core.somaxconn={}", demand.backlog),
        ),
    }
}

pub(crate) fn syn_backlog(machine: &Machine, demand: &Demand, _: &RingFacts) -> Finding {
    let backlog = machine.number("/proc/sys/net/ipv4/tcp_max_syn_backlog");
    judge_syn_backlog(backlog, machine.number("/proc/sys/net/ipv4/tcp_syncookies"), demand)
}

fn judge_syn_backlog(backlog: Option<u64>, cookies: Option<u64>, demand: &Demand) -> Finding {
    let should = format!("tcp_syncookies on, or tcp_max_syn_backlog at least {}", demand.backlog);
    let Some(backlog) = backlog else {
        return Finding::unknown("net.ipv4.tcp_max_syn_backlog can't be read", should);
    };
    let on = cookies.is_some_and(|cookies| cookies > 0);
    let is = format!("{backlog}, tcp_syncookies={}", cookies.unwrap_or(0));
    let command = format!("sysctl -w net.ipv4.tcp_max_syn_backlog={}", demand.backlog);
    Finding::unless(on || backlog >= demand.backlog, Status::Warn, is, should, command)
}

pub(crate) fn local_ports(machine: &Machine, demand: &Demand, _: &RingFacts) -> Finding {
    judge_local_ports(machine.numbers("/proc/sys/net/ipv4/ip_local_port_range").as_deref(), demand)
}

fn judge_local_ports(range: Option<&[u64]>, demand: &Demand) -> Finding {
    let connections = demand.connections();
    let should = format!("{connections} ports, if a load generator on this machine is to fill all shards");
    let Some(&[first, last]) = range else {
        return Finding::unknown("net.ipv4.ip_local_port_range can't be read", should);
    };
    let ports = (last + 1).saturating_sub(first);
    let is = format!("{first} to {last}: {ports} connections from one address to another's one port");
    let mut command = "sysctl -w net.ipv4.ip_local_port_range=\"1024 65535\"".to_owned();
    if connections > PORTS_MAX {
        command += &format!("   # and {} source addresses", connections.div_ceil(PORTS_MAX));
    }
    Finding::unless(ports >= connections, Status::Warn, is, should, command)
}

pub(crate) fn tcp_rmem(machine: &Machine, demand: &Demand, _: &RingFacts) -> Finding {
    judge_tcp_rmem(machine.numbers("/proc/sys/net/ipv4/tcp_rmem").as_deref(), demand)
}

fn judge_tcp_rmem(rmem: Option<&[u64]>, demand: &Demand) -> Finding {
    // Half of a buffer is window, the rest is the kernel's own overhead.
    let needed = 2 * demand.message_bytes_max;
    let should = format!("a maximum of at least {needed}: twice the largest message");
    let Some(&[min, default, max]) = rmem else {
        return Finding::unknown("net.ipv4.tcp_rmem can't be read", should);
    };
    let command = format!("sysctl -w net.ipv4.tcp_rmem=\"{min} {} {needed}\"", default.min(needed));
    Finding::unless(max >= needed, Status::Warn, format!("{min} {default} {max}"), should, command)
}

pub(crate) fn send_buffer(machine: &Machine, demand: &Demand, _: &RingFacts) -> Finding {
    let max = machine.number("/proc/sys/net/core/wmem_max");
    let wmem = machine.read("/proc/sys/net/ipv4/tcp_wmem");
    judge_send_buffer(max, wmem.as_deref(), demand)
}

fn judge_send_buffer(max: Option<u64>, wmem: Option<&str>, demand: &Demand) -> Finding {
    let needed = demand.send_buffer_bytes;
    let should = format!("net.core.wmem_max at least {needed}, the SO_SNDBUF of every connection");
    let Some(max) = max else {
        return Finding::unknown("net.core.wmem_max can't be read", should);
    };
    let words: Vec<&str> = wmem.unwrap_or("unknown").split_whitespace().collect();
    let is = format!("{max} (tcp_wmem {} does not apply: SO_SNDBUF is set)", words.join(" "));
    Finding::unless(max >= needed, Status::Warn, is, should, format!("sysctl -w net.core.wmem_max={needed}"))
}

pub(crate) fn tcp_mem(machine: &Machine, demand: &Demand, _: &RingFacts) -> Finding {
    judge_tcp_mem(machine.numbers("/proc/sys/net/ipv4/tcp_mem").as_deref(), demand)
}

fn judge_tcp_mem(mem: Option<&[u64]>, demand: &Demand) -> Finding {
    let needed = demand.connections() * PAGES_PER_CONNECTION;
    let should =
        format!("pressure from {needed} pages on: {PAGES_PER_CONNECTION} per connection with traffic");
    let Some(&[_, pressure, max]) = mem else {
        return Finding::unknown("net.ipv4.tcp_mem can't be read", should);
    };
    let is = format!("pressure at {pressure} pages ({}), at most {max}", size(pressure * PAGE));
    let command = format!("sysctl -w net.ipv4.tcp_mem=\"{} {needed} {}\"", needed * 3 / 4, needed * 3 / 2);
    Finding::unless(pressure >= needed, Status::Warn, is, should, command)
}

pub(crate) fn conntrack(machine: &Machine, demand: &Demand, _: &RingFacts) -> Finding {
    let used = machine.number("/proc/sys/net/netfilter/nf_conntrack_count").unwrap_or(0);
    judge_conntrack(machine.number("/proc/sys/net/netfilter/nf_conntrack_max"), used, demand)
}

fn judge_conntrack(max: Option<u64>, used: u64, demand: &Demand) -> Finding {
    // Closed connections are remembered for two minutes.
    let needed = demand.connections() * 5 / 4;
    let should =
        format!("{needed} free entries (every connection, and a quarter for those just closed), or none");
    let Some(max) = max else {
        return Finding::ok("connections are not tracked", should);
    };
    let is = format!("{max}, {used} in use");
    let command = format!(
        "sysctl -w net.netfilter.nf_conntrack_max={}   # or NOTRACK the port",
        (used + needed).next_power_of_two()
    );
    Finding::unless(max.saturating_sub(used) >= needed, Status::Warn, is, should, command)
}

#[cfg(test)]
mod tests {
    use super::{conntrack, local_ports, send_buffer, somaxconn, syn_backlog, tcp_mem, tcp_rmem};
    use crate::machine::{Machine, tree};
    use crate::{Demand, Finding, RingFacts, Status};

    type Check = fn(&Machine, &Demand, &RingFacts) -> Finding;

    fn look(check: Check, files: &[(&str, &str)]) -> Finding {
        let (_root, machine) = tree(files);
        check(&machine, &Demand::example(), &RingFacts::untried())
    }

    #[test]
    fn each_setting_is_ok_warned_of_or_unknown() {
        let cases: [(Check, &str, &str, &str); 6] = [
            (somaxconn, "core/somaxconn", "4096", "128"),
            (syn_backlog, "ipv4/tcp_max_syn_backlog", "4096", "2048"),
            (local_ports, "ipv4/ip_local_port_range", "1024\t65535", "32768\t60999"),
            (tcp_rmem, "ipv4/tcp_rmem", "4096\t131072\t6291456", "4096\t65536\t65536"),
            (send_buffer, "core/wmem_max", "212992", "65536"),
            (tcp_mem, "ipv4/tcp_mem", "287901\t383868\t575802", "3000\t4000\t6000"),
        ];
        for (check, file, good, bad) in cases {
            let path = format!("/proc/sys/net/{file}");
            assert_eq!(look(check, &[(&path, good)]).status, Status::Ok, "{file}");
            let finding = look(check, &[(&path, bad)]);
            assert_eq!(finding.status, Status::Warn, "{file}");
            assert!(finding.command.starts_with("sysctl -w net."), "{finding:?}");
            assert_eq!(look(check, &[]).status, Status::Unknown, "{file}");
        }
    }

    #[test]
    fn with_syn_cookies_the_syn_backlog_does_not_matter() {
        let files =
            [("/proc/sys/net/ipv4/tcp_max_syn_backlog", "128"), ("/proc/sys/net/ipv4/tcp_syncookies", "1")];
        assert_eq!(look(syn_backlog, &files).status, Status::Ok);
    }

    #[test]
    fn connections_are_tracked_with_room_or_not_at_all() {
        assert_eq!(look(conntrack, &[]).status, Status::Ok);
        let max = "/proc/sys/net/netfilter/nf_conntrack_max";
        let count = "/proc/sys/net/netfilter/nf_conntrack_count";
        assert_eq!(look(conntrack, &[(max, "262144"), (count, "10")]).status, Status::Ok);
        assert_eq!(look(conntrack, &[(max, "262144"), (count, "230000")]).status, Status::Warn);
    }
}
