//! What can only be said at the end of a ledger: what is missing.

use super::messages::Message;
use super::{Damage, DamageKind, Fault, FaultKind, Judge, Pace, Received, Stage, Verdict, Witness};
use crate::ledger::End;
use crate::ranges::Ranges;

impl Judge {
    /// A file is over: its end is checked; `sound` if every line was where and what it was.
    pub(super) fn end_file(&mut self, sound: bool, ledger: Option<u32>) {
        self.check_end(sound, ledger);
        let none = End { interrupted: true, ..End::default() };
        let end = self.end.take().unwrap_or(none);
        self.read = End::default();
        self.ended = Some(self.ended.map_or(end, |all| End {
            interrupted: all.interrupted || end.interrupted,
            settled: all.settled && end.settled,
            quiet: all.quiet && end.quiet,
            clock_us: all.clock_us.max(end.clock_us),
            ..all
        }));
    }

    /// What all files come to; `at_least_once` if a session may be told of a message again.
    pub(super) fn finish_files(mut self, at_least_once: bool, pace: &mut Pace<'_>) -> Verdict {
        if !at_least_once {
            self.fault_repeats();
        }
        let end = self.ended.unwrap_or_default();
        self.verdict.incomplete = end.interrupted;
        self.verdict.settled = end.settled;
        // Two files' clocks may be off to either side.
        let apart = if self.by_time { end.clock_us.saturating_mul(2) } else { 0 };
        pace.begin(Stage::Messages, Some(self.messages.len().into()));
        for at in 0..self.messages.len() {
            pace.step(1);
            self.count(at);
            self.check_unknown(at);
            self.check_lost(at, end.quiet, apart);
        }
        self.check_gaps();
        self.check_order(Witness::Clients, |_, message| message.place().map(|place| place.seq));
        if self.verdict.store.as_ref().is_some_and(|store| store.unread.is_none()) {
            self.finish_rows();
        }
        self.verdict.clean = self.verdict.is_clean();
        self.verdict
    }

    fn fault_repeats(&mut self) {
        let repeats = std::mem::take(&mut self.repeats);
        let unnamed = self.verdict.repeated - repeats.len() as u64;
        if unnamed > 0 {
            *self.verdict.counts.entry(FaultKind::Doubled).or_default() += unnamed;
        }
        for (at, session, user) in repeats {
            let detail = format!("delivered twice to session {session} of user {user}");
            self.fault(FaultKind::Doubled, at, detail);
        }
    }

    fn check_end(&mut self, sound: bool, ledger: Option<u32>) {
        let about = match self.end {
            None => "the end is missing: the run was killed, or the file cut off".to_owned(),
            // Damaged lines are named one by one, and make the counts differ.
            Some(_) if !sound => return,
            Some(end) if self.counted(end) => return,
            Some(end) => format!(
                "the end counts {} sent, {} acks and {} deliveries, the file has {}, {} and {}",
                end.sent, end.acks, end.got, self.read.sent, self.read.acks, self.read.got
            ),
        };
        self.verdict.damage(Damage { kind: DamageKind::Truncated, ledger, line: 0, about });
    }

    fn counted(&self, end: End) -> bool {
        (end.sent, end.acks, end.got) == (self.read.sent, self.read.acks, self.read.got)
    }

    fn count(&mut self, at: u32) {
        let message = self.messages.get(at);
        self.verdict.sent += u64::from(message.sent);
        self.verdict.persisted += u64::from(message.acked.is_some());
        self.verdict.refused += u64::from(message.refused);
    }

    fn check_unknown(&mut self, at: u32) {
        let message = self.messages.get(at);
        if !message.sent {
            self.fault(FaultKind::Unknown, at, "nobody sent it".to_owned());
        } else if message.refused && message.place().is_some() {
            self.fault(FaultKind::Unknown, at, "it was refused for good, and yet is there".to_owned());
        }
    }

    /// Everybody in the conversation has it; its sender can read it back. Who asked before it was
    /// known to be persisted, or less than `apart` after it, may not have it.
    fn check_lost(&mut self, at: u32, quiet: bool, apart: u64) {
        let message = self.messages.get(at);
        if !message.sent || message.refused {
            return;
        }
        let (conv, sender, place) = (message.conversation, message.sender, message.place());
        let known_at = message.known_at.unwrap_or(u64::MAX).saturating_add(apart);
        let mut undecided = message.acked.is_none() && !quiet;
        if message.acked.is_none() && quiet {
            self.fault(FaultKind::Lost, at, "it was sent, and never acknowledged as persisted".to_owned());
        }
        let members = place.map_or(0, |_| self.conversations[conv as usize].members.len());
        for index in 0..members {
            let user = self.conversations[conv as usize].members[index];
            let received = self.received.get(&(user, conv));
            let has = |seen: fn(&Received) -> &Ranges| {
                received.zip(place).is_some_and(|(received, place)| seen(received).contains(place.seq))
            };
            let asked = self.read_back.get(&(user, conv));
            let should_read = asked.map_or(quiet, |asked| asked.done.is_some_and(|done| known_at < done));
            let (decided, detail) = match (user == sender, has(|r| &r.running), has(|r| &r.last)) {
                (_, true, _) | (true, _, true) => continue,
                (true, false, false) => (should_read, "its sender can't read it back".to_owned()),
                (false, false, true) => (
                    quiet && asked.is_none_or(|asked| known_at < asked.first),
                    format!("not delivered to user {user}: it is stored, and came only by the last sync"),
                ),
                (false, false, false) => {
                    (should_read, format!("not delivered to user {user}, not by sync either"))
                }
            };
            if decided {
                self.fault(FaultKind::Lost, at, detail);
            }
            undecided |= !decided;
        }
        self.verdict.undecided += u64::from(undecided);
    }

    fn check_gaps(&mut self) {
        for conv in 0..self.conversations.len() {
            let conversation = &self.conversations[conv];
            let last = conversation.stored.max(conversation.known.last().unwrap_or(0));
            let holes = conversation.known.holes(conversation.base.unwrap_or(0), last);
            let name = conversation.name.clone();
            for (first, end) in holes {
                let after = self.messages.at_seq(conv as u32, end.saturating_add(1));
                let detail = match after {
                    Some(after) => format!(
                        "nobody has seen seq {first} to {end}, before {} from {}",
                        self.messages.id(after),
                        after.sender
                    ),
                    None => {
                        format!("nobody has seen seq {first} to {end}, and the conversation ends at {last}")
                    }
                };
                let fault = Fault {
                    kind: FaultKind::Gap,
                    by: Witness::Clients,
                    conversation: name.to_string(),
                    sender: None,
                    client_id: None,
                    seq: Some(first),
                    detail,
                };
                self.verdict.fault(fault);
            }
        }
    }

    /// Each sender's messages have their seqs, as that witness tells them, in the order in which they
    /// were sent.
    pub(super) fn check_order(&mut self, by: Witness, seq_of: impl Fn(u32, &Message) -> Option<u64>) {
        let mut sent: Vec<(u32, u64, u64, u32)> = (0..self.messages.len())
            .filter_map(|at| {
                let message = self.messages.get(at);
                let seq = seq_of(at, message)?;
                message.sent.then_some((message.conversation, message.sender, seq, at))
            })
            .collect();
        sent.sort_unstable();
        // The last sent of those with smaller seqs.
        let mut newest: Option<(u32, u64, u64, u32)> = None;
        for message in sent {
            let (conv, sender, _, at) = message;
            let before = newest.filter(|newest| (newest.0, newest.1) == (conv, sender));
            let (_, latest) = self.messages.get(at).order;
            let earliest = before.map_or(0, |before| self.messages.get(before.3).order.0);
            if let Some((_, _, seq, other)) = before.filter(|_| earliest > latest) {
                let other = self.messages.get(other);
                let detail = format!("sent before {}, which has seq {seq}", self.messages.id(other));
                match by {
                    Witness::Clients => self.fault(FaultKind::Reordered, at, detail),
                    Witness::Store => self.fault_of_row(FaultKind::Reordered, conv, at, message.2, detail),
                }
                // From here on anew, or all that follow would be told of too.
                newest = Some(message);
            } else if before.is_none() || self.messages.get(at).order.0 >= earliest {
                newest = Some(message);
            }
        }
    }
}
