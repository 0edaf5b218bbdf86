//! `[auth]`: the keys that tokens are checked with, each in a file or in a variable.

use super::fault::{Fault, Faults, Place};
use super::kind::{Kind, Raw, Wrong};
use super::reader::Reader;
use protocol::token::{KeyKind, KeySource, Keys};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

/// Keys at most: a token without a `kid` is tried with all of its kind.
const KEYS_MAX: usize = 16;
/// A `kid`, bytes.
const KID_BYTES_MAX: usize = 128;
/// A file of a key, bytes; one for RSA with 16,384 bits has 3 KiB.
const FILE_BYTES_MAX: u64 = 64 << 10;

const KINDS: [(&str, KeyKind); 3] =
    [("HS256", KeyKind::HS256), ("RS256", KeyKind::RS256), ("EdDSA", KeyKind::EdDSA)];

/// The keys of tokens, not yet read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Auth {
    keys: Vec<Key>,
    place: Place,
}

/// A key, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    kind: KeyKind,
    kid: Option<String>,
    material: Material,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Material {
    File(PathBuf),
    Variable(String),
}

impl Auth {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let keys = reader.key("auth.keys", KeyList, Vec::new());
        Self { keys, place: reader.place("auth.keys") }
    }

    /// The variables that hold keys.
    pub(super) fn variables(&self) -> Vec<&str> {
        let variable = |key: &'_ Key| match &key.material {
            Material::Variable(_) => true,
            Material::File(_) => false,
        };
        self.keys.iter().filter(|key| variable(key)).map(Key::origin).collect()
    }

    /// Reads the keys from where they are, each of them judged by itself.
    pub(crate) fn sources(&self) -> Result<Vec<KeySource>, Faults> {
        let mut sources = Vec::new();
        let mut faults = Vec::new();
        for (index, key) in self.keys.iter().enumerate() {
            match key.source() {
                Ok(source) => sources.push(source),
                Err(reason) => {
                    let text = format!("auth.keys: key {} ({key}): {reason}", index + 1);
                    faults.push(Fault { text, place: Some(self.place.clone()) });
                }
            }
        }
        if faults.is_empty() { Ok(sources) } else { Err(Faults(faults)) }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.kind)?;
        self.kid.iter().try_for_each(|kid| write!(f, " {kid:?}"))
    }
}

impl Key {
    fn origin(&self) -> &str {
        match &self.material {
            Material::File(path) => path.to_str().unwrap_or_default(),
            Material::Variable(name) => name,
        }
    }

    fn source(&self) -> Result<KeySource, String> {
        let material = match &self.material {
            Material::File(path) => read_file(path, self.kind)
                .map_err(|error| format!("cannot read the file {}: {error}", path.display()))?,
            Material::Variable(name) => {
                std::env::var_os(name).ok_or_else(|| format!("the variable {name} is not set"))?.into_vec()
            }
        };
        let source = KeySource { kind: self.kind, kid: self.kid.clone(), material };
        match Keys::new(std::slice::from_ref(&source)) {
            Ok(_) => Ok(source),
            Err(error) => Err(format!("{error} (from {})", self.origin())),
        }
    }
}

/// Without the line's end that editors put there.
fn read_file(path: &Path, kind: KeyKind) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let mode = file.metadata()?.permissions().mode() & 0o777;
    if kind == KeyKind::HS256 && mode & 0o077 != 0 {
        let text = format!("it holds a secret and can be read by others (mode {mode:o}): chmod 600 it");
        return Err(io::Error::other(text));
    }
    let mut material = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut material)?;
    if material.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("expected at most {FILE_BYTES_MAX} bytes, it has more")));
    }
    if material.last() == Some(&b'\n') {
        material.pop();
        material.pop_if(|byte| *byte == b'\r');
    }
    Ok(material)
}

/// An array of tables.
struct KeyList;

impl Kind for KeyList {
    type Value = Vec<Key>;
    const IS_TEXT: bool = false;

    fn read(&self, raw: &Raw<'_>) -> Result<Vec<Key>, Wrong> {
        const EXAMPLE: &str = "[{ kind = \"RS256\", kid = \"2026\", file = \"public.pem\" }]";
        let Raw::Toml(value) = raw else {
            let expected = "the file to have it: its keys may name variables, with `env`".to_owned();
            return Err(wrong(expected, "a text", None));
        };
        let Some(items) = value.get_ref().as_array() else {
            return Err(wrong(format!("a list such as {EXAMPLE}"), "something else", None));
        };
        if items.len() > KEYS_MAX {
            return Err(wrong(format!("at most {KEYS_MAX}"), &format!("{} of them", items.len()), None));
        }
        let mut keys = Vec::<Key>::new();
        for item in items {
            let Some(table) = item.get_ref().as_table() else {
                return Err(wrong(format!("tables, as in {EXAMPLE}"), "something else", Some(item)));
            };
            let key = read_key(item, table)?;
            if key.kid.is_some() && keys.iter().any(|other| other.kid == key.kid) {
                return Err(wrong("a `kid` to be there once".into(), &key.to_string(), Some(item)));
            }
            keys.push(key);
        }
        Ok(keys)
    }

    fn show(&self, value: &Vec<Key>) -> Value {
        Value::Array(value.iter().map(|key| Value::Table(key.show())).collect())
    }

    fn range(&self) -> String {
        format!("at most {KEYS_MAX}")
    }
}

impl Key {
    fn show(&self) -> Table {
        let mut table = Table::new();
        let (kind, _) = KINDS.iter().find(|(_, kind)| *kind == self.kind).expect("every kind has its word");
        table.insert("kind".into(), (*kind).into());
        table.extend(self.kid.as_deref().map(|kid| ("kid".into(), kid.into())));
        let name = match self.material {
            Material::File(_) => "file",
            Material::Variable(_) => "env",
        };
        table.insert(name.into(), self.origin().into());
        table
    }
}

/// What came is named and not shown: it may be a secret in the wrong place.
fn wrong(expected: String, got: &str, at: Option<&Spanned<DeValue<'_>>>) -> Wrong {
    Wrong { expected, got: Some(got.to_owned()), span: at.map(Spanned::span) }
}

fn read_key(item: &Spanned<DeValue<'_>>, table: &DeTable<'_>) -> Result<Key, Wrong> {
    if let Some(other) = table.keys().find(|key| !["kind", "kid", "file", "env"].contains(&&**key.get_ref()))
    {
        let got = Some(format!("`{}`", other.get_ref()));
        let expected = "a key to have `kind`, `kid`, and `file` or `env`".to_owned();
        return Err(Wrong { expected, got, span: Some(other.span()) });
    }
    let kind = table.get("kind");
    let named = kind.and_then(|kind| kind.get_ref().as_str());
    let Some((_, kind)) = KINDS.iter().find(|(name, _)| Some(*name) == named) else {
        let got = named.map_or_else(|| "none".to_owned(), |name| format!("{name:?}"));
        return Err(wrong(
            "`kind` to be \"HS256\", \"RS256\" or \"EdDSA\"".into(),
            &got,
            kind.or(Some(item)),
        ));
    };
    let kid = table.get("kid").map(kid).transpose()?;
    let material = match (table.get("file"), table.get("env")) {
        (Some(file), None) => Material::File(text(file, "the path of a file")?.into()),
        (None, Some(name)) => Material::Variable(text(name, "the name of a variable")?),
        (file, _) => {
            let got = if file.is_some() { "both" } else { "neither" };
            return Err(wrong("a key to have either `file` or `env`".into(), got, Some(item)));
        }
    };
    Ok(Key { kind: *kind, kid, material })
}

fn kid(value: &Spanned<DeValue<'_>>) -> Result<String, Wrong> {
    let expected = format!("`kid` to be a text of 1 to {KID_BYTES_MAX} bytes");
    let kid = text(value, &expected)?;
    if kid.len() > KID_BYTES_MAX {
        return Err(wrong(expected, &format!("{} bytes", kid.len()), Some(value)));
    }
    Ok(kid)
}

/// A text of one line that says something.
fn text(value: &Spanned<DeValue<'_>>, expected: &str) -> Result<String, Wrong> {
    let text = value.get_ref().as_str().filter(|text| !text.is_empty() && !text.contains(char::is_control));
    text.map(str::to_owned).ok_or_else(|| wrong(expected.to_owned(), "something else", Some(value)))
}
