//! `ringway doctor` as a script sees it.

use std::process::{Command, Output};

fn doctor(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringway")).arg("doctor").args(args).output().expect("it runs")
}

#[test]
fn the_exit_code_is_1_if_and_only_if_a_check_fails() {
    // The second asks for a table larger than any kernel grants.
    for args in
        [&["--json", "--shards", "1"][..], &["--json", "--shards", "1", "--connections-max", "1048576"]]
    {
        let output = doctor(args);
        let rows: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let rows = rows.as_array().expect("an array");
        let names: Vec<_> = rows.iter().map(|row| row["name"].as_str().unwrap_or_default()).collect();
        let checks: Vec<_> = tuning::CHECKS.iter().map(|check| check.name).collect();
        assert_eq!(names, checks);
        let fails = rows.iter().any(|row| row["status"] == "fail");
        assert_eq!(output.status.code(), Some(i32::from(fails)), "{args:?}");
    }
    assert_eq!(doctor(&["--connections-max", "1048576"]).status.code(), Some(1));
}

#[test]
fn text_through_a_pipe_has_no_colours_and_ends_in_a_summary() {
    let text = String::from_utf8(doctor(&[]).stdout).expect("text");
    assert!(!text.contains('\u{1b}') && text.trim_end().ends_with("with this configuration."), "{text}");
}

#[test]
fn a_wrong_configuration_is_told_as_such() {
    assert_eq!(doctor(&["--shards", "0"]).status.code(), Some(78));
    assert_eq!(doctor(&["--no-such-flag"]).status.code(), Some(64));
}
