//! `--print-config`: what is in force, as a file that could be given.

use super::fault::Place;
use super::reader::Setting;
use std::fmt::Write;

const HEAD: &str = "# What is in force, and where each value comes from. This is a file for --config.
# Secrets are not in it: it names the files and variables that hold them.
";

/// All settings as TOML.
pub(crate) fn print(settings: &[Setting]) -> String {
    let mut text = HEAD.to_owned();
    let mut section = "";
    for setting in settings {
        let name = match setting.key.split_once('.') {
            None => setting.key,
            Some((of, name)) => {
                if of != section {
                    write!(text, "\n[{of}]\n").expect("a String takes everything");
                    section = of;
                }
                name
            }
        };
        let Setting { value, place, default, .. } = setting;
        let in_words = *place == Place::Default && *default != value.to_string();
        let words = if in_words { format!(": {default}") } else { String::new() };
        let place = match place {
            Place::File { .. } => format!("file {place}"),
            _ => place.to_string(),
        };
        // A control character would end the comment, and with it the file's being TOML.
        let comment: String = format!("{place}{words}").chars().filter(|c| !c.is_control()).collect();
        writeln!(text, "{name} = {value}  # {comment}").expect("a String takes everything");
    }
    text
}
