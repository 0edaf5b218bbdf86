//! A service that sends every message back: for conformance tests and for measuring the engine.

use super::hub::Hub;
use super::service::Service;
use crate::session::{Payload, frame};
use protocol::{SessionRef, UserId};

/// Answers each message with itself.
#[derive(Debug, Default)]
pub struct Echo;

impl Service for Echo {
    const ROUTED: bool = false;

    fn message(&mut self, hub: &mut Hub, slot: u32, binary: bool, payload: Payload<'_>) {
        let opcode = if binary { frame::BINARY } else { frame::TEXT };
        hub.send(slot, opcode, &payload);
    }

    fn opened(&mut self, _: &mut Hub, _: u32, _: UserId) {}
    fn closed(&mut self, _: SessionRef, _: UserId) {}
    fn registered(&mut self, _: &mut Hub, _: u32) {}
    fn end_of_tick(&mut self) {}
}
