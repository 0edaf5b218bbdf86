//! How long messages are.

use super::value;
use crate::random::Random;
use serde::{Deserialize, Serialize};

/// Characters of a message at most: the protocol's limit.
pub(super) const PAYLOAD_BYTES_MAX: u64 = 5_000;

/// How long the content of a message is, in bytes.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Payload {
    /// How it is drawn.
    pub kind: PayloadKind,
    /// Always so long; `fixed` only.
    #[serde(deserialize_with = "value::whole::<_, 0, PAYLOAD_BYTES_MAX>")]
    pub bytes: u64,
    /// At least so long; `uniform` only.
    #[serde(deserialize_with = "value::whole::<_, 0, PAYLOAD_BYTES_MAX>")]
    pub min: u64,
    /// At most so long; `uniform` only.
    #[serde(deserialize_with = "value::whole::<_, 0, PAYLOAD_BYTES_MAX>")]
    pub max: u64,
    /// Pairs of a length and its weight; `weighted` only.
    pub sizes: Vec<[u64; 2]>,
}

/// How a length is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PayloadKind {
    /// Always the same.
    Fixed,
    /// Anything between two lengths, equally often.
    Uniform,
    /// One of several lengths, by weight.
    Weighted,
}

impl Default for Payload {
    fn default() -> Self {
        Self { kind: PayloadKind::Fixed, bytes: 100, min: 0, max: 0, sizes: vec![] }
    }
}

impl Payload {
    pub(super) fn check(&self) -> Result<(), String> {
        let Self { kind, min, max, sizes, .. } = self;
        if *kind == PayloadKind::Uniform && min > max {
            return Err(format!("payload: expected min ≤ max, got {min} and {max}"));
        }
        if *kind != PayloadKind::Weighted {
            return Ok(());
        }
        let weights = sizes.iter().fold(0u64, |sum, [_, weight]| sum.saturating_add(*weight));
        let fit = sizes.iter().all(|[bytes, _]| *bytes <= PAYLOAD_BYTES_MAX);
        if fit && weights > 0 && weights < 1 << 32 {
            return Ok(());
        }
        Err(format!(
            "payload.sizes: expected pairs of bytes up to {PAYLOAD_BYTES_MAX} and weights that are not all 0"
        ))
    }

    /// How long the next message is.
    pub(crate) fn draw(&self, random: &mut Random) -> u16 {
        let bytes = match self.kind {
            PayloadKind::Fixed => self.bytes,
            PayloadKind::Uniform => self.min + random.below(self.max - self.min + 1),
            PayloadKind::Weighted => {
                let mut at = random.below(self.sizes.iter().map(|[_, weight]| weight).sum());
                let hit = self.sizes.iter().find(|[_, weight]| {
                    let hit = at < *weight;
                    at = at.saturating_sub(*weight);
                    hit
                });
                hit.map_or(0, |[bytes, _]| *bytes)
            }
        };
        bytes as u16
    }
}

#[cfg(test)]
mod tests {
    use super::{Payload, PayloadKind};
    use crate::random::Random;

    fn weighted(sizes: &[[u64; 2]]) -> Payload {
        Payload { kind: PayloadKind::Weighted, sizes: sizes.to_vec(), ..Payload::default() }
    }

    fn uniform(min: u64, max: u64) -> Payload {
        Payload { kind: PayloadKind::Uniform, min, max, ..Payload::default() }
    }

    #[test]
    fn lengths_come_as_often_as_they_weigh() {
        let mut random = Random::new(1);
        let payload = weighted(&[[10, 1], [20, 0], [30, 9]]);
        let drawn: Vec<_> = (0..10_000).map(|_| payload.draw(&mut random)).collect();
        let tens = drawn.iter().filter(|bytes| **bytes == 10).count();
        assert!((800..1_200).contains(&tens), "{tens}");
        assert!(drawn.iter().all(|bytes| matches!(bytes, 10 | 30)));
        let mut seen: Vec<_> = (0..100).map(|_| uniform(3, 5).draw(&mut random)).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, [3, 4, 5]);
    }

    #[test]
    fn what_can_not_be_drawn_from_is_refused() {
        for wrong in [uniform(2, 1), weighted(&[]), weighted(&[[5_001, 1]]), weighted(&[[1, 0]])] {
            assert!(wrong.check().is_err(), "{wrong:?}");
        }
    }
}
