//! One worker, as its coordinator sees it.

use super::clock::Clock;
use super::frame;
use super::line::Line;
use super::message::{Report, ToCoordinator, ToWorker};
use super::pack::Packed;
use super::{FRAME_BYTES_MAX, REPORTS_MAX};
use crate::tally::Tally;
use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::SyncSender;
use std::time::Instant;

/// Something that a worker said, and when that came; or why it says nothing any more.
#[derive(Debug)]
pub(super) enum Event {
    Said(Box<ToCoordinator>, Instant),
    Gone(String),
}

/// What a worker said of itself before the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ready {
    pub(super) users: u64,
    pub(super) shards: usize,
    pub(super) ledger: String,
}

/// What it said after the end.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) latencies: Packed,
    pub(super) saturated: Option<String>,
    pub(super) ledger_bytes: u64,
}

/// One worker.
#[derive(Debug)]
pub(super) struct Link {
    /// A number of its own among all that ever joined.
    pub(super) id: u32,
    pub(super) peer: SocketAddr,
    pub(super) pid: u32,
    line: Line,
    /// Why it takes no part any more.
    pub(super) gone: Option<String>,
    pub(super) ready: Option<Ready>,
    pub(super) clock: Option<Clock>,
    pub(super) clock_end: Option<Clock>,
    /// The last answer to a question for its clock.
    pub(super) answer: Option<(u32, u64, u64, Instant)>,
    /// Reports that wait for those of others.
    pub(super) reports: VecDeque<Report>,
    pub(super) tally: Tally,
    pub(super) step: u8,
    pub(super) interrupts: u64,
    pub(super) left: bool,
    pub(super) done: Option<Done>,
    /// The part of its ledger that was asked for last.
    pub(super) part: Option<String>,
}

impl Link {
    /// Listens to a worker on a thread of its own.
    pub(super) fn new(
        id: u32,
        stream: TcpStream,
        peer: SocketAddr,
        pid: u32,
        events: SyncSender<(u32, Event)>,
    ) -> io::Result<Self> {
        let (line, mut back) = Line::new(stream)?;
        let listen = move || {
            loop {
                let read = frame::read::<ToCoordinator>(&mut back, FRAME_BYTES_MAX);
                let at = Instant::now();
                let ended = read.is_err();
                let event = match read {
                    Ok(ToCoordinator::Alive) => continue,
                    Ok(message) => Event::Said(Box::new(message), at),
                    Err(error) => Event::Gone(error.to_string()),
                };
                if events.send((id, event)).is_err() || ended {
                    return;
                }
            }
        };
        std::thread::Builder::new().name(format!("worker-{id}")).spawn(listen)?;
        line.beat(ToWorker::Alive)?;
        Ok(Self {
            id,
            peer,
            pid,
            line,
            gone: None,
            ready: None,
            clock: None,
            clock_end: None,
            answer: None,
            reports: VecDeque::new(),
            tally: Tally::default(),
            step: 0,
            interrupts: 0,
            left: false,
            done: None,
            part: None,
        })
    }

    /// Says something to it; one that can't be told is gone.
    pub(super) fn say(&mut self, message: &ToWorker) {
        if self.gone.is_none()
            && let Err(error) = self.line.say(message)
        {
            self.leave(error.to_string());
        }
    }

    /// It takes no part any more.
    pub(super) fn leave(&mut self, why: String) {
        self.gone.get_or_insert(why);
        self.line.close();
    }

    /// Up to when it has reported.
    pub(super) fn reported_us(&self) -> Option<u64> {
        self.reports.back().map(|report| report.reached_us)
    }

    pub(super) fn hear(&mut self, event: Event) {
        let (message, at) = match event {
            Event::Said(message, at) => (*message, at),
            Event::Gone(why) => return self.leave(why),
        };
        match message {
            ToCoordinator::Alive => {}
            ToCoordinator::Clock { n, ns, unix_ns } => self.answer = Some((n, ns, unix_ns, at)),
            ToCoordinator::Ready { users, shards, ledger } => {
                self.ready = Some(Ready { users, shards, ledger });
            }
            ToCoordinator::Report(report) if self.reports.len() < REPORTS_MAX => {
                self.reports.push_back(*report);
            }
            ToCoordinator::Report(_) => {
                self.leave(format!("it is more than {REPORTS_MAX} reports ahead of another"));
            }
            ToCoordinator::Interrupts(count) => self.interrupts = count,
            ToCoordinator::Left => self.left = true,
            ToCoordinator::Done { latencies, saturated, ledger_bytes } => {
                self.done = Some(Done { latencies, saturated, ledger_bytes });
            }
            ToCoordinator::Ledger(part) => self.part = Some(part),
            ToCoordinator::Failed { why } => self.leave(why),
        }
    }
}
