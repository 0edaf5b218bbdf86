//! The product's service: commands from clients go onto the road, refusals straight back.

use super::hub::Hub;
use super::rates::Verdict;
use super::service::Service;
use crate::session::Payload;
use bus::{Downstream, Full, RouteChange, Sender, Uplink};
use protocol::codes::ErrorCode;
use protocol::command::{Command, Parsed, Parser, Refusal};
use protocol::record::{Query, QueryRecord};
use protocol::{GatewayId, Origin, SessionRef, UserId, event, hop};
use std::collections::VecDeque;
use std::fmt::Write;

/// Commands onto the road, for one shard.
pub struct Chat<U: Uplink> {
    uplink: U,
    parser: Parser,
    gateway: GatewayId,
    boot_epoch: u64,
    trace: TraceIds,
    /// Route changes that the road has refused; at most two per slot of the table.
    routes: VecDeque<RouteChange>,
}

/// Trace ids for messages whose client gave none: distinct among shards and starts.
struct TraceIds {
    prefix: u64,
    count: u64,
    text: String,
}

impl TraceIds {
    fn next(&mut self) -> &str {
        self.count += 1;
        self.text.clear();
        let id = (self.prefix ^ self.count).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        write!(self.text, "{id:016x}").expect("a String takes everything");
        &self.text
    }
}

impl<U: Uplink> Chat<U> {
    /// A service for shard `shard` of that gateway.
    pub fn new(uplink: U, parser: Parser, gateway: GatewayId, boot_epoch: u64, shard: u16) -> Self {
        let prefix = boot_epoch.rotate_left(20) ^ u64::from(shard) << 48;
        let trace = TraceIds { prefix, count: 0, text: String::new() };
        Self { uplink, parser, gateway, boot_epoch, trace, routes: VecDeque::new() }
    }

    /// The road, for the simulator's checks.
    pub fn uplink(&self) -> &U {
        &self.uplink
    }

    fn route(&mut self, change: RouteChange) {
        if !self.routes.is_empty() || self.uplink.route(change).is_err() {
            self.routes.push_back(change);
        }
    }

    fn origin(&self, session: SessionRef) -> Origin {
        Origin { gateway: self.gateway, boot_epoch: self.boot_epoch, session }
    }
}

impl<U: Uplink> Service for Chat<U> {
    const ROUTED: bool = true;

    fn message(&mut self, hub: &mut Hub, slot: u32, _binary: bool, mut payload: Payload<'_>) {
        // Once draining starts nothing is taken: the client sends it again elsewhere.
        if hub.is_draining() {
            return;
        }
        let parsed = self.parser.parse(&mut payload);
        // What can't be read costs as much as what can.
        match hub.take_command(slot) {
            Verdict::Taken => {}
            Verdict::Limited { retry_ms } => return limited(hub, slot, &parsed, retry_ms),
            Verdict::Abuse { retry_ms } => return hub.close_for_abuse(slot, retry_ms),
        }
        let Parsed { trace_id, command } = match parsed {
            Ok(parsed) => parsed,
            Err(refusal) => return refuse(hub, slot, &refusal),
        };
        let (origin, user) = (hub.origin(slot), hub.user(slot));
        let query = match command {
            Command::SendMessage(message) => {
                let trace_id = trace_id.unwrap_or_else(|| self.trace.next());
                let from = Sender { origin, user, received_at: hub.unix(), trace_id };
                if let Err(Full) = self.uplink.publish(from, &message) {
                    return busy(hub, slot, Some(message.client_msg_id), Some(trace_id));
                }
                let (started_ms, conversation) = (hub.unix().0, message.conversation);
                tracing::debug!(
                    target: hop::TARGET,
                    hop = hop::PUBLISH, trace_id, started_ms, %conversation, %user, "message taken"
                );
                return;
            }
            Command::Ping => {
                let pong = event::pong(hub.unix(), trace_id);
                return hub.send_text(slot, &pong);
            }
            Command::Sync { conversations, limit } => Query::Sync { conversations, limit },
            Command::MarkRead { conversation, seq } => Query::MarkRead { conversation, seq },
            Command::Typing { conversation } => Query::Typing { conversation, at: hub.unix() },
        };
        let record = QueryRecord { origin, user, query, trace_id: trace_id.map(Into::into) };
        if let Err(Full) = self.uplink.query(record) {
            busy(hub, slot, None, trace_id);
        }
    }

    fn opened(&mut self, hub: &mut Hub, slot: u32, user: UserId) {
        self.route(RouteChange::Add(user, hub.origin(slot), hub.device(slot)));
    }

    fn closed(&mut self, session: SessionRef, user: UserId) {
        self.route(RouteChange::Remove(user, self.origin(session)));
    }

    fn registered(&mut self, hub: &mut Hub, slot: u32) {
        let connected = event::connected(hub.user(slot), &hub.origin(slot), hub.limits().heartbeat);
        hub.send_text(slot, &connected);
    }

    fn end_of_tick(&mut self) {
        while let Some(change) = self.routes.front() {
            if self.uplink.route(*change).is_err() {
                break;
            }
            self.routes.pop_front();
        }
        self.uplink.flush();
    }

    fn poll(&mut self) -> Option<Downstream> {
        self.uplink.poll()
    }

    fn is_waiting(&self) -> bool {
        !self.routes.is_empty()
    }
}

fn refuse(hub: &mut Hub, slot: u32, refusal: &Refusal) {
    hub.stats().commands_refused.add(1);
    let Refusal { code, message, temp_message_id, trace_id, .. } = refusal;
    let event = event::error(*code, message, temp_message_id.as_deref(), trace_id.as_deref());
    hub.send_text(slot, &event);
}

fn limited(hub: &mut Hub, slot: u32, parsed: &Result<Parsed<'_>, Refusal>, retry_ms: u64) {
    let (id, trace_id) = match parsed {
        Ok(Parsed { trace_id, command: Command::SendMessage(message) }) => {
            (Some(message.client_msg_id), *trace_id)
        }
        Ok(Parsed { trace_id, .. }) => (None, *trace_id),
        Err(refusal) => (None, refusal.trace_id.as_deref()),
    };
    hub.stats().rate_limited.add(1);
    let rate = hub.limits().user_rate;
    let text = format!("too many commands of this user: {rate}; send nothing for retry_ms={retry_ms}");
    hub.send_text(slot, &event::error(ErrorCode::RateLimited, &text, id, trace_id));
}

fn busy(hub: &mut Hub, slot: u32, id: Option<&str>, trace_id: Option<&str>) {
    hub.stats().busy.add(1);
    let text = "the queue of this shard is full: send it again in a moment";
    hub.send_text(slot, &event::error(ErrorCode::Busy, text, id, trace_id));
}
