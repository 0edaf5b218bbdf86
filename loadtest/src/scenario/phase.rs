//! The phases of a scenario, and the rate in each.

use super::curve::Curve;
use super::value;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A part of a run.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// What happens in it.
    pub kind: PhaseKind,
    /// How long it takes.
    #[serde(deserialize_with = "value::time", serialize_with = "value::show_time")]
    pub duration: Duration,
    /// Messages a second: where a ramp ends, in any other phase all along. As before if not given.
    #[serde(default, deserialize_with = "value::rate_or_none", skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Connections that there are at its end; never fewer than before. They are made over its time, and
    /// send from the next phase on.
    #[serde(default, deserialize_with = "connections", skip_serializing_if = "Option::is_none")]
    pub connections: Option<u64>,
    /// Which share of the connections breaks at its beginning; storms only.
    #[serde(default, deserialize_with = "share", skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
}

/// What happens in a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PhaseKind {
    /// As hold, and not measured; only before all others.
    Warmup,
    /// The rate goes in a straight line from that of the phase before to its own.
    Ramp,
    /// The rate stays.
    Hold,
    /// The rate jumps, and after it is what it was before.
    Spike,
    /// As hold, for hours.
    Soak,
    /// A share of the connections breaks at once and comes back; the rate stays.
    Storm,
    /// Nothing new is sent.
    Drain,
}

fn connections<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Option<u64>, D::Error> {
    value::whole::<_, 1, 2_000_000>(d).map(Some)
}

fn share<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Option<f64>, D::Error> {
    value::share(d).map(Some)
}

impl PhaseKind {
    /// As it stands in a file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Warmup => "warmup",
            Self::Ramp => "ramp",
            Self::Hold => "hold",
            Self::Spike => "spike",
            Self::Soak => "soak",
            Self::Storm => "storm",
            Self::Drain => "drain",
        }
    }
}

/// The rate along each phase.
pub(super) fn curves(phases: &[Phase]) -> Vec<Curve> {
    let mut now = 0.0;
    let curve = |phase: &Phase| {
        let rate = phase.rate.unwrap_or(now);
        let seconds = phase.duration.as_secs_f64();
        let (from, to) = match phase.kind {
            PhaseKind::Ramp => (now, rate),
            PhaseKind::Drain => (0.0, 0.0),
            _ => (rate, rate),
        };
        if !matches!(phase.kind, PhaseKind::Spike | PhaseKind::Drain) {
            now = rate;
        }
        Curve { from, to, seconds }
    };
    phases.iter().map(curve).collect()
}
