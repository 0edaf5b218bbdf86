//! Wall-clock times as the contract writes them: RFC 3339 in UTC with milliseconds.

use crate::text::Text;
use serde::{Serialize, Serializer};
use std::fmt;

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UnixMs(pub u64);

impl fmt::Display for UnixMs {
    /// `2026-11-24T08:13:10.042Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text().as_str())
    }
}

impl UnixMs {
    /// Its text form: a year of 20 digits at most, and the rest.
    pub(crate) fn text(self) -> Text<{ 20 + "-11-24T08:13:10.042Z".len() }> {
        let (days, ms_of_day) = (self.0 / 86_400_000, self.0 % 86_400_000);
        let (year, month, day) = civil_from_days(days);
        let (s, ms) = (ms_of_day / 1000, ms_of_day % 1000);
        let (hour, minute, second) = (s / 3600, s / 60 % 60, s % 60);
        let mut rest = *b"-00-00T00:00:00.000Z";
        for (at, two) in [(1, month), (4, day), (7, hour), (10, minute), (13, second), (17, ms % 100)] {
            rest[at] = b'0' + (two / 10) as u8;
            rest[at + 1] = b'0' + (two % 10) as u8;
        }
        rest[16] = b'0' + (ms / 100) as u8;
        let mut text = Text::new();
        if year > 9_999 { text.and_number(year) } else { text.and_digits(year, 4) }.and(rest);
        text
    }
}

impl Serialize for UnixMs {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.text().as_str())
    }
}

/// Days since 1970-01-01 to (year, month, day); Howard Hinnant's `civil_from_days`, for days ≥ 0.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let era = z / 146_097;
    let day_of_era = z % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::UnixMs;

    #[test]
    fn formats_as_rfc_3339_with_milliseconds() {
        // `date -u -d @N +%FT%T` for each.
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_001, "2000-02-29T00:00:00.001Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
            (1_767_225_600_000, "2026-01-01T00:00:00.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
            (253_402_300_800_000, "10000-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(UnixMs(ms).to_string(), text);
        }
    }
}
