//! What a server answers to a user's messages: acks, and errors that are final or not.

use super::wire::{Ack, ErrorEvent, told_wait};
use super::{Client, add};
use crate::ledger::Record;
use crate::measure::Measure;
use std::sync::atomic::Ordering::Relaxed;

impl Client {
    /// The number in an id of this run and user.
    fn own_number(&self, id: &str) -> Option<u64> {
        let rest = id.strip_prefix(&self.shared.run)?.strip_prefix('-')?;
        let (user, number) = rest.split_once('-')?;
        (user.parse() == Ok(self.user)).then(|| number.parse().ok())?
    }

    pub(super) fn acked(&mut self, ack: &Ack<'_>, now_us: u64) -> Result<(), String> {
        let number = self.own_number(&ack.temp_message_id);
        if ack.status != "persisted" {
            if let Some(message) = number.and_then(|number| self.outbox.accept(number)) {
                add(&self.shared.counters.accepted, 1);
                self.sample(Measure::Accepted, message.due_us, message.begun_us, now_us);
            }
            return Ok(());
        }
        let id = ack.message_id.as_ref().and_then(|id| id.parse().ok());
        let (Some(seq), Some(id)) = (ack.seq_id, id) else {
            return Err(format!("an ack without seqId or messageId: {ack:?}"));
        };
        if let Some(message) = number.and_then(|number| self.outbox.settle(number)) {
            let members = self.inbox.tracked[message.conversation as usize].members;
            self.settled += 1;
            add(&self.shared.counters.persisted, 1);
            add(&self.shared.counters.expected, u64::from(members.saturating_sub(1)));
            self.sample(Measure::Persisted, message.due_us, message.begun_us, now_us);
        }
        if let Some(at) = self.inbox.find(&ack.conversation_id) {
            self.inbox.take(at, seq, now_us);
            if self.reading_back && self.inbox.read_again(at, seq) {
                self.shared.counters.read_back.fetch_sub(1, Relaxed);
            }
        }
        let (conv, msg) = (ack.conversation_id.to_string().into(), ack.temp_message_id.to_string().into());
        let (user, session, at) = (self.user, self.session, now_us);
        self.record(Record::Ack { user, session, conv, msg, seq, id, at });
        Ok(())
    }

    /// Sends nothing for as long as an error says.
    fn hold(&mut self, error: &ErrorEvent<'_>, now_us: u64) {
        if let Some(wait) = told_wait(&error.message) {
            let until_us = now_us + wait.as_micros() as u64;
            self.outbox.hold(until_us);
            self.inbox.hold(until_us);
        }
    }

    pub(super) fn error(&mut self, error: &ErrorEvent<'_>, trace: Option<&str>, now_us: u64) {
        self.shared.counters.error(&error.code);
        if error.temp_message_id.is_none() && self.inbox.is_asked(trace) {
            self.inbox.retry(now_us);
            return self.hold(error, now_us);
        }
        let number = error.temp_message_id.as_deref().and_then(|id| self.own_number(id));
        let told = || format!("{}: {}", error.code, error.message);
        let (Some(id), Some(number)) = (&error.temp_message_id, number) else {
            let _ = self.shared.counters.first_error.set(told());
            return;
        };
        let message = if error.retryable {
            add(&self.shared.counters.put_off, 1);
            self.outbox.refuse(number, now_us)
        } else {
            self.outbox.settle(number)
        };
        self.hold(error, now_us);
        // A late answer about what is settled says nothing new.
        let Some(message) = message else { return };
        if !error.retryable {
            self.settled += 1;
            add(&self.shared.counters.refused, 1);
            let _ = self.shared.counters.first_error.set(told());
        }
        let conv = self.inbox.tracked[message.conversation as usize].name.to_string();
        let (user, session, at) = (self.user, self.session, now_us);
        let (conv, msg) = (conv.into(), id.to_string().into());
        let (code, retry) = (error.code.to_string().into(), error.retryable);
        self.record(Record::Refused { user, session, conv, msg, code, retry, at });
    }
}
