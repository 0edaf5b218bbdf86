//! What must hold at the end of a run: `persisted.p(99)<50ms`, `lost==0`.

use crate::measure::{MEASURES, Measure};
use serde::Serialize;
use std::str::FromStr;

/// What a threshold may be about, beside latencies.
pub(crate) const COUNTS: [&str; 17] = [
    "lost",
    "doubled",
    "reordered",
    "gap",
    "foreign",
    "altered",
    "unknown",
    "undecided",
    "refused",
    "repeated",
    "resent",
    "dropped",
    "put_off",
    "errors",
    "holes",
    "persisted_per_second",
    "delivered_per_second",
];

/// Something that must hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Threshold {
    /// As it was given.
    pub text: String,
    pub(crate) subject: Subject,
    compare: Compare,
    /// Milliseconds, or a number.
    value: f64,
}

/// What a threshold is about.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Subject {
    /// A latency: from due, or from when it began.
    Latency(Measure, bool, Aggregate),
    /// How late the generator was.
    Lag(Aggregate),
    /// One of [`COUNTS`].
    Count(&'static str),
}

/// What of a latency.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Aggregate {
    Percentile(f64),
    Mean,
    Max,
    Count,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compare {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    NotEqual,
}

/// How a threshold came out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// As it was given.
    pub threshold: String,
    /// What it was: milliseconds, or a number; none if nothing was measured.
    pub value: Option<f64>,
    /// Whether it holds.
    pub ok: bool,
}

const OPERATORS: [(&str, Compare); 6] = [
    ("<=", Compare::LessOrEqual),
    (">=", Compare::GreaterOrEqual),
    ("==", Compare::Equal),
    ("!=", Compare::NotEqual),
    ("<", Compare::Less),
    (">", Compare::Greater),
];

impl FromStr for Threshold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| {
            format!("threshold {text:?}: expected {what}, as in persisted.p(99)<50ms or lost==0")
        };
        let at = text.find(['<', '>', '=', '!']).ok_or_else(|| wrong("one of < <= > >= == !="))?;
        let (left, right) = text.split_at(at);
        let operator = OPERATORS.iter().find(|(operator, _)| right.starts_with(operator));
        let (operator, compare) = operator.ok_or_else(|| wrong("one of < <= > >= == !="))?;
        let names = || {
            let latencies = MEASURES.map(Measure::name).join(", ");
            wrong(&format!(
                "a latency ({latencies}, lag) with .p(N), .mean, .max or .count, or one of {}",
                COUNTS.join(", ")
            ))
        };
        let subject = subject(left.trim()).ok_or_else(names)?;
        let right = right[operator.len()..].trim();
        let value = match subject {
            Subject::Latency(_, _, Aggregate::Count) | Subject::Lag(Aggregate::Count) | Subject::Count(_) => {
                right.parse().map_err(|_| wrong("a number"))?
            }
            _ => milliseconds(right).ok_or_else(|| wrong("a time with us, ms or s"))?,
        };
        Ok(Self { text: text.to_owned(), subject, compare: *compare, value })
    }
}

fn subject(text: &str) -> Option<Subject> {
    if let Some(count) = COUNTS.iter().find(|count| **count == text) {
        return Some(Subject::Count(count));
    }
    let (name, aggregate) = text.split_once('.')?;
    let (begun, aggregate) = match aggregate.strip_prefix("begun.") {
        Some(aggregate) => (true, aggregate),
        None => (false, aggregate),
    };
    let aggregate = match aggregate {
        "mean" => Aggregate::Mean,
        "max" => Aggregate::Max,
        "count" => Aggregate::Count,
        _ => {
            let percent: f64 = aggregate.strip_prefix("p(")?.strip_suffix(')')?.parse().ok()?;
            (0.0..=100.0).contains(&percent).then_some(Aggregate::Percentile(percent))?
        }
    };
    if name == "lag" && !begun {
        return Some(Subject::Lag(aggregate));
    }
    let measure = MEASURES.into_iter().find(|measure| measure.name() == name)?;
    Some(Subject::Latency(measure, begun, aggregate))
}

fn milliseconds(text: &str) -> Option<f64> {
    let units = [("us", 0.001), ("ms", 1.0), ("s", 1_000.0)];
    let (number, scale) = units.iter().find_map(|(unit, scale)| Some((text.strip_suffix(unit)?, scale)))?;
    let number: f64 = number.trim().parse().ok()?;
    number.is_finite().then_some(number * scale)
}

impl Threshold {
    /// Whether it holds for what was measured; for nothing it doesn't.
    pub(crate) fn judge(&self, value: Option<f64>) -> Outcome {
        let holds = |value: f64| match self.compare {
            Compare::Less => value < self.value,
            Compare::LessOrEqual => value <= self.value,
            Compare::Greater => value > self.value,
            Compare::GreaterOrEqual => value >= self.value,
            Compare::Equal => value == self.value,
            Compare::NotEqual => value != self.value,
        };
        Outcome { threshold: self.text.clone(), value, ok: value.is_some_and(holds) }
    }
}

#[cfg(test)]
mod tests {
    use super::{Aggregate, Subject, Threshold};
    use crate::measure::Measure;

    fn read(text: &str) -> Threshold {
        text.parse().unwrap()
    }

    #[test]
    fn a_threshold_is_a_subject_an_operator_and_a_value() {
        let p99 = read("persisted.p(99)<50ms");
        assert_eq!(p99.subject, Subject::Latency(Measure::Persisted, false, Aggregate::Percentile(99.0)));
        assert!(p99.judge(Some(49.9)).ok && !p99.judge(Some(50.0)).ok && !p99.judge(None).ok);
        assert_eq!(
            read("delivered.begun.max <= 1s").subject,
            Subject::Latency(Measure::Delivered, true, Aggregate::Max)
        );
        assert!(read("delivered.begun.max <= 1s").judge(Some(1_000.0)).ok);
        assert!(read("lag.mean<500us").judge(Some(0.4)).ok);
        assert_eq!(read("lost==0").subject, Subject::Count("lost"));
        assert!(read("persisted_per_second>=990.5").judge(Some(991.0)).ok);
        assert!(read("lost!=0").judge(Some(1.0)).ok);
    }

    #[test]
    fn what_is_none_says_what_was_expected() {
        for (text, told) in [
            ("persisted.p(99)", "one of <"),
            ("persisted.p(101)<1ms", "a latency (connect"),
            ("persisted<1ms", "a latency"),
            ("nonsense==0", "delivered_per_second"),
            ("persisted.p(99)<50", "a time with us, ms or s"),
            ("lost<1ms", "a number"),
        ] {
            let error = text.parse::<Threshold>().unwrap_err();
            assert!(error.contains(told) && error.contains(text), "{error}");
        }
    }
}
