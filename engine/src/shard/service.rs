//! What a shard does with whole messages: the chat of the product, or the echo of tests.

use super::hub::Hub;
use crate::session::Payload;
use bus::Downstream;
use protocol::{SessionRef, UserId};

/// The purpose of a shard. Monomorphised into its loop: no dynamic call per message.
pub trait Service {
    /// Whether sessions are entered in the directory of routes and greeted with `connected`.
    const ROUTED: bool;

    /// A whole message came from the session in `slot`.
    fn message(&mut self, hub: &mut Hub, slot: u32, binary: bool, payload: Payload<'_>);

    /// A session of `user` opened in `slot`.
    fn opened(&mut self, hub: &mut Hub, slot: u32, user: UserId);

    /// That session of `user` is gone.
    fn closed(&mut self, session: SessionRef, user: UserId);

    /// The session's route stands.
    fn registered(&mut self, hub: &mut Hub, slot: u32);

    /// Ends a tick: what was taken may be handed on in one go.
    fn end_of_tick(&mut self);

    /// What the service itself has for sessions of this shard.
    fn poll(&mut self) -> Option<Downstream> {
        None
    }

    /// Whether something must be tried again soon although nothing happens.
    fn is_waiting(&self) -> bool {
        false
    }
}
