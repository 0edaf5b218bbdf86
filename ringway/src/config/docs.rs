//! docs/configuration.md says what the code says, both ways.

use super::environment::{Environment, variable};
use super::{Flag, Gateway, Loaded, Sections, Setting, Worker};
use crate::cli::{self, Cli, Dev};
use clap::CommandFactory;
use std::collections::BTreeMap;

/// The first five cells of each row about a setting: key, flag, environment, default, range.
fn documented() -> BTreeMap<String, Vec<String>> {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md"))
        .expect("the page is there");
    let row = |line: &str| {
        let cells: Vec<_> = line.strip_prefix("| `")?.split(" | ").map(str::to_owned).collect();
        Some((cells[0].trim_matches('`').to_owned(), cells[1..5].to_vec()))
    };
    let rows: Vec<_> = page.lines().filter_map(row).collect();
    let count = rows.len();
    let rows = BTreeMap::from_iter(rows);
    assert_eq!(rows.len(), count, "a setting is documented once");
    rows
}

fn defaults<T: Sections>(flags: &[Flag]) -> Vec<Setting> {
    Loaded::<T>::of(None, &Environment::default(), flags).expect("the defaults are good").settings
}

/// A setting's row, as it should be.
fn row(setting: &Setting, flags: &[Flag]) -> String {
    let code = |text: &str| if text.is_empty() { String::new() } else { format!("`{text}`") };
    let flag = flags.iter().find(|flag| flag.key == setting.key).map_or("", |flag| flag.name);
    let variable = if setting.is_text { variable(setting.key) } else { String::new() };
    let default = match setting.default.as_str() {
        words @ ("one per core" | "not pinned") => words.to_owned(),
        value => code(value),
    };
    [code(flag), code(&variable), default, setting.range.clone()].join(" | ")
}

#[test]
fn the_page_has_every_setting_with_its_flag_variable_default_and_range() {
    let documented = documented();
    let (dev, gateway, worker) =
        (Dev::default().flags(), cli::Gateway::default().flags(), cli::Logic::default().flags());
    // The port of a worker's admin is another than the others', or two on one machine would clash.
    let others_admin = |key: &str| key == "admin";
    let mut settings = BTreeMap::new();
    for (all, flags) in [
        (defaults::<Worker>(&worker), &worker),
        (defaults::<Gateway>(&gateway), &gateway),
        (defaults::<super::Dev>(&dev), &dev),
    ] {
        for setting in all {
            let row = row(&setting, flags);
            let before = settings.insert(setting.key.to_owned(), row.clone());
            let same = before.is_none_or(|before| before == row) || others_admin(setting.key);
            assert!(same, "{} is one setting, whoever reads it", setting.key);
        }
    }
    for (key, row) in &settings {
        let told = documented.get(key).map(|told| told.join(" | "));
        assert_eq!(told.as_deref(), Some(&**row), "the row of {key}");
    }
    let extra: Vec<_> = documented.keys().filter(|key| !settings.contains_key(*key)).collect();
    assert!(extra.is_empty(), "documented, and no settings: {extra:?}");
}

#[test]
fn the_flags_of_settings_are_flags_of_their_command_and_their_help_has_the_default() {
    for (name, flags, settings) in [
        ("dev", Dev::default().flags(), defaults::<super::Dev>(&[])),
        ("gateway", cli::Gateway::default().flags(), defaults::<Gateway>(&[])),
        ("logic", cli::Logic::default().flags(), defaults::<Worker>(&[])),
    ] {
        let command = Cli::command();
        let command = command.find_subcommand(name).expect("there is such a command");
        for Flag { key, name, .. } in flags {
            let flag = command.get_arguments().find(|flag| flag.get_long() == name.strip_prefix("--"));
            let help = flag.and_then(|flag| flag.get_help()).expect("a flag with help").to_string();
            let setting = settings.iter().find(|setting| setting.key == key).expect("a setting");
            let default = format!("[default: {}]", setting.default.trim_matches('"'));
            assert!(help.ends_with(&default), "{name}: {help:?} should end with {default}");
        }
    }
}
