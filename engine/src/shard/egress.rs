//! What waits to be sent to one socket, bounded in bytes.

use crate::ring::Outgoing;
use protocol::limits::GATHER_BYTES;
use std::collections::{VecDeque, vec_deque};
use std::rc::Rc;

/// One WebSocket frame, header and payload; every recipient's queue refers to the same bytes.
pub type Frame = Rc<[u8]>;

/// Queues of idle connections kept for the next one that has something to send.
const SPARE_QUEUES: usize = 1_024;
/// Gather buffers kept for the next gathered send, by what they can hold together.
const SPARE_BYTES: usize = 1 << 20;

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

    /// How many of the first frames leave with the next send, and their bytes.
    fn fitting(&self) -> (usize, usize) {
        let (mut count, mut bytes) = (0, 0);
        for frame in &self.frames {
            if count > 0 && bytes + frame.len() > GATHER_BYTES {
                break;
            }
            (count, bytes) = (count + 1, bytes + frame.len());
        }
        (count, bytes)
    }

    /// The next send: a single frame as it is, several small ones gathered into one buffer, which is
    /// shared if others wait for the same frames.
    pub(super) fn next(&mut self, pools: &mut Pools) -> Option<Outgoing> {
        let (count, bytes) = self.fitting();
        self.bytes -= bytes;
        if count < 2 {
            return self.frames.pop_front().map(Outgoing::Shared);
        }
        // Of a frame that nobody else waits for there is one reference.
        let outgoing = if Rc::strong_count(&self.frames[0]) > 1 {
            Outgoing::Shared(pools.alike.gather(self.frames.range(..count), bytes))
        } else {
            let mut buffer = pools.buffer(bytes);
            self.frames.range(..count).for_each(|frame| buffer.extend_from_slice(frame));
            Outgoing::Gathered(buffer)
        };
        self.frames.drain(..count);
        Some(outgoing)
    }
}

/// The last send that was gathered for more than one socket. In a room all queues hold the same
/// frames: a burst is copied once, and not for each member.
#[derive(Debug, Default)]
struct Alike {
    /// What it consists of; held, so that an address means the same frame.
    frames: Vec<Frame>,
    gathered: Option<Rc<[u8]>>,
}

impl Alike {
    /// Those frames in one piece, of `bytes` in all.
    fn gather(&mut self, frames: vec_deque::Iter<'_, Frame>, bytes: usize) -> Rc<[u8]> {
        if let Some(gathered) = &self.gathered
            && frames.len() == self.frames.len()
            && frames.clone().zip(&self.frames).all(|(frame, own)| Rc::ptr_eq(frame, own))
        {
            return Rc::clone(gathered);
        }
        self.frames.clear();
        self.frames.extend(frames.cloned());
        let mut whole = Vec::with_capacity(bytes);
        self.frames.iter().for_each(|frame| whole.extend_from_slice(frame));
        Rc::clone(self.gathered.insert(whole.into()))
    }
}

/// What connections borrow while they have something to send.
#[derive(Debug, Default)]
#[allow(clippy::vec_box, reason = "a connection keeps a Box of its queue: an idle one costs a pointer")]
pub(super) struct Pools {
    queues: Vec<Box<Egress>>,
    buffers: Vec<Vec<u8>>,
    /// What `buffers` can hold together.
    buffer_bytes: usize,
    alike: Alike,
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

    /// An empty buffer that has room for so much.
    fn buffer(&mut self, bytes: usize) -> Vec<u8> {
        let mut buffer = self.buffers.pop().unwrap_or_default();
        self.buffer_bytes -= buffer.capacity();
        buffer.reserve(bytes.next_power_of_two());
        buffer
    }

    /// Takes back what a finished send carried.
    pub(super) fn return_outgoing(&mut self, outgoing: Outgoing) {
        if let Outgoing::Gathered(mut buffer) = outgoing
            && self.buffer_bytes + buffer.capacity() <= SPARE_BYTES
        {
            buffer.clear();
            self.buffer_bytes += buffer.capacity();
            self.buffers.push(buffer);
        }
    }

    /// Every queue has had its turn: what they had in common is not needed any more.
    pub(super) fn end_of_flush(&mut self) {
        self.alike = Alike::default();
    }
}

#[cfg(test)]
mod tests {
    use super::{Egress, Frame, GATHER_BYTES, Outgoing, Pools, SPARE_BYTES};
    use std::rc::Rc;

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

    #[test]
    fn sockets_with_the_same_frames_share_one_gathered_send() {
        let mut pools = Pools::default();
        let (one, two, other) = (frame(10, 1), frame(20, 2), frame(20, 3));
        let mut send = |frames: &[&Frame]| {
            let mut egress = Egress::default();
            frames.iter().for_each(|frame| egress.push(Frame::clone(frame)));
            let sent = egress.next(&mut pools).expect("something is queued");
            assert!(egress.is_empty() && egress.bytes() == 0);
            match sent {
                Outgoing::Shared(bytes) => bytes,
                Outgoing::Gathered(_) => panic!("a copy of its own"),
            }
        };
        let first = send(&[&one, &two]);
        assert_eq!(*first, *[&one[..], &two].concat());
        assert!(Rc::ptr_eq(&first, &send(&[&one, &two])));
        for (different, bytes) in [([&one, &other], [&one[..], &other]), ([&two, &one], [&two[..], &one])] {
            assert_eq!(*send(&different), *bytes.concat());
        }
        assert_eq!(send(&[&one, &two, &other]).len(), 50, "one that begins alike");
        assert_eq!(send(&[&one, &two]).len(), 30, "one that ends earlier");
    }

    #[test]
    fn spare_buffers_hold_no_more_than_their_bound() {
        let mut pools = Pools::default();
        let buffers: Vec<_> = (0..100).map(|_| pools.buffer(GATHER_BYTES)).collect();
        buffers.into_iter().for_each(|buffer| pools.return_outgoing(Outgoing::Gathered(buffer)));
        assert_eq!((pools.buffers.len(), pools.buffer_bytes), (SPARE_BYTES / GATHER_BYTES, SPARE_BYTES));
        assert!(pools.buffer(GATHER_BYTES).is_empty());
        assert_eq!(pools.buffer_bytes, SPARE_BYTES - GATHER_BYTES);
    }
}
