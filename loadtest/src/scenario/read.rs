//! From TOML to a scenario that can be run, or what is wrong with it and where.

use super::{PhaseKind, Scenario};
use crate::threshold::Threshold;
use std::time::Duration;
use thiserror::Error;

/// Why a scenario can't be run.
#[derive(Debug, Error)]
pub enum ScenarioError {
    /// A value, a key or the form is wrong.
    #[error("{file}, line {line}, column {column}: {text}")]
    At {
        /// The file.
        file: String,
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// What is wrong.
        text: String,
    },
    /// Values don't go together.
    #[error("{file}: {text}")]
    Together {
        /// The file.
        file: String,
        /// What is wrong.
        text: String,
    },
}

impl Scenario {
    /// Reads a scenario; `file` is what it is called in errors.
    pub fn read(file: &str, text: &str) -> Result<Self, ScenarioError> {
        let scenario: Self = toml::from_str(text).map_err(|error| {
            let at = error.span().unwrap_or_default().start;
            let before = text.get(..at).unwrap_or(text);
            ScenarioError::At {
                file: file.to_owned(),
                line: before.matches('\n').count() + 1,
                column: before.rsplit('\n').next().unwrap_or_default().chars().count() + 1,
                text: error.message().replace('\n', " "),
            }
        })?;
        scenario.check().map_err(|text| ScenarioError::Together { file: file.to_owned(), text })?;
        Ok(scenario)
    }

    /// Checks what one value alone can't; to be called again once flags have changed some.
    pub fn check(&self) -> Result<(), String> {
        self.payload.check()?;
        self.check_phases()?;
        self.check_mix()?;
        if self.arrival.think_min > self.arrival.think_max {
            return Err("arrival: expected think_min ≤ think_max".to_owned());
        }
        if self.clients.churn_rate > 0.0 && !self.clients.reconnect {
            return Err("clients.churn_rate: expected reconnect = true beside it".to_owned());
        }
        self.thresholds.iter().try_for_each(|text| text.parse::<Threshold>().map(drop))
    }

    fn check_phases(&self) -> Result<(), String> {
        if self.phases.is_empty() || self.duration() == Duration::ZERO {
            return Err("expected at least one [[phase]], and a duration".to_owned());
        }
        let (mut connections, mut measured) = (self.connections, false);
        for (index, phase) in self.phases.iter().enumerate() {
            let wrong = |text: &str| Err(format!("phase {} ({}): {text}", index + 1, phase.kind.name()));
            let warmup = phase.kind == PhaseKind::Warmup;
            if warmup && measured {
                return wrong("expected before all phases that are measured");
            }
            measured |= !warmup;
            if phase.share.is_some() != (phase.kind == PhaseKind::Storm) {
                return wrong("expected share in a storm, and only there");
            }
            if phase.share.is_some() && !self.clients.reconnect {
                return wrong("expected [clients] reconnect = true, or nobody comes back");
            }
            if phase.rate.is_some() && (self.is_closed() || phase.kind == PhaseKind::Drain) {
                return wrong("expected no rate: nothing goes out at a rate here");
            }
            if phase.connections.is_some_and(|own| own < connections) {
                return wrong("expected no fewer connections than before");
            }
            connections = phase.connections.unwrap_or(connections);
        }
        Ok(())
    }

    fn check_mix(&self) -> Result<(), String> {
        let (mix, groups) = (&self.mix, &self.groups);
        let messages = mix.single + mix.group + mix.world;
        let extras = mix.typing + mix.mark_read + mix.sync;
        if self.is_closed() && extras > 0 {
            return Err("mix: a closed loop has messages only, which are answered".to_owned());
        }
        let sends = self.is_closed() || self.rate_max() > 0.0;
        if sends && messages + extras == 0 {
            return Err("mix: expected a weight that is not 0, or no rate".to_owned());
        }
        if mix.single > 0 && sends && self.connections < 2 {
            return Err("one user has nobody to write to: expected 2 connections or more".to_owned());
        }
        if mix.group > 0 && groups.count == 0 {
            return Err("mix.group: expected [groups] with a count".to_owned());
        }
        if extras > 0 && mix.single == 0 && groups.count == 0 {
            return Err("mix: typing, mark_read and sync need pairs (single) or groups".to_owned());
        }
        if groups.count > 0 && groups.size > self.connections {
            return Err(format!(
                "expected groups of 2 to the {} connections, got {}",
                self.connections, groups.size
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ArrivalKind, Scenario};
    use std::time::Duration;

    const GOOD: &str = r#"
connections = 100
[arrival]
kind = "poisson"
[payload]
kind = "uniform"
min = 50
max = 200
[[phase]]
kind = "ramp"
duration = "10s"
rate = 500
[[phase]]
kind = "spike"
duration = "500ms"
rate = 2000
[[phase]]
kind = "hold"
duration = "1m"
"#;

    #[test]
    fn what_is_written_is_read_and_the_rest_has_defaults() {
        let scenario = Scenario::read("x.toml", GOOD).unwrap();
        assert_eq!(scenario.arrival.kind, ArrivalKind::Poisson);
        assert_eq!((scenario.mix.single, scenario.connect.at_once), (1, 128));
        assert_eq!(scenario.duration(), Duration::from_millis(70_500));
        let rates: Vec<_> = scenario.curves().iter().map(|curve| (curve.from, curve.to)).collect();
        assert_eq!(rates, [(0.0, 500.0), (2_000.0, 2_000.0), (500.0, 500.0)]);
        let written = toml::to_string(&scenario).unwrap();
        assert_eq!(Scenario::read("again", &written).unwrap(), scenario, "{written}");
    }

    #[test]
    fn what_is_wrong_is_told_with_line_and_column() {
        let cases = [
            ("connections = 100", "connections = 0", "line 2, column 15: expected a whole number from 1 to"),
            ("min = 50", "minimum = 50", "line 7, column 1: unknown field"),
            ("[arrival]", "[arival]", "line 3, column 2: unknown field"),
            ("\"poisson\"", "\"sometimes\"", "line 4, column 8: unknown variant"),
            ("\"10s\"", "\"10\"", "line 11, column 12: expected a number with ms, s, m"),
            ("rate = 500", "rate = 1e9", "line 12, column 8: expected a number from 0 to 1000000"),
            ("[payload]", "payload", "line 5, column"),
        ];
        for (right, wrong, told) in cases {
            let error = Scenario::read("x.toml", &GOOD.replacen(right, wrong, 1)).unwrap_err().to_string();
            assert!(error.starts_with("x.toml, ") && error.contains(told), "{error}");
        }
    }

    #[test]
    fn what_does_not_go_together_is_told() {
        let cases = [
            ("max = 200", "max = 10", "min ≤ max"),
            ("connections = 100", "connections = 1", "nobody to write to"),
            ("\"poisson\"", "\"closed\"", "expected no rate"),
            ("\"spike\"", "\"storm\"", "expected share"),
            ("\"spike\"", "\"warmup\"", "before all phases"),
            ("[arrival]", "[mix]\ngroup = 1\n[arrival]", "expected [groups]"),
            ("connections = 100", "thresholds = [\"p99 < 1\"]\nconnections = 100", "p99"),
        ];
        for (right, wrong, told) in cases {
            let error = Scenario::read("x.toml", &GOOD.replacen(right, wrong, 1)).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn flags_change_rates_times_and_connections_in_proportion() {
        let mut scenario = Scenario::read("x.toml", GOOD).unwrap();
        scenario.scale_rate(200.0).unwrap();
        scenario.scale_duration(Duration::from_secs(7));
        scenario.scale_connections(10);
        assert_eq!((scenario.rate_max(), scenario.connections), (200.0, 10));
        assert_eq!(scenario.phases[0].rate, Some(50.0));
        assert_eq!(scenario.duration().as_millis(), 7_000);
    }
}
