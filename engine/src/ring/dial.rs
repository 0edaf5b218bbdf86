//! Sockets that go out: what a ring of clients does beyond what a gateway's does.
#![allow(unsafe_code)]

use super::{Address, Event, Ring};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::Duration;

/// Where a socket is to connect, and how it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// The server.
    pub to: SocketAddr,
    /// The address to come from; `None` lets the system choose.
    pub from: Option<IpAddr>,
    /// `SO_RCVBUF`: a client that reads slowly must not have the kernel read for it.
    pub receive_buffer_bytes: Option<usize>,
}

/// The client's side of a ring.
pub trait Dial: Ring {
    /// Makes a socket in the free slot of `at` and connects it: [`Event::Dialed`]. With an error
    /// nothing was begun, and the slot is still free.
    fn dial(&mut self, at: Address, call: &Call) -> io::Result<()>;
    /// As [`Ring::wait`], for at most `pause`: clients that are to send on time need more than
    /// milliseconds.
    fn wait_for(&mut self, pause: Duration, events: &mut Vec<Event>) -> io::Result<()>;
}

/// A socket for `call`, bound where it says. The ring could make one in its table by itself
/// (SOCKET, 5.19), but bind it only from 6.11 on (BIND), and set its options from 6.7 on.
pub(super) fn socket(call: &Call) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(call.to), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    if let Some(bytes) = call.receive_buffer_bytes {
        socket.set_recv_buffer_size(bytes)?;
    }
    if let Some(from) = call.from {
        choose_port_late(&socket)?;
        socket.bind(&SocketAddr::new(from, 0).into())?;
    }
    Ok(socket)
}

/// `IP_BIND_ADDRESS_NO_PORT`: the port is chosen when the socket connects, and must then be free for
/// this pair of addresses only. A bind would look for one that no socket of this address has.
fn choose_port_late(socket: &Socket) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open as long as `socket` is borrowed, and the option is read from
    // an int of that size, which lives on this stack.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            std::ptr::from_ref(&on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
