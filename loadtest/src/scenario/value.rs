//! Values of a scenario file: each with its range, so that a wrong one is told where it stands.

use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serializer};
use std::time::Duration;

/// Messages a second at most, here and in flags.
pub const RATE_MAX: f64 = 1_000_000.0;

/// A whole number from MIN to MAX.
pub(super) fn whole<'de, D: Deserializer<'de>, const MIN: u64, const MAX: u64>(
    d: D,
) -> Result<u64, D::Error> {
    let number = i64::deserialize(d)?;
    let fits = u64::try_from(number).ok().filter(|number| (MIN..=MAX).contains(number));
    fits.ok_or_else(|| D::Error::custom(format!("expected a whole number from {MIN} to {MAX}, got {number}")))
}

/// A share of all: from 0 to 1.
pub(super) fn share<'de, D: Deserializer<'de>>(d: D) -> Result<f64, D::Error> {
    within(f64::deserialize(d)?, 1.0)
}

/// A rate per second.
pub(super) fn rate<'de, D: Deserializer<'de>>(d: D) -> Result<f64, D::Error> {
    within(f64::deserialize(d)?, RATE_MAX)
}

/// The same, where there may be none.
pub(super) fn rate_or_none<'de, D: Deserializer<'de>>(d: D) -> Result<Option<f64>, D::Error> {
    rate(d).map(Some)
}

fn within<E: Error>(number: f64, most: f64) -> Result<f64, E> {
    if (0.0..=most).contains(&number) {
        return Ok(number);
    }
    Err(E::custom(format!("expected a number from 0 to {most}, got {number}")))
}

/// A time such as `200ms`, `10s`, `5m`, `2h` or `1d`.
pub(super) fn time<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
    read_time(&String::deserialize(d)?).map_err(D::Error::custom)
}

/// As [`time`] reads it.
pub(super) fn show_time<S: Serializer>(time: &Duration, s: S) -> Result<S::Ok, S::Error> {
    let ms = time.as_millis();
    if ms.is_multiple_of(1_000) {
        s.collect_str(&format_args!("{}s", ms / 1_000))
    } else {
        s.collect_str(&format_args!("{ms}ms"))
    }
}

fn read_time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("expected a number with ms, s, m, h or d, such as \"30s\", got {text:?}");
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(digits);
    let ms: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(ms).map(Duration::from_millis).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::read_time;
    use std::time::Duration;

    #[test]
    fn times_have_a_unit() {
        for (text, ms) in [("0s", 0), ("200ms", 200), ("10s", 10_000), ("5m", 300_000), ("1d", 86_400_000)] {
            assert_eq!(read_time(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "10", "s", "-1s", "1.5s", "10 s", "1w", "99999999999999999999s"] {
            assert!(read_time(text).is_err(), "{text:?}");
        }
    }
}
