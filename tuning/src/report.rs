//! What was found, for people and for programs.

use crate::checks::Check;
use crate::finding::Status;
use serde::Serialize;
use std::fmt::Write;

/// How to print for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Style {
    /// With terminal colours.
    pub colour: bool,
    /// The details of what is fine, too.
    pub verbose: bool,
}

/// One element of `--json`; `docs/tuning.md` describes it.
#[derive(Debug, Serialize)]
struct Row<'a> {
    name: &'a str,
    status: Status,
    is: &'a str,
    should: &'a str,
    why: &'a str,
    r#do: &'a str,
}

/// An array with one object per check.
pub fn json(checks: &[Check]) -> String {
    let rows = checks.iter().map(|check| Row {
        name: check.name,
        status: check.finding.status,
        is: &check.finding.is,
        should: &check.finding.should,
        why: check.why,
        r#do: &check.finding.command,
    });
    serde_json::to_string_pretty(&rows.collect::<Vec<_>>()).expect("strings are valid JSON")
}

/// A line per check, details of those that are not as they should be, and a summary.
pub fn text(checks: &[Check], style: Style) -> String {
    let width = checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    let mut out = String::new();
    for check in checks {
        let finding = &check.finding;
        let mark = paint(finding.status, style);
        let details = style.verbose || finding.status != Status::Ok;
        let line = if details { "" } else { finding.is.as_str() };
        let _ = writeln!(out, "{}", format!("{mark}  {:width$}  {line}", check.name).trim_end());
        if details {
            let parts = [
                ("is", finding.is.as_str()),
                ("should be", &finding.should),
                ("why", check.why),
                ("do", &finding.command),
            ];
            for (label, text) in parts.iter().filter(|(_, text)| !text.is_empty()) {
                let _ = writeln!(out, "             {label:<9}  {text}");
            }
        }
    }
    let _ = writeln!(out, "\n{}", summary(checks));
    out
}

fn summary(checks: &[Check]) -> String {
    let count = |status| checks.iter().filter(|check| check.finding.status == status).count();
    let counts = [Status::Ok, Status::Warn, Status::Fail, Status::Unknown].map(|s| (count(s), s.name()));
    let counts = counts.map(|(n, name)| format!("{n} {name}")).join(", ");
    let end = match count(Status::Fail) {
        0 => "Ringway can run with this configuration",
        _ => "Ringway can't run with this configuration",
    };
    format!("{counts}: {end}.")
}

fn paint(status: Status, style: Style) -> String {
    let name = format!("{:<7}", status.name());
    if !style.colour {
        return name;
    }
    let colour = match status {
        Status::Ok => 32,
        Status::Unknown => 36,
        Status::Warn => 33,
        Status::Fail => 31,
    };
    format!("\x1b[{colour}m{name}\x1b[0m")
}

#[cfg(test)]
mod tests {
    use super::{Style, json, text};
    use crate::{Check, Finding};

    fn checks() -> [Check; 2] {
        let check = |name, finding| Check { name, why: "because", finding };
        [check("good", Finding::ok("4", "4")), check("worse", Finding::fail("1", "2", "set 2"))]
    }

    #[test]
    fn what_is_not_as_it_should_be_has_details() {
        let expected = "\
ok       good   4
fail     worse
             is         1
             should be  2
             why        because
             do         set 2

1 ok, 0 warn, 1 fail, 0 unknown: Ringway can't run with this configuration.
";
        assert_eq!(text(&checks(), Style::default()), expected);
    }

    #[test]
    fn verbose_tells_all_and_colour_only_marks() {
        let verbose = text(&checks(), Style { verbose: true, colour: false });
        assert_eq!(verbose.matches("because").count(), 2);
        let coloured = text(&checks(), Style { verbose: false, colour: true });
        assert!(coloured.starts_with("\u{1b}[32mok     \u{1b}[0m  good"), "{coloured:?}");
    }

    #[test]
    fn programs_get_an_array() {
        let rows: serde_json::Value = serde_json::from_str(&json(&checks())).unwrap();
        let expected = serde_json::json!({
            "name": "worse", "status": "fail", "is": "1", "should": "2", "why": "because", "do": "set 2"
        });
        assert_eq!(rows[1], expected);
    }
}
