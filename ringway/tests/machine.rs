//! What the machine forbids is one error with its cure, told before anything is made.

use std::process::Command;

/// What `ringway dev` says when it is started by `wrapper`, which takes something from it. If it had
/// all it needs it would end all the same: no directory can be made below a file.
fn refused(wrapper: &[&str], flags: &[&str]) -> String {
    let output = Command::new(wrapper[0])
        .args(&wrapper[1..])
        .args([env!("CARGO_BIN_EXE_ringway"), "dev", "--data", "/dev/null/data"])
        .args(flags)
        .output()
        .expect("prlimit and taskset are there: util-linux");
    let text = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(69), "{text}");
    assert_eq!(text.lines().count(), 1, "one error: {text}");
    text
}

#[test]
fn too_few_files_are_told_with_the_limit_that_is_needed() {
    for files in ["--nofile=1000:1000", "--nofile=20:20"] {
        let text = refused(&["prlimit", files], &[]);
        assert!(text.contains("ulimit -n 19064") && text.contains("LimitNOFILE=19064"), "{text}");
    }
    let text = refused(&["prlimit", "--nofile=1000:1000"], &["--connections-max", "10"]);
    assert!(text.contains("ulimit -n 1074"), "{text}");
}

#[test]
fn too_little_locked_memory_is_told_with_the_limit_that_is_needed() {
    let text = refused(&["prlimit", "--memlock=65536:65536"], &["--shards", "1"]);
    assert!(text.contains("is 65536 bytes") && text.contains("ulimit -l 512"), "{text}");
}

#[test]
fn a_core_outside_of_the_affinity_mask_is_told_with_those_in_it() {
    let text = refused(&["taskset", "-c", "0"], &["--shards", "1", "--cores", "1"]);
    assert!(text.contains("core 1 is not among") && text.contains("may run on (0)"), "{text}");
    let text = refused(&["taskset", "-c", "0"], &["--shards", "1", "--cores", "0"]);
    assert!(text.contains("cannot make the data directory"), "nothing was wrong with the core: {text}");
}
