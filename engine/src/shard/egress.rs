//! What waits to be sent to one socket, bounded in bytes.

use crate::ring::Outgoing;
use protocol::limits::GATHER_BYTES;
use std::collections::VecDeque;
use std::rc::Rc;

/// One WebSocket frame, header and payload; every recipient's queue refers to the same bytes.
pub type Frame = Rc<[u8]>;

/// Queues of idle connections kept for the next one that has something to send.
const SPARE_QUEUES: usize = 1_024;
/// Gather buffers kept for the next gathered send.
const SPARE_BUFFERS: usize = 64;

/// The queue of one connection.
#[derive(Debug, Default)]
pub(super) struct Egress {
    frames: VecDeque<Frame>,
    bytes: usize,
}

impl Egress {
    pub(super) fn push(&mut self, frame: Frame) {
        self.bytes += frame.len();
        self.frames.push_back(frame);
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Drops what has not been handed to the kernel; returns how many bytes that was.
    pub(super) fn clear(&mut self) -> usize {
        self.frames.clear();
        std::mem::take(&mut self.bytes)
    }

    fn pop(&mut self) -> Option<Frame> {
        let frame = self.frames.pop_front()?;
        self.bytes -= frame.len();
        Some(frame)
    }

    /// The next send: a single frame as it is, several small ones gathered into one buffer.
    pub(super) fn next(&mut self, pools: &mut Pools) -> Option<Outgoing> {
        let first = self.pop()?;
        let fits = |len: usize, next: &Frame| len + next.len() <= GATHER_BYTES;
        if !self.frames.front().is_some_and(|next| fits(first.len(), next)) {
            return Some(Outgoing::Shared(first));
        }
        let mut gathered = pools.buffers.pop().unwrap_or_else(|| Vec::with_capacity(GATHER_BYTES));
        gathered.extend_from_slice(&first);
        while self.frames.front().is_some_and(|next| fits(gathered.len(), next)) {
            let frame = self.pop().expect("there is a front");
            gathered.extend_from_slice(&frame);
        }
        Some(Outgoing::Gathered(gathered))
    }
}

/// What connections borrow while they have something to send.
#[derive(Debug, Default)]
#[allow(clippy::vec_box, reason = "a connection keeps a Box of its queue: an idle one costs a pointer")]
pub(super) struct Pools {
    queues: Vec<Box<Egress>>,
    buffers: Vec<Vec<u8>>,
}

impl Pools {
    pub(super) fn queue(&mut self) -> Box<Egress> {
        self.queues.pop().unwrap_or_default()
    }

    /// Takes an empty queue back. One that has grown far is let go.
    pub(super) fn return_queue(&mut self, queue: Box<Egress>) {
        debug_assert!(queue.is_empty());
        if self.queues.len() < SPARE_QUEUES && queue.frames.capacity() <= 64 {
            self.queues.push(queue);
        }
    }

    /// Takes back what a finished send carried.
    pub(super) fn return_outgoing(&mut self, outgoing: Outgoing) {
        if let Outgoing::Gathered(mut buffer) = outgoing
            && self.buffers.len() < SPARE_BUFFERS
        {
            buffer.clear();
            self.buffers.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Egress, Frame, GATHER_BYTES, Outgoing, Pools};

    fn frame(len: usize, byte: u8) -> Frame {
        vec![byte; len].into()
    }

    #[test]
    fn one_frame_leaves_as_it_is_and_several_leave_as_one_send() {
        let (mut egress, mut pools) = (Egress::default(), Pools::default());
        egress.push(frame(10, 1));
        assert!(matches!(egress.next(&mut pools), Some(Outgoing::Shared(f)) if f.len() == 10));
        egress.push(frame(10, 1));
        egress.push(frame(20, 2));
        egress.push(frame(GATHER_BYTES, 3));
        let Some(Outgoing::Gathered(bytes)) = egress.next(&mut pools) else { panic!("not gathered") };
        assert_eq!((bytes.len(), bytes[9], bytes[10]), (30, 1, 2));
        assert_eq!(egress.bytes(), GATHER_BYTES);
        assert!(matches!(egress.next(&mut pools), Some(Outgoing::Shared(f)) if f.len() == GATHER_BYTES));
        assert!(egress.next(&mut pools).is_none() && egress.bytes() == 0);
    }
}
