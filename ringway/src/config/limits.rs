//! `[limits]`: what a client may take.

use super::kind::{Choice, Number, Time, Truth};
use super::reader::Reader;
use logic::decide::WorldRates;
use protocol::{Limits as Engine, Rate, SessionPolicy};

/// Connections of one shard at most; twenty times what was measured.
const CONNECTIONS_MAX: usize = 1 << 20;
/// Above it the time between two would be less than the µs that buckets count in.
const PER_SECOND_MAX: u32 = 1_000_000;
const BURST_MAX: u32 = 1 << 20;
/// Queued for one connection at most, bytes.
const EGRESS_BYTES_MAX: usize = 1 << 30;
/// Of one shard at most, bytes.
const MEMORY_BYTES_MAX: usize = 1 << 36;

const POLICIES: &[(&str, SessionPolicy)] = &[
    ("all", SessionPolicy::All),
    ("per-device", SessionPolicy::PerDevice),
    ("replace", SessionPolicy::Replace),
];

/// What a client may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) engine: Engine,
}

impl Limits {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        Self { engine: engine(reader) }
    }
}

/// What the worker lets through to `world`.
pub(super) fn world(reader: &mut Reader<'_>) -> WorldRates {
    let default = WorldRates::default();
    let user = ["limits.world_user_per_second", "limits.world_user_burst"];
    let all = ["limits.world_per_second", "limits.world_burst"];
    WorldRates { user: rate(reader, user, default.user), all: rate(reader, all, default.all) }
}

fn engine(reader: &mut Reader<'_>) -> Engine {
    let default = Engine::default();
    // A queue or a budget below one message would refuse that message for ever.
    let message = default.message_bytes_max;
    let connections = || Number(1..=CONNECTIONS_MAX);
    let limits = Engine {
        connections_max: reader.key("limits.connections_max", connections(), default.connections_max),
        headroom: reader.key("limits.headroom", connections(), default.headroom),
        handshake: reader.key("limits.handshake", Time(1..=60), default.handshake),
        heartbeat: reader.key("limits.heartbeat", Time(1..=3_600), default.heartbeat),
        egress_bytes_max: reader.key(
            "limits.egress_bytes_max",
            Number(message..=EGRESS_BYTES_MAX),
            default.egress_bytes_max,
        ),
        memory_bytes_max: reader.key(
            "limits.memory_bytes_max",
            Number(message..=MEMORY_BYTES_MAX),
            default.memory_bytes_max,
        ),
        close_grace: reader.key("limits.close_grace", Time(1..=60), default.close_grace),
        sessions_per_user_max: reader.key(
            "limits.sessions_per_user_max",
            Number(1..=1_000),
            default.sessions_per_user_max,
        ),
        session_policy: reader.key("limits.session_policy", Choice(POLICIES), default.session_policy),
        user_rate: rate(reader, ["limits.commands_per_second", "limits.commands_burst"], default.user_rate),
        address_rate: rate(
            reader,
            ["limits.connections_per_second", "limits.connections_burst"],
            default.address_rate,
        ),
        loopback_exempt: reader.key("limits.loopback_exempt", Truth, default.loopback_exempt),
        ..default
    };
    let egress = limits.egress_bytes_max;
    reader.require(
        limits.memory_bytes_max >= egress,
        "limits.memory_bytes_max",
        &format!("at least limits.egress_bytes_max, which is {egress}"),
    );
    limits
}

/// So many a second and so many at once; 0 a second is no limit.
fn rate(reader: &mut Reader<'_>, [per_second, burst]: [&'static str; 2], default: Rate) -> Rate {
    let per_second = reader.key(per_second, Number(0..=PER_SECOND_MAX), default.per_second);
    Rate::new(per_second, reader.key(burst, Number(1..=BURST_MAX), default.burst))
}
