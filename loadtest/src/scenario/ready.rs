//! Scenarios that come with the program.

use super::{Scenario, ScenarioError};

/// Each by its name, with its file.
pub const READY: [(&str, &str); 10] = [
    ("smoke", include_str!("../../scenarios/smoke.toml")),
    ("steady", include_str!("../../scenarios/steady.toml")),
    ("closed", include_str!("../../scenarios/closed.toml")),
    ("fan-out", include_str!("../../scenarios/fan-out.toml")),
    ("large-group", include_str!("../../scenarios/large-group.toml")),
    ("world", include_str!("../../scenarios/world.toml")),
    ("reconnect-storm", include_str!("../../scenarios/reconnect-storm.toml")),
    ("slow-readers", include_str!("../../scenarios/slow-readers.toml")),
    ("soak", include_str!("../../scenarios/soak.toml")),
    ("idle-million", include_str!("../../scenarios/idle-million.toml")),
];

/// The file of a scenario that comes with the program.
pub fn text(name: &str) -> Option<&'static str> {
    READY.iter().find(|(own, _)| *own == name).map(|(_, text)| *text)
}

/// A scenario that comes with the program.
pub fn read(name: &str) -> Option<Result<Scenario, ScenarioError>> {
    text(name).map(|text| Scenario::read(name, text))
}

#[cfg(test)]
mod tests {
    use super::{READY, read};

    #[test]
    fn every_ready_scenario_is_sound_and_says_what_it_is_for() {
        for (name, _) in READY {
            let scenario = read(name).expect("it is there").unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(scenario.name, name);
            assert!(!scenario.about.is_empty(), "{name}");
        }
    }

    #[test]
    fn every_file_of_the_folder_comes_with_the_program() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
        assert_eq!(std::fs::read_dir(folder).unwrap().count(), READY.len());
    }
}
