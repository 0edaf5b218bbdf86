//! What a run is to be: connections, phases, arrivals, mix. Read from TOML, changed by flags.

pub(crate) mod curve;
mod payload;
mod phase;
mod read;
pub mod ready;
mod value;

pub use payload::{Payload, PayloadKind};
pub use phase::{Phase, PhaseKind};
pub use read::ScenarioError;
pub use value::RATE_MAX;

use crate::client::WINDOW_MAX;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Messages that a client has under way at most: the protocol's rule.
const WINDOW: u64 = WINDOW_MAX as u64;

/// A scenario.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it is called in reports.
    #[serde(default)]
    pub name: String,
    /// What it is for, in a line.
    #[serde(default)]
    pub about: String,
    /// Connections, one user each, before the first phase.
    #[serde(deserialize_with = "value::whole::<_, 1, 2_000_000>")]
    pub connections: u64,
    /// How they are made.
    #[serde(default)]
    pub connect: Connect,
    /// When messages go out.
    #[serde(default)]
    pub arrival: Arrival,
    /// What goes out, by weight.
    #[serde(default)]
    pub mix: Mix,
    /// Groups to make.
    #[serde(default)]
    pub groups: Groups,
    /// How long messages are.
    #[serde(default)]
    pub payload: Payload,
    /// How clients behave.
    #[serde(default)]
    pub clients: Clients,
    /// What the run goes through.
    #[serde(rename = "phase")]
    pub phases: Vec<Phase>,
    /// What must hold at the end, such as `persisted.p(99)<50ms`.
    #[serde(default)]
    pub thresholds: Vec<String>,
}

/// How connections are made.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Connect {
    /// Connections a second; 0: as fast as handshakes allow.
    #[serde(deserialize_with = "value::rate")]
    pub rate: f64,
    /// Handshakes at a time, in all.
    #[serde(deserialize_with = "value::whole::<_, 1, 100_000>")]
    pub at_once: u64,
}

/// When messages go out.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Arrival {
    /// By a schedule, or by answers.
    pub kind: ArrivalKind,
    /// Messages that each user has under way; closed loop only.
    #[serde(deserialize_with = "value::whole::<_, 1, 100>")]
    pub depth: u64,
    /// Between an answer and the next message, at least and at most; closed loop only.
    #[serde(deserialize_with = "value::time", serialize_with = "value::show_time")]
    pub think_min: Duration,
    /// See `think_min`.
    #[serde(deserialize_with = "value::time", serialize_with = "value::show_time")]
    pub think_max: Duration,
}

/// By a schedule, or by answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ArrivalKind {
    /// At a rate, evenly spaced.
    Constant,
    /// At a rate, as independent events are spaced.
    Poisson,
    /// Each user sends its next message when one was persisted.
    Closed,
}

/// What goes out, by weight: one in how many is a matter of their sum.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mix {
    /// Messages to a neighbour (1 and 2, 3 and 4 …).
    #[serde(deserialize_with = "value::whole::<_, 0, 1_000_000_000>")]
    pub single: u64,
    /// Messages to a group.
    #[serde(deserialize_with = "value::whole::<_, 0, 1_000_000_000>")]
    pub group: u64,
    /// Messages to everybody.
    #[serde(deserialize_with = "value::whole::<_, 0, 1_000_000_000>")]
    pub world: u64,
    /// Typing hints, which nobody stores.
    #[serde(deserialize_with = "value::whole::<_, 0, 1_000_000_000>")]
    pub typing: u64,
    /// Read marks.
    #[serde(deserialize_with = "value::whole::<_, 0, 1_000_000_000>")]
    pub mark_read: u64,
    /// Questions for what is new.
    #[serde(deserialize_with = "value::whole::<_, 0, 1_000_000_000>")]
    pub sync: u64,
}

/// Groups to make.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Groups {
    /// How many.
    #[serde(deserialize_with = "value::whole::<_, 0, 100_000>")]
    pub count: u64,
    /// Members of each, drawn from the first connections.
    #[serde(deserialize_with = "value::whole::<_, 2, 1_000_000>")]
    pub size: u64,
}

/// How clients behave.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Clients {
    /// Whether a connection that is lost is made again.
    pub reconnect: bool,
    /// Whether a session may be told of a message again: counted, and no fault.
    pub at_least_once: bool,
    /// Messages that a client has under way at most; what is due beyond that waits.
    #[serde(deserialize_with = "value::whole::<_, 1, WINDOW>")]
    pub window: u64,
    /// Which share reads slowly.
    #[serde(deserialize_with = "value::share")]
    pub slow_share: f64,
    /// How fast those read; 0: not at all, until the sending is over.
    #[serde(deserialize_with = "value::whole::<_, 0, 1_000_000_000>")]
    pub slow_bytes_per_second: u64,
    /// Connections a second that break and come back.
    #[serde(deserialize_with = "value::rate")]
    pub churn_rate: f64,
}

impl Default for Connect {
    fn default() -> Self {
        Self { rate: 0.0, at_once: 128 }
    }
}

impl Default for Arrival {
    fn default() -> Self {
        Self { kind: ArrivalKind::Constant, depth: 1, think_min: Duration::ZERO, think_max: Duration::ZERO }
    }
}

impl Default for Groups {
    fn default() -> Self {
        Self { count: 0, size: 10 }
    }
}

impl Default for Mix {
    fn default() -> Self {
        Self { single: 1, group: 0, world: 0, typing: 0, mark_read: 0, sync: 0 }
    }
}

impl Default for Clients {
    fn default() -> Self {
        Self {
            reconnect: false,
            at_least_once: false,
            window: WINDOW,
            slow_share: 0.0,
            slow_bytes_per_second: 1_000,
            churn_rate: 0.0,
        }
    }
}

impl Scenario {
    /// Connections that there are in the end.
    pub fn connections_max(&self) -> u64 {
        self.phases.iter().filter_map(|phase| phase.connections).fold(self.connections, u64::max)
    }

    /// How long all phases take.
    pub fn duration(&self) -> Duration {
        self.phases.iter().map(|phase| phase.duration).sum()
    }

    /// The highest rate of any phase.
    pub fn rate_max(&self) -> f64 {
        phase::curves(&self.phases).iter().fold(0.0, |most, curve| most.max(curve.from).max(curve.to))
    }

    pub(crate) fn curves(&self) -> Vec<curve::Curve> {
        phase::curves(&self.phases)
    }

    /// Messages go out when others were answered.
    pub fn is_closed(&self) -> bool {
        self.arrival.kind == ArrivalKind::Closed
    }

    /// Has the highest rate be `rate`, and the others in proportion.
    pub fn scale_rate(&mut self, rate: f64) -> Result<(), String> {
        let most = self.rate_max();
        if most == 0.0 || self.is_closed() {
            return Err("--rate has nothing to change: no phase of this scenario sends at a rate".to_owned());
        }
        for phase in &mut self.phases {
            phase.rate = phase.rate.map(|own| own / most * rate);
        }
        Ok(())
    }

    /// Has all phases together take `duration`, and each in proportion.
    pub fn scale_duration(&mut self, duration: Duration) {
        let all = self.duration().as_secs_f64().max(0.001);
        for phase in &mut self.phases {
            // Whole milliseconds, as a file would have them.
            let ms = phase.duration.as_millis() as f64 * duration.as_secs_f64() / all;
            phase.duration = Duration::from_millis(ms.round() as u64);
        }
    }

    /// Has `connections` be there before the first phase, and others in proportion.
    pub fn scale_connections(&mut self, connections: u64) {
        for phase in &mut self.phases {
            let scale =
                |own| (u128::from(own) * u128::from(connections) / u128::from(self.connections)) as u64;
            phase.connections = phase.connections.map(scale);
        }
        self.connections = connections;
    }
}
