//! Where to connect and from where, and why there is no connection.

mod error;

pub(crate) use error::DialError;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};

/// How long a connect and its upgrade may take, µs.
pub(crate) const HANDSHAKE_US: u64 = 10_000_000;
/// Connections from one address to one other. The usual range of ports for it holds 28,232, of which a
/// connect tries one half first (Linux 6.18): once that is used up each goes through all of it, and 120
/// connections a second were made where it had been 5,000.
const CONNECTIONS_PER_SOURCE: usize = 14_000;
/// Shards at most, each with a table of sockets as large as the limit of open files.
pub const SHARDS_MAX: usize = 64;

/// A server's socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// As it was given.
    pub url: String,
    /// Its address.
    pub address: SocketAddr,
    /// Host and port, and path, as they are asked for.
    pub(crate) host: String,
    pub(crate) path: String,
    /// What is spoken inside of the WebSocket, where the server wants to be told.
    pub(crate) subprotocol: Option<&'static str>,
}

/// Reads `ws://host:port/path`.
pub fn target(url: &str) -> Result<Target, String> {
    let rest = url
        .strip_prefix("ws://")
        .ok_or_else(|| format!("expected ws://HOST:PORT/ws (TLS is not spoken here), got {url:?}"))?;
    let (host, path) = rest.split_once('/').map_or((rest, ""), |(host, path)| (host, path));
    let host = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    let mut addresses = host.to_socket_addrs().map_err(|error| format!("cannot resolve {host}: {error}"))?;
    let address = addresses.next().ok_or_else(|| format!("{host} has no address"))?;
    let path = if path.is_empty() { "ws" } else { path };
    let (url, path) = (format!("ws://{host}/{path}"), format!("/{path}"));
    Ok(Target { url, address, path, host, subprotocol: None })
}

/// Slots of a ring's table at most.
const TABLE_MAX: u64 = 1 << 20;

/// How many source addresses so many connections need.
pub(crate) fn sources_needed(connections: usize) -> u8 {
    connections.div_ceil(CONNECTIONS_PER_SOURCE).clamp(1, 250) as u8
}

/// How many shards so many connections need, and the slots of each. A ring's table holds as many
/// sockets as the process may have files open, though they are none of its open files.
pub(crate) fn shards_needed(connections: usize, asked: usize) -> Result<(usize, usize), String> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // What can't be raised may still be enough.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let table = getrlimit(Resource::Nofile).current.unwrap_or(TABLE_MAX).min(TABLE_MAX) as usize;
    let shards = if asked == 0 { connections.div_ceil(table).max(1) } else { asked };
    let most = shards.min(SHARDS_MAX) * table;
    if shards <= SHARDS_MAX && connections <= most {
        return Ok((shards, connections.div_ceil(shards)));
    }
    Err(format!(
        "{connections} connections do not fit into {} shards of {table} sockets each: use more --shards (up to \
         {SHARDS_MAX}), raise the limit of open files (ulimit -n), or use --connections {most} at most",
        shards.min(SHARDS_MAX)
    ))
}

/// The addresses that clients connect from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sources {
    /// So many of loopback.
    Loopback(u8),
    /// These.
    Given(Vec<IpAddr>),
}

/// Why an address can't be connected from.
pub(crate) fn check_source(address: IpAddr) -> Result<(), String> {
    let bound = std::net::TcpListener::bind((address, 0)).map(drop);
    bound.map_err(|error| format!("expected a --source of this machine, got {address} ({error})"))
}

/// The address that a user connects from; `None` lets the system choose.
pub(crate) fn source(user_index: usize, sources: &Sources, to: &SocketAddr) -> Option<IpAddr> {
    let sources = match sources {
        Sources::Given(given) => {
            let mut fit = given.iter().filter(|from| from.is_ipv4() == to.is_ipv4());
            let count = fit.clone().count();
            return fit.nth(user_index.checked_rem(count)?).copied();
        }
        Sources::Loopback(sources) => *sources,
    };
    (sources > 1 && to.ip().is_loopback() && to.is_ipv4()).then(|| {
        let last = 1 + (user_index % usize::from(sources)) as u8;
        IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))
    })
}

#[cfg(test)]
mod tests {
    use super::{SHARDS_MAX, Sources, check_source, shards_needed, source, sources_needed, target};

    #[test]
    fn a_target_is_a_websocket_url() {
        let one = target("ws://127.0.0.1:8080/ws").unwrap();
        assert_eq!((one.address.port(), one.url.as_str()), (8080, "ws://127.0.0.1:8080/ws"));
        assert_eq!(target("ws://127.0.0.1:8080").unwrap(), one);
        for url in ["http://127.0.0.1", "127.0.0.1:8080", "wss://127.0.0.1/ws", "ws://127.0.0.1:x/ws"] {
            assert!(target(url).is_err(), "{url}");
        }
    }

    #[test]
    fn more_connections_than_ports_come_from_several_addresses() {
        assert_eq!([100, 14_000, 14_001, 36_000].map(sources_needed), [1, 1, 2, 3]);
        let to = "127.0.0.1:1".parse().unwrap();
        assert_eq!(source(1, &Sources::Loopback(1), &to), None);
        assert_eq!(source(3, &Sources::Loopback(2), &to), Some("127.0.0.2".parse().unwrap()));
        assert_eq!(source(3, &Sources::Loopback(2), &"10.0.0.1:1".parse().unwrap()), None);
    }

    #[test]
    fn addresses_that_were_given_are_taken_in_turn_as_far_as_they_can_reach_the_target() {
        let given = Sources::Given(["10.0.0.2", "::1", "10.0.0.3"].map(|ip| ip.parse().unwrap()).into());
        let from = |user, to: &str| source(user, &given, &to.parse().unwrap()).map(|ip| ip.to_string());
        let four: Vec<_> = (0..3).filter_map(|user| from(user, "10.0.0.1:1")).collect();
        assert_eq!(four, ["10.0.0.2", "10.0.0.3", "10.0.0.2"]);
        assert_eq!(from(5, "[::1]:1").as_deref(), Some("::1"));
        assert_eq!(
            source(0, &Sources::Given(vec!["::1".parse().unwrap()]), &"10.0.0.1:1".parse().unwrap()),
            None
        );
    }

    #[test]
    fn an_address_of_another_machine_is_refused_before_the_run() {
        check_source("127.0.0.7".parse().unwrap()).unwrap();
        let told = check_source("192.0.2.1".parse().unwrap()).unwrap_err();
        assert!(told.contains("--source of this machine, got 192.0.2.1"), "{told}");
    }

    #[test]
    fn connections_are_spread_over_as_many_shards_as_their_tables_need() {
        assert_eq!(shards_needed(100, 0), Ok((1, 100)));
        assert_eq!(shards_needed(100, 3), Ok((3, 34)));
        let told = shards_needed(1 << 40, 0).unwrap_err();
        assert!(told.contains("ulimit -n"), "{told}");
        assert!(shards_needed(100, SHARDS_MAX + 1).is_err());
    }
}
