//! The listening socket of one shard.

use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use thiserror::Error;

/// Connections that may wait to be accepted, per shard; the kernel caps it at `somaxconn`.
pub const BACKLOG: i32 = 4_096;
/// `SO_SNDBUF`: without it the kernel took 3.9 MB for a reader that never reads.
pub const SEND_BUFFER_BYTES: usize = 128 << 10;

/// A listening TCP socket whose options accepted sockets inherit.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
}

/// Why an address could not be listened on.
#[derive(Debug, Error)]
#[error("cannot listen on {address}: {cause}; {}", advice(.cause))]
pub struct ListenError {
    address: SocketAddr,
    // Not called a source: whoever prints the chain of causes would print it twice.
    cause: io::Error,
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "another process has it: stop that one, or choose another port",
        io::ErrorKind::PermissionDenied => "ports below 1024 need CAP_NET_BIND_SERVICE",
        io::ErrorKind::AddrNotAvailable => "no interface of this machine has that address",
        _ => "check the address",
    }
}

impl Listener {
    /// Binds one socket per shard to the same address (SO_REUSEPORT spreads connections among
    /// them); with port 0 all get the port that the first one got.
    pub fn bind(address: SocketAddr, shards: u16) -> Result<(Vec<Self>, SocketAddr), ListenError> {
        let fail = |cause| ListenError { address, cause };
        // SO_REUSEPORT would let two servers share a port in silence: the first bind is without.
        let probe = Self::open(address, false).map_err(fail)?;
        let address = probe.socket.local_addr().map_err(fail)?.as_socket().unwrap_or(address);
        drop(probe);
        let listeners =
            (0..shards).map(|_| Self::open(address, true)).collect::<Result<Vec<_>, _>>().map_err(fail)?;
        for listener in &listeners {
            listener.socket.listen(BACKLOG).map_err(fail)?;
        }
        Ok((listeners, address))
    }

    fn open(address: SocketAddr, reuse_port: bool) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(reuse_port)?;
        socket.set_tcp_nodelay(true)?;
        socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
        socket.bind(&address.into())?;
        Ok(Self { socket })
    }

    pub(super) fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::Listener;
    use std::error::Error;

    #[test]
    fn a_port_that_is_taken_is_told_once_and_with_its_cure() {
        let (_listeners, address) = Listener::bind(([127, 0, 0, 1], 0).into(), 1).expect("a free port");
        let error = Listener::bind(address, 1).expect_err("it is taken");
        let text = error.to_string();
        assert!(text.contains("Address already in use") && text.contains("another process has it"), "{text}");
        assert!(error.source().is_none(), "its text has the cause");
    }
}
