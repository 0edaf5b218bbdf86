//! Where to connect, from where, and how: everything up to an open WebSocket.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::time::Duration;
use thiserror::Error;
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::AUTHORIZATION;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, http::Response};

/// How long a connect, and then an upgrade, may take.
const STEP: Duration = Duration::from_secs(10);
/// Buffers of a connection: ten thousand of them are to fit.
const BUFFER_BYTES: usize = 4 << 10;
/// Connections from one address to one other; the usual range of ports for it holds 28,232.
const CONNECTIONS_PER_SOURCE: usize = 25_000;
/// Descriptors for anything but connections.
const DESCRIPTORS_SPARE: u64 = 64;

/// An open WebSocket.
pub(crate) type Socket = WebSocketStream<TcpStream>;

/// A server's socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// As it was given.
    pub url: String,
    /// Its address.
    pub address: SocketAddr,
}

/// Why there is no connection.
#[derive(Debug, Error)]
pub(crate) enum DialError {
    #[error("cannot connect to {0} ({1}): is the server up? `ringway dev` starts one")]
    Connect(String, std::io::Error),
    #[error("{0} did not answer within {seconds} s: is that a Ringway, and not overloaded?", seconds = STEP.as_secs())]
    Slow(String),
    #[error(
        "{0} does not take the token (401): --data must be the server's data directory, or --tokens a file of its tokens"
    )]
    Token(String),
    #[error("{0} answered {1} instead of an upgrade{2}")]
    Refused(String, u16, &'static str),
    #[error("{0}: no WebSocket ({1})")]
    Upgrade(String, Error),
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
    Ok(Target { url: format!("ws://{host}/{path}"), address })
}

/// How many source addresses so many connections need.
pub(crate) fn sources_needed(connections: usize) -> u8 {
    connections.div_ceil(CONNECTIONS_PER_SOURCE).clamp(1, 250) as u8
}

/// Raises the limit of open files as far as it goes; what is wrong if that isn't far enough.
pub(crate) fn raise_descriptors(connections: usize) -> Result<(), String> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    // What can't be raised may still be enough.
    let _ = setrlimit(Resource::Nofile, raised);
    let current = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let room = current.saturating_sub(DESCRIPTORS_SPARE);
    if connections as u64 <= room {
        return Ok(());
    }
    Err(format!(
        "{connections} connections need {} open files, the limit is {current}: raise the hard limit (ulimit -Hn), or use --connections {room} at most",
        connections as u64 + DESCRIPTORS_SPARE
    ))
}

/// The address that a user connects from; `None` lets the system choose.
pub(crate) fn source(user_index: usize, sources: u8, to: &SocketAddr) -> Option<SocketAddr> {
    (sources > 1 && to.ip().is_loopback() && to.is_ipv4()).then(|| {
        let last = 1 + (user_index % usize::from(sources)) as u8;
        SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)), 0)
    })
}

/// Opens a WebSocket.
pub(crate) async fn dial(
    target: &Target,
    token: &str,
    source: Option<SocketAddr>,
) -> Result<Socket, DialError> {
    let url = || target.url.clone();
    let stream = match tokio::time::timeout(STEP, connect(target.address, source)).await {
        Err(_) => return Err(DialError::Slow(url())),
        Ok(connected) => connected.map_err(|error| DialError::Connect(url(), error))?,
    };
    let mut request =
        target.url.as_str().into_client_request().map_err(|error| DialError::Upgrade(url(), error))?;
    let bearer = HeaderValue::from_str(&format!("Bearer {token}"));
    let bearer = bearer.map_err(|_| DialError::Token(url()))?;
    request.headers_mut().insert(AUTHORIZATION, bearer);
    let config = WebSocketConfig::default().read_buffer_size(BUFFER_BYTES).write_buffer_size(BUFFER_BYTES);
    let upgrade = tokio_tungstenite::client_async_with_config(request, stream, Some(config));
    match tokio::time::timeout(STEP, upgrade).await {
        Err(_) => Err(DialError::Slow(url())),
        Ok(Ok((socket, _))) => Ok(socket),
        Ok(Err(Error::Http(response))) => Err(refused(url(), &response)),
        Ok(Err(error)) => Err(DialError::Upgrade(url(), error)),
    }
}

async fn connect(to: SocketAddr, source: Option<SocketAddr>) -> std::io::Result<TcpStream> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(source) = source {
        socket.set_reuseaddr(true)?;
        socket.bind(source)?;
    }
    let stream = socket.connect(to).await?;
    // While nobody listens on a port of the range that clients are given theirs from, a client may be
    // given that very port, and meets itself (TCP's simultaneous open).
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(std::io::ErrorKind::ConnectionRefused.into());
    }
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn refused(url: String, response: &Response<Option<Vec<u8>>>) -> DialError {
    match response.status().as_u16() {
        401 => DialError::Token(url),
        code @ 403 => DialError::Refused(url, code, ": this origin is not allowed"),
        code @ 404 => DialError::Refused(url, code, ": the socket of Ringway is at /ws"),
        code @ 503 => {
            DialError::Refused(url, code, ": it is full or draining (--connections-max of the server)")
        }
        code => DialError::Refused(url, code, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::{source, sources_needed, target};

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
        assert_eq!((sources_needed(100), sources_needed(25_001)), (1, 2));
        let to = "127.0.0.1:1".parse().unwrap();
        assert_eq!(source(1, 1, &to), None);
        assert_eq!(source(3, 2, &to), Some("127.0.0.2:0".parse().unwrap()));
        assert_eq!(source(3, 2, &"10.0.0.1:1".parse().unwrap()), None);
    }
}
