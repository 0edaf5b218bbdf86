//! What a user sends that is no message: typing, read marks, and a `sync` beyond the rules.

use super::{Client, add, wire};
use std::collections::VecDeque;

/// Hints of one user that wait to go out; one more is left out.
const EXTRAS_MAX: usize = 64;

/// Something to send that is no message and has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hint {
    Typing,
    MarkRead,
}

/// Those of one user that wait to go out, with the conversation of each.
#[derive(Debug, Default)]
pub(super) struct Extras(VecDeque<(Hint, u32)>);

impl Extras {
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

impl Client {
    /// Hands the user a hint to send.
    pub(crate) fn submit_hint(&mut self, hint: Hint, conversation: u32) {
        if self.connected && self.extras.0.len() < EXTRAS_MAX {
            self.extras.0.push_back((hint, conversation));
        } else {
            add(&self.shared.counters.left_out, 1);
        }
    }

    /// Has the user ask for what is new in a conversation, though the rules call for nothing.
    pub(crate) fn submit_sync(&mut self, conversation: u32, due_us: u64) {
        let counters = &self.shared.counters;
        let taken = self.connected && self.inbox.ask(conversation as usize, due_us);
        add(if taken { &counters.syncs } else { &counters.left_out }, 1);
    }

    pub(super) fn next_extra(&mut self) -> Option<String> {
        let (hint, conversation) = self.extras.0.pop_front()?;
        let name = &self.inbox.tracked[conversation as usize].name;
        let counters = &self.shared.counters;
        Some(match hint {
            Hint::MarkRead => {
                add(&counters.marks, 1);
                wire::mark_read(name, self.inbox.contiguous(conversation as usize))
            }
            Hint::Typing => {
                add(&counters.typing, 1);
                wire::typing(name)
            }
        })
    }
}
