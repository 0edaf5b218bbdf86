//! Keys of tokens in the configuration: what is refused before anything starts, and that no secret
//! is told. `scripts/acceptance/keys.py` has those that are taken.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

const KEYS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../protocol/tests/keys");

/// Starts `ringway dev` with these keys, all of which are refused; returns what it says.
fn refused(keys: &str, variables: &[(&str, &str)]) -> String {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("ringway.toml"), format!("[auth]\nkeys = {keys}\n")).unwrap();
    refused_in(dir.path(), variables)
}

fn refused_in(dir: &Path, variables: &[(&str, &str)]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_ringway"))
        // Keys that are taken would not keep the test waiting: no directory can be made there.
        .args(["dev", "--config", "ringway.toml", "--data", "ringway.toml/data"])
        .current_dir(dir)
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78), "{error}");
    error
}

#[test]
fn a_key_says_its_kind_and_where_it_is() {
    for (keys, expected, column) in [
        ("[{ file = 'x' }]", "`kind` to be \"HS256\", \"RS256\" or \"EdDSA\", got none", 9),
        ("[{ kind = 'ES256', file = 'x' }]", "got \"ES256\"", 18),
        ("[{ kind = 'HS256' }]", "either `file` or `env`, got neither", 9),
        ("[{ kind = 'HS256', file = 'x', env = 'X' }]", "either `file` or `env`, got both", 9),
        ("[{ kind = 'HS256', env = '' }]", "the name of a variable", 33),
        ("[{ kind = 'HS256', env = 'X', kid = '' }]", "`kid` to be a text of 1 to 128 bytes", 44),
        ("['x']", "tables, as in", 9),
        ("'x'", "a list such as", 8),
        (
            "[{ kind = 'RS256', kid = 'a', env = 'X' }, { kind = 'EdDSA', kid = 'a', env = 'X' }]",
            "there once",
            51,
        ),
    ] {
        let error = refused(keys, &[]);
        assert!(error.contains(expected), "{expected:?} is not in {error}");
        assert!(error.contains(&format!("line 2, column {column})")), "{keys}: {error}");
    }
    let many = vec!["{ kind = 'HS256', env = 'X' }"; 17].join(", ");
    assert!(refused(&format!("[{many}]"), &[]).contains("expected at most 16, got 17 of them"));
    let error = refused("[]", &[("RINGWAY_AUTH__KEYS", "do not show")]);
    assert!(error.contains("the file to have it") && !error.contains("do not show"), "{error}");
}

#[test]
fn a_secret_in_the_wrong_place_is_not_repeated() {
    for keys in ["[{ kind = 'HS256', secret = 'do not show' }]", "['do not show']", "'do not show'"] {
        let error = refused(keys, &[]);
        assert!(error.contains("auth.keys: expected") && !error.contains("do not show"), "{error}");
    }
}

#[test]
fn a_key_that_can_not_be_used_is_told_with_its_number_and_place() {
    let rsa = format!("{KEYS}/rsa.pub.pem");
    let keys =
        format!("[{{ kind = 'RS256', file = '{rsa}' }}, {{ kind = 'RS256', kid = 'b', file = '/none' }}]");
    let error = refused(&keys, &[]);
    assert!(
        error.contains("auth.keys: key 2 (RS256 \"b\"): cannot read the file /none: No such file"),
        "{error}"
    );
    let error = refused(&format!("[{{ kind = 'EdDSA', file = '{rsa}' }}]"), &[]);
    assert!(error.contains("key 1 (EdDSA): expected a public key in PEM"), "{error}");
    for private in ["rsa.pem", "ed25519.pem"] {
        let kind = if private == "rsa.pem" { "RS256" } else { "EdDSA" };
        let error = refused(&format!("[{{ kind = '{kind}', file = '{KEYS}/{private}' }}]"), &[]);
        assert!(error.contains("got a private one"), "{error}");
    }
    let error = refused("[{ kind = 'HS256', env = 'NOT_SET' }]", &[]);
    assert!(error.contains("the variable NOT_SET is not set"), "{error}");
    let error = refused("[{ kind = 'HS256', env = 'RINGWAY_SHORT' }]", &[("RINGWAY_SHORT", "do not show")]);
    assert!(
        error.contains("at least 32 bytes, got 11 (from RINGWAY_SHORT)") && !error.contains("do not"),
        "{error}"
    );
}

#[test]
fn a_secret_that_others_can_read_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, [b'x'; 40]).unwrap();
    std::fs::write(
        dir.path().join("ringway.toml"),
        "[auth]\nkeys = [{ kind = \"HS256\", file = \"secret\" }]\n",
    )
    .unwrap();
    for mode in [0o644, 0o640] {
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(mode)).unwrap();
        let error = refused_in(dir.path(), &[]);
        assert!(error.contains(&format!("(mode {mode:o}): chmod 600 it")), "{error}");
    }
    std::fs::write(&secret, vec![b'x'; 70_000]).unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(refused_in(dir.path(), &[]).contains("at most 65536 bytes"), "its size has a bound");
}
