//! From received bytes to sessions, and which receives are armed.

use super::Shard;
use super::connection::{State, flag, flight};
use super::hub::Hub;
use super::service::Service;
use crate::ring::{Address, Buffer, Receive, Ring};
use crate::session::{self, Input};
use std::io;

impl<R: Ring, S: Service> Shard<R, S> {
    pub(super) fn on_received(&mut self, at: Address, buffer: &Buffer, more: bool) {
        self.read(at, buffer, more);
        self.hub.account(at.slot);
    }

    fn read(&mut self, at: Address, buffer: &Buffer, more: bool) {
        let slot = at.slot;
        let connection = &mut self.hub.connections[slot as usize];
        if !more {
            connection.in_flight &= !flight::RECV;
        }
        let bytes = self.ring.bytes(buffer);
        self.hub.stats.bytes_in.add(bytes.len() as u64);
        match connection.state {
            State::Open => {
                self.hub.heard(slot);
                read_frames(&mut self.hub, &mut self.service, slot, &mut Input::new(bytes));
            }
            State::Closing if !connection.has(flag::REFUSED) => {
                read_frames(&mut self.hub, &mut self.service, slot, &mut Input::new(bytes));
            }
            State::Handshake => {
                let mut input = Input::new(bytes);
                let head = match connection.session.next(&self.hub.limits, &mut input) {
                    Some(session::Event::Upgrade(upgrade)) => Ok((upgrade, input.rest().to_vec())),
                    Some(session::Event::Refused(refusal)) => Err(refusal),
                    _ => return self.receive_on(slot),
                };
                match head {
                    Ok((upgrade, unread)) => self.on_upgrade(slot, &upgrade, unread),
                    Err(refusal) => self.hub.refuse(slot, &refusal),
                }
            }
            State::Dying => return self.landed(at, if more { 0 } else { flight::RECV }),
            _ => {}
        }
        self.receive_on(slot);
    }

    /// Arms the receive again where one is wanted and none is armed.
    pub(super) fn receive_on(&mut self, slot: u32) {
        let connection = &mut self.hub.connections[slot as usize];
        let how = match connection.state {
            State::Handshake => Receive::Once,
            State::Open | State::Closing => Receive::Many,
            _ => return,
        };
        if connection.in_flight & flight::RECV == 0 && !connection.has(flag::PEER_DONE | flag::STARVED) {
            connection.in_flight |= flight::RECV;
            self.ring.recv(connection.address(slot), how);
        }
    }

    pub(super) fn on_receive_ended(&mut self, at: Address, error: Option<io::Error>) {
        if !self.is_current(at) {
            return;
        }
        let slot = at.slot;
        let connection = &mut self.hub.connections[slot as usize];
        connection.in_flight &= !flight::RECV;
        connection.flags |= flag::PEER_DONE;
        match connection.state {
            State::Open => {
                self.hub.stats.closed_reset.add(1);
                self.die(slot);
            }
            State::Handshake => self.die(slot),
            // What is still queued goes out first, unless the connection is broken.
            State::Closing if error.is_none() => self.hub.mark_dirty(slot),
            State::Closing => self.die(slot),
            _ => self.landed(at, flight::RECV),
        }
    }

    pub(super) fn on_starved(&mut self, at: Address) {
        if !self.is_current(at) {
            return;
        }
        self.hub.stats.receives_starved.add(1);
        let connection = &mut self.hub.connections[at.slot as usize];
        connection.flags |= flag::STARVED;
        self.starved.push(at.slot);
        self.landed(at, flight::RECV);
    }
}

/// Takes every whole frame in `input` and acts on it.
pub(super) fn read_frames<S: Service>(hub: &mut Hub, service: &mut S, slot: u32, input: &mut Input<'_>) {
    use crate::session::{Event, frame};
    while let Some(event) = hub.connections[slot as usize].session.next(&hub.limits, input) {
        let open = hub.connections[slot as usize].state == State::Open;
        match event {
            Event::Message { binary, payload } if open => {
                hub.stats.messages_in.add(1);
                service.message(hub, slot, binary, payload);
            }
            Event::Ping(payload) if open => hub.send(slot, frame::PONG, &payload),
            Event::Fault { code, reason } => hub.close(slot, code, reason),
            Event::CloseReceived { reply } => {
                hub.close_received(slot, reply);
                return;
            }
            Event::Message { .. } | Event::Ping(_) | Event::Pong | Event::Upgrade(_) | Event::Refused(_) => {}
        }
    }
}
