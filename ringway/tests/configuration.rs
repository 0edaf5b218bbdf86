//! The configuration of `ringway dev`, as who starts it sees it. Nothing here gets as far as a port.

use std::path::PathBuf;
use std::process::{Command, Output};
use tempfile::TempDir;

struct Bench {
    dir: TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn file(&self, text: &str) -> PathBuf {
        let path = self.dir.path().join("ringway.toml");
        std::fs::write(&path, text).unwrap();
        path
    }

    /// A subcommand with a file, variables and flags; `--print-config` keeps it from starting.
    fn run(&self, name: &str, file: &str, variables: &[(&str, &str)], flags: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringway"));
        command.args([name, "--print-config", "--config"]).arg(self.file(file)).args(flags);
        command.current_dir(self.dir.path()).envs(variables.iter().copied()).output().unwrap()
    }

    fn dev(&self, file: &str, variables: &[(&str, &str)], flags: &[&str]) -> Output {
        self.run("dev", file, variables, flags)
    }

    fn printed(&self, file: &str, variables: &[(&str, &str)], flags: &[&str]) -> String {
        let output = self.dev(file, variables, flags);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn refused(&self, file: &str, variables: &[(&str, &str)], flags: &[&str]) -> String {
        let output = self.dev(file, variables, flags);
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(78), &b""[..]), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    }
}

fn line<'a>(text: &'a str, name: &str) -> &'a str {
    text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in {text}"))
}

#[test]
fn a_flag_wins_over_the_environment_that_over_the_file_and_that_over_the_default() {
    let file = "[limits]\nheadroom = 5\nheartbeat = \"10s\"\nconnections_max = 6\n[engine]\nshards = 3\n";
    let variables = [("RINGWAY_LIMITS__HEADROOM", "7"), ("RINGWAY_ENGINE__SHARDS", "4")];
    let text = Bench::new().printed(file, &variables, &["--shards", "2"]);
    assert_eq!(line(&text, "shards"), "shards = 2  # flag --shards");
    assert_eq!(line(&text, "headroom"), "headroom = 7  # environment, RINGWAY_LIMITS__HEADROOM");
    let heartbeat = line(&text, "heartbeat");
    assert!(heartbeat.starts_with("heartbeat = \"10s\"  # file "), "{heartbeat}");
    assert!(heartbeat.ends_with("ringway.toml, line 3, column 13"), "{heartbeat}");
    assert_eq!(line(&text, "handshake"), "handshake = \"5s\"  # default");
    assert_eq!(line(&text, "cores"), "cores = []  # default: not pinned");
}

#[test]
fn what_is_printed_can_be_given_as_the_file() {
    let bench = Bench::new();
    let file = "data = \"a \\\"quoted\\\" place\"\norigins = [\"https://a.example\"]\n\
        [auth]\nkeys = [{ kind = \"HS256\", env = \"RINGWAY_SECRET\" }, { kind = \"EdDSA\", kid = \"b\", file = \"b.pem\" }]\n\
        [limits]\nsession_policy = \"per-device\"\nloopback_exempt = false\n";
    let variables = [("RINGWAY_ENGINE__CORES", "0,1"), ("RINGWAY_STORE__SYNCHRONOUS", "normal")];
    let secret = [("RINGWAY_SECRET", "do not print this")];
    let variables = [&variables[..], &secret[..]].concat();
    let first = bench.printed(file, &variables, &["--listen", "127.0.0.1:9000", "--shards", "2"]);
    let second = bench.printed(&first, &secret, &[]);
    let values = |text: &str| text.parse::<toml::Table>().expect("it is TOML");
    assert_eq!(values(&first), values(&second));
    assert_eq!(values(&first)["engine"]["cores"].to_string(), "[0, 1]");
    assert_eq!(values(&first)["auth"]["keys"].as_array().map(Vec::len), Some(2));
    let settings = second.lines().filter(|line| line.contains(" = "));
    assert!(
        settings.clone().count() > 20 && settings.clone().all(|line| line.contains("# file ")),
        "{second}"
    );
    assert!(!first.contains("do not print this"), "{first}");
}

#[test]
fn everything_that_is_wrong_is_told_at_once_and_where() {
    let file = "listen = \"nowhere\"\n[limits]\n  headroom = 0\nheartbeat = 10\nconection_max = 5\n[engine]\ncores = [0, -1]\n";
    let variables = [("RINGWAY_LIMITS__HANDSHAKE", "61s"), ("RINGWAY_ENGINE__CORES", "1,x")];
    let error = Bench::new().refused(file, &variables, &["--shards", "1025"]);
    for expected in [
        "in 8 places",
        "listen: expected an IP and a port, such as \"127.0.0.1:8080\" or \"[::1]:8080\", got \"nowhere\" (",
        "ringway.toml, line 1, column 10)",
        "limits.headroom: expected a whole number from 1 to 1048576, got 0 (",
        "ringway.toml, line 3, column 14)",
        "limits.heartbeat: expected a time from 1s to 3600s, such as \"1s\", got 10 (",
        "limits.conection_max: there is no such setting; the nearest is limits.connections_max (",
        "ringway.toml, line 5, column 1)",
        "engine.cores: expected a whole number from 0 to 1023, got -1 (",
        "ringway.toml, line 7, column 13)",
        "engine.cores: expected a whole number from 0 to 1023, got x (environment, RINGWAY_ENGINE__CORES)",
        "limits.handshake: expected a time from 1s to 60s, such as \"1s\", got 61s (environment, RINGWAY_LIMITS__HANDSHAKE)",
        "engine.shards: expected a whole number from 1 to 1024, got 1025 (flag --shards)",
    ] {
        assert!(error.contains(expected), "{expected:?} is not in {error}");
    }
}

#[test]
fn a_value_that_a_higher_layer_replaces_is_judged_all_the_same() {
    let error = Bench::new().refused("[engine]\nshards = 0", &[], &["--shards", "1"]);
    assert!(error.contains("got 0 (") && error.contains("line 2, column 10"), "{error}");
}

#[test]
fn a_name_of_the_environment_that_is_no_setting_is_refused_with_the_nearest() {
    for (name, nearest) in [
        ("RINGWAY_ENGINE__SHARD", "RINGWAY_ENGINE__SHARDS"),
        ("RINGWAY_SHARDS", "RINGWAY_ENGINE__SHARDS"),
        ("RINGWAY_LISTENS", "RINGWAY_LISTEN"),
        ("RINGWAY_engine__shards", "RINGWAY_ENGINE__SHARDS"),
    ] {
        let error = Bench::new().refused("", &[(name, "do not show")], &[]);
        let expected = format!("{name}: there is no such setting; the nearest is {nearest}");
        assert!(error.contains(&expected) && !error.contains("do not show"), "{error}");
    }
    // Not ours: the prefix has an underscore.
    Bench::new().printed("", &[("RINGWAY", "x"), ("RINGWAYS_X", "x")], &[]);
}

#[test]
fn a_section_that_is_none_is_told_once_and_a_table_is_no_value() {
    let error = Bench::new().refused("[limts]\nheadroom = 1\nheartbeat = \"1s\"\n", &[], &[]);
    assert!(error.contains("wrong: limts: there is no such setting") && error.contains("line 1"), "{error}");
    let error = Bench::new().refused("engine = 3\n", &[], &[]);
    assert!(error.contains("engine: there is no such setting"), "{error}");
    let error = Bench::new().refused("[limits.headroom]\na = 1\n", &[], &[]);
    assert!(error.contains("limits.headroom: expected a whole number"), "{error}");
}

#[test]
fn what_is_no_toml_is_told_with_its_place() {
    let error = Bench::new().refused("[limits]\nheadroom = = 3\n", &[], &[]);
    assert!(error.contains("not TOML") && error.contains("line 2, column 12"), "{error}");
    let error = Bench::new().refused("[limits]\nheadroom = 1\nheadroom = 2\n", &[], &[]);
    assert!(error.contains("line 3, column 1"), "{error}");
    let output = Command::new(env!("CARGO_BIN_EXE_ringway"))
        .args(["dev", "--print-config", "--config", "/no/such/file"])
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(78) && error.contains("cannot read /no/such/file"), "{error}");
}

#[test]
fn two_settings_that_do_not_go_together_are_told_where_one_was_given() {
    let error =
        Bench::new().refused("[limits]\negress_bytes_max = 1000000\nmemory_bytes_max = 999999\n", &[], &[]);
    assert!(error.contains("at least limits.egress_bytes_max, which is 1000000, got 999999 ("), "{error}");
    assert!(error.contains("line 3, column 20"), "{error}");
    let error = Bench::new().refused("[limits]\negress_bytes_max = 1000000000\n", &[], &[]);
    assert!(error.contains("limits.memory_bytes_max") && error.contains("(default)"), "{error}");
}

#[test]
fn lists_come_with_commas_and_the_empty_text_is_the_empty_list() {
    let variables = [("RINGWAY_ORIGINS", "https://a.example, http://b.example:8000")];
    let text = Bench::new().printed("", &variables, &["--cores", ""]);
    assert!(
        line(&text, "origins").starts_with("origins = [\"https://a.example\", \"http://b.example:8000\"]  #")
    );
    assert_eq!(line(&text, "cores"), "cores = []  # flag --cores");
    for origin in ["*", "https://a.example/", "a.example", "https://*.example", "https://"] {
        let error = Bench::new().refused("", &[("RINGWAY_ORIGINS", origin)], &[]);
        assert!(error.contains("origins: expected an origin such as"), "{error}");
    }
}

#[test]
fn an_end_of_each_range_is_taken_and_what_is_beyond_is_not() {
    for (key, within, beyond) in [
        ("limits.connections_burst", ["1", "1048576"], ["0", "1048577"]),
        ("limits.commands_per_second", ["0", "1000000"], ["-1", "1000001"]),
        ("logic.large_group_members", ["1", "1000000"], ["0", "1000001"]),
        ("limits.egress_bytes_max", ["65536", "268435456"], ["65535", "1073741825"]),
        ("limits.loopback_exempt", ["true", "false"], ["1", "\"true\""]),
    ] {
        let (section, name) = key.split_once('.').unwrap();
        for value in within {
            let text = Bench::new().printed(&format!("[{section}]\n{name} = {value}\n"), &[], &[]);
            assert!(line(&text, name).starts_with(&format!("{name} = {value}  #")), "{text}");
        }
        for value in beyond {
            let error = Bench::new().refused(&format!("[{section}]\n{name} = {value}\n"), &[], &[]);
            assert!(error.contains(&format!("got {value} (")), "{error}");
        }
    }
}

#[test]
fn as_many_copies_must_have_a_record_as_there_are_but_two_are_enough() {
    let bench = Bench::new();
    for (replication, expected) in [(1, 1), (2, 2), (3, 2), (5, 2)] {
        let file = format!("[kafka]\nreplication_factor = {replication}\n");
        for name in ["gateway", "logic"] {
            let output = bench.run(name, &file, &[], &[]);
            let text = String::from_utf8(output.stdout).unwrap();
            let value = line(&text, "min_insync_replicas");
            assert!(value.starts_with(&format!("min_insync_replicas = {expected}  # default")), "{text}");
        }
    }
    let more = bench.run("logic", "[kafka]\nreplication_factor = 2\nmin_insync_replicas = 3\n", &[], &[]);
    let told = String::from_utf8(more.stderr).unwrap();
    assert_eq!(more.status.code(), Some(78), "{told}");
    assert!(told.contains("expected at most kafka.replication_factor, which is 2, got 3"), "{told}");
}
