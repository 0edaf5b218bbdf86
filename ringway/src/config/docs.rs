//! docs/configuration.md says what the code says, both ways.

use super::environment::{Environment, variable};
use super::{Config, Flag};
use crate::cli::{Cli, Dev};
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

#[test]
fn the_page_has_every_setting_with_its_flag_variable_default_and_range() {
    let flags = Dev::default().flags();
    let config = Config::of(None, &Environment::default(), &flags).expect("the defaults are good");
    let code = |text: &str| if text.is_empty() { String::new() } else { format!("`{text}`") };
    let settings = config.settings.iter().map(|setting| {
        let flag = flags.iter().find(|flag| flag.key == setting.key).map_or("", |flag| flag.name);
        let variable = if setting.is_text { variable(setting.key) } else { String::new() };
        let default = match setting.default.as_str() {
            words @ ("one per core" | "not pinned") => words.to_owned(),
            value => code(value),
        };
        (setting.key.to_owned(), vec![code(flag), code(&variable), default, setting.range.clone()])
    });
    let settings: BTreeMap<_, _> = settings.collect();
    let documented = documented();
    for (key, cells) in &settings {
        let row = cells.join(" | ");
        assert_eq!(
            documented.get(key).map(|told| told.join(" | ")).as_deref(),
            Some(&*row),
            "the row of {key}"
        );
    }
    let extra: Vec<_> = documented.keys().filter(|key| !settings.contains_key(*key)).collect();
    assert!(extra.is_empty(), "documented, and no settings: {extra:?}");
}

#[test]
fn the_flags_of_settings_are_flags_of_dev_and_their_help_has_the_default() {
    let command = Cli::command();
    let dev = command.find_subcommand("dev").expect("there is dev");
    let flags = Dev::default().flags();
    let config = Config::of(None, &Environment::default(), &flags).expect("the defaults are good");
    for Flag { key, name, .. } in flags {
        let flag = dev.get_arguments().find(|flag| flag.get_long() == name.strip_prefix("--"));
        let help = flag.and_then(|flag| flag.get_help()).expect("a flag with help").to_string();
        let setting = config.settings.iter().find(|setting| setting.key == key).expect("a setting");
        let default = format!("[default: {}]", setting.default.trim_matches('"'));
        assert!(help.ends_with(&default), "{name}: {help:?} should end with {default}");
    }
}
