//! One socket's way through two rings, on this thread and within a second: an operation may be
//! known to a kernel and still not in the form that a shard uses.

use super::{
    Address, Event, ListenError, Listener, Outgoing, Receive, Ring, RingConfig, RingError, UringRing,
};
use rustix::event::{EventfdFlags, eventfd};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicI32;
use std::time::Duration;
use thiserror::Error;

const TABLE: u32 = 16;
const BUFFERS: u16 = 16;
const BUFFER_BYTES: usize = 64;
const TOKEN: u64 = 7;
/// A step is over in microseconds; this is for a machine that is busy.
const STEP: Duration = Duration::from_millis(10);
const STEPS_MAX: usize = 100;

/// Why the trial did not come to its end.
#[derive(Debug, Error)]
pub enum TrialError {
    /// No ring to try with.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// No loop-back address to listen on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The client's end failed, or a wait.
    #[error("the trial's own socket failed: {0}")]
    Io(#[from] io::Error),
    /// An operation had another end than it should have.
    #[error("{step} did not work: {got}")]
    Step {
        /// Which one.
        step: &'static str,
        /// What came instead.
        got: String,
    },
}

/// Accept, receive once, move to another ring, receive many times, send, shut down, close, cancel.
pub(super) fn run() -> Result<(), TrialError> {
    let (mut listeners, address) = Listener::bind((Ipv4Addr::LOCALHOST, 0).into(), 1)?;
    let wake: Arc<OwnedFd> = Arc::new(eventfd(0, EventfdFlags::CLOEXEC).map_err(io::Error::from)?);
    let peers: Arc<[AtomicI32]> = (0..2).map(|_| AtomicI32::new(-1)).collect();
    let config = |shard| RingConfig {
        table: TABLE,
        buffers: BUFFERS,
        buffer_bytes: BUFFER_BYTES,
        accepts: 1,
        shard,
        peers: Arc::clone(&peers),
        wake: Arc::clone(&wake),
    };
    let mut pair = Pair {
        rings: [UringRing::new(config(0), listeners.pop())?, UringRing::new(config(1), None)?],
        events: Vec::new(),
    };
    let mut client = TcpStream::connect(address)?;
    client.set_read_timeout(Some(STEP * STEPS_MAX as u32))?;
    let moved = pair.accept_and_move(&mut client)?;
    pair.talk_and_close(moved, &mut client)?;
    rustix::io::write(&wake, &1u64.to_ne_bytes()).map_err(io::Error::from)?;
    pair.until("POLL_ADD (multishot, 5.13)", |event| matches!(event, Event::Woken).then_some(()))?;
    pair.rings[0].accept(0);
    pair.rings[0].stop_accepting();
    pair.until("synchronous cancel (6.0)", |event| matches!(event, Event::AcceptFailed { .. }).then_some(()))
}

struct Pair {
    rings: [UringRing; 2],
    events: Vec<Event>,
}

impl Pair {
    fn accept_and_move(&mut self, client: &mut TcpStream) -> Result<Address, TrialError> {
        self.rings[0].accept(0);
        let slot = self.until("ACCEPT into the table (5.19)", |event| match event {
            Event::Accepted { slot, .. } => Some(*slot),
            _ => None,
        })?;
        let at = Address { slot, generation: 0 };
        client.write_all(b"once")?;
        self.rings[0].recv(at, Receive::Once);
        self.received("RECV into provided buffers (5.19)")?;
        self.rings[0].pass(at, 1, TOKEN);
        let slot = self.until("MSG_RING with a socket (6.0)", |event| match event {
            Event::Arrived { slot, token: TOKEN } => Some(*slot),
            _ => None,
        })?;
        self.rings[0].close(at);
        self.until("CLOSE in the table (5.15)", |event| matches!(event, Event::Closed { .. }).then_some(()))?;
        Ok(Address { slot, generation: 0 })
    }

    fn talk_and_close(&mut self, at: Address, client: &mut TcpStream) -> Result<(), TrialError> {
        self.rings[1].recv(at, Receive::Many);
        for _ in 0..2 {
            client.write_all(b"many")?;
            self.received("RECV (multishot, 6.0)")?;
        }
        self.rings[1].send(at, Outgoing::Shared(Rc::from(&b"answer"[..])), 0);
        self.until("SEND", |event| matches!(event, Event::Sent { result: Ok(6), .. }).then_some(()))?;
        client.read_exact(&mut [0; 6])?;
        self.rings[1].shutdown(at, true);
        self.until("SHUTDOWN (5.11)", |event| matches!(event, Event::ReceiveEnded { .. }).then_some(()))?;
        self.rings[1].close(at);
        self.until("CLOSE in the table (5.15)", |event| matches!(event, Event::Closed { .. }).then_some(()))
    }

    fn received(&mut self, step: &'static str) -> Result<(), TrialError> {
        self.until(step, |event| matches!(event, Event::Received { .. }).then_some(()))
    }

    /// Turns both rings until one of them has what is wanted, and forgets what came before it.
    fn until<T>(&mut self, step: &'static str, want: impl Fn(&Event) -> Option<T>) -> Result<T, TrialError> {
        let mut got = String::from("nothing came");
        for _ in 0..STEPS_MAX {
            for ring in &mut self.rings {
                ring.wait(ring.now().after(STEP / 10), &mut self.events)?;
                let mut found = None;
                for event in self.events.drain(..) {
                    found = found.or_else(|| want(&event));
                    got = format!("{event:?}");
                    if let Event::Received { buffer, .. } = event {
                        ring.release(buffer);
                    }
                }
                if let Some(found) = found {
                    return Ok(found);
                }
            }
        }
        Err(TrialError::Step { step, got })
    }
}
