//! What settings may hold: reading a value from any layer, and showing it as TOML.

use crate::cli::duration;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;
use std::time::Duration;
use toml::de::DeValue;
use toml::{Spanned, Value};

/// A value as it came.
pub(super) enum Raw<'a> {
    /// From the environment or a flag.
    Text(&'a str),
    /// From the file.
    Toml(&'a Spanned<DeValue<'a>>),
}

/// Why a value is none that a setting may hold.
#[derive(Debug, Default)]
pub(super) struct Wrong {
    pub(super) expected: String,
    /// What came, where the value itself does not say it or is not to be shown.
    pub(super) got: Option<String>,
    /// Which part of the value it is, where it comes from the file.
    pub(super) span: Option<Range<usize>>,
}

/// What a setting may hold.
pub(super) trait Kind {
    /// As the program uses it.
    type Value;
    /// Whether it can be given as one text, in the environment or by a flag.
    const IS_TEXT: bool = true;
    /// Takes it, or says what was expected.
    fn read(&self, raw: &Raw<'_>) -> Result<Self::Value, Wrong>;
    /// As it is written in a file.
    fn show(&self, value: &Self::Value) -> Value;
    /// What it may be, for the table of the documentation.
    fn range(&self) -> String;
}

impl Raw<'_> {
    fn string(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Toml(value) => value.get_ref().as_str(),
        }
    }

    fn number(&self) -> Option<u64> {
        match self {
            Self::Text(text) => text.parse().ok(),
            Self::Toml(value) => {
                let number = value.get_ref().as_integer()?;
                u64::from_str_radix(number.as_str(), number.radix()).ok()
            }
        }
    }

    fn truth(&self) -> Option<bool> {
        match self {
            Self::Text(text) => text.parse().ok(),
            Self::Toml(value) => value.get_ref().as_bool(),
        }
    }

    /// An array, or a text with commas; the empty text is the empty list.
    fn items(&self) -> Option<Vec<Raw<'_>>> {
        match self {
            Self::Text(text) if text.trim().is_empty() => Some(Vec::new()),
            Self::Text(text) => Some(text.split(',').map(|item| Raw::Text(item.trim())).collect()),
            Self::Toml(value) => Some(value.get_ref().as_array()?.iter().map(Raw::Toml).collect()),
        }
    }

    fn span(&self) -> Option<Range<usize>> {
        match self {
            Self::Text(_) => None,
            Self::Toml(value) => Some(value.span()),
        }
    }

    /// The item of a list that is wrong, by itself.
    fn wrong(&self, expected: impl Into<String>) -> Wrong {
        let got = match self {
            Self::Text(text) => Some(bare(text)),
            Self::Toml(_) => None,
        };
        Wrong { expected: expected.into(), got, span: self.span() }
    }
}

/// A text in a message: in quotes where one would not see it without.
fn bare(text: &str) -> String {
    if text.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        format!("{text:?}")
    } else {
        text.to_owned()
    }
}

/// A whole number within a range.
pub(super) struct Number<T>(pub(super) RangeInclusive<T>);

impl<T: Copy + PartialOrd + Display + TryFrom<u64> + TryInto<i64>> Kind for Number<T> {
    type Value = T;

    fn read(&self, raw: &Raw<'_>) -> Result<T, Wrong> {
        let number = raw.number().and_then(|number| T::try_from(number).ok());
        number
            .filter(|number| self.0.contains(number))
            .ok_or_else(|| raw.wrong(format!("a whole number from {}", self.range())))
    }

    fn show(&self, value: &T) -> Value {
        Value::Integer((*value).try_into().unwrap_or(i64::MAX))
    }

    fn range(&self) -> String {
        format!("{} to {}", self.0.start(), self.0.end())
    }
}

/// A time with its unit, within a range of seconds.
pub(super) struct Time(pub(super) RangeInclusive<u64>);

impl Kind for Time {
    type Value = Duration;

    fn read(&self, raw: &Raw<'_>) -> Result<Duration, Wrong> {
        let time = raw.string().and_then(|text| duration(text).ok());
        time.filter(|time| self.0.contains(&time.as_secs())).ok_or_else(|| {
            raw.wrong(format!("a time from {}, such as \"{}s\"", self.range(), self.0.start()))
        })
    }

    fn show(&self, value: &Duration) -> Value {
        format!("{}s", value.as_secs()).into()
    }

    fn range(&self) -> String {
        format!("{}s to {}s", self.0.start(), self.0.end())
    }
}

/// One of a few words.
pub(super) struct Choice<T: 'static>(pub(super) &'static [(&'static str, T)]);

impl<T: Copy + PartialEq> Kind for Choice<T> {
    type Value = T;

    fn read(&self, raw: &Raw<'_>) -> Result<T, Wrong> {
        let word = raw.string().unwrap_or_default();
        let chosen = self.0.iter().find(|(name, _)| *name == word);
        chosen.map(|(_, value)| *value).ok_or_else(|| raw.wrong(self.range()))
    }

    fn show(&self, value: &T) -> Value {
        let name = self.0.iter().find(|(_, other)| other == value).map(|(name, _)| *name);
        name.expect("every value has its word").into()
    }

    fn range(&self) -> String {
        self.0.iter().map(|(name, _)| format!("\"{name}\"")).collect::<Vec<_>>().join(" or ")
    }
}

/// Yes or no.
pub(super) struct Truth;

impl Kind for Truth {
    type Value = bool;

    fn read(&self, raw: &Raw<'_>) -> Result<bool, Wrong> {
        raw.truth().ok_or_else(|| raw.wrong(self.range()))
    }

    fn show(&self, value: &bool) -> Value {
        (*value).into()
    }

    fn range(&self) -> String {
        "true or false".to_owned()
    }
}

/// Where to listen.
pub(super) struct Address;

impl Kind for Address {
    type Value = SocketAddr;

    fn read(&self, raw: &Raw<'_>) -> Result<SocketAddr, Wrong> {
        let address = raw.string().and_then(|text| text.parse().ok());
        address.ok_or_else(|| raw.wrong("an IP and a port, such as \"127.0.0.1:8080\" or \"[::1]:8080\""))
    }

    fn show(&self, value: &SocketAddr) -> Value {
        value.to_string().into()
    }

    fn range(&self) -> String {
        "IP:PORT".to_owned()
    }
}

/// A path of a directory.
pub(super) struct Directory;

impl Kind for Directory {
    type Value = PathBuf;

    fn read(&self, raw: &Raw<'_>) -> Result<PathBuf, Wrong> {
        let text = raw.string().filter(|text| !text.is_empty());
        text.map(PathBuf::from).ok_or_else(|| raw.wrong("the path of a directory"))
    }

    fn show(&self, value: &PathBuf) -> Value {
        value.display().to_string().into()
    }

    fn range(&self) -> String {
        "a directory".to_owned()
    }
}

/// The origin of a page (RFC 6454 section 6.2), as browsers send it.
pub(super) struct Origin;

impl Kind for Origin {
    type Value = String;

    fn read(&self, raw: &Raw<'_>) -> Result<String, Wrong> {
        let wrong =
            || raw.wrong("an origin such as \"https://chat.example\": scheme, host, perhaps a port, no path");
        let text = raw.string().ok_or_else(wrong)?;
        let host = text.split_once("://").filter(|(scheme, _)| !scheme.is_empty()).map(|(_, host)| host);
        let is_origin = host.is_some_and(|host| {
            !host.is_empty() && host.bytes().all(|b| b.is_ascii_graphic() && !b"/*?#,@".contains(&b))
        });
        is_origin.then(|| text.to_owned()).ok_or_else(wrong)
    }

    fn show(&self, value: &String) -> Value {
        value.as_str().into()
    }

    fn range(&self) -> String {
        "origins".to_owned()
    }
}

/// A text of some form.
pub(super) struct Text {
    /// In words.
    pub(super) what: &'static str,
    /// Whether a text is one.
    pub(super) good: fn(&str) -> bool,
}

impl Kind for Text {
    type Value = String;

    fn read(&self, raw: &Raw<'_>) -> Result<String, Wrong> {
        let text = raw.string().filter(|text| (self.good)(text));
        text.map(str::to_owned).ok_or_else(|| raw.wrong(self.what))
    }

    fn show(&self, value: &String) -> Value {
        value.as_str().into()
    }

    fn range(&self) -> String {
        self.what.to_owned()
    }
}

/// A URL of some scheme. What it holds as a password is not shown.
pub(super) struct Url(pub(super) &'static str);

impl Kind for Url {
    type Value = String;

    fn read(&self, raw: &Raw<'_>) -> Result<String, Wrong> {
        let rest = raw.string().and_then(|text| text.strip_prefix(self.0)?.strip_prefix("://"));
        match rest {
            Some(rest) if !rest.is_empty() => Ok(format!("{}://{rest}", self.0)),
            _ => Err(Wrong { got: Some("something else".into()), ..raw.wrong(self.range()) }),
        }
    }

    fn show(&self, value: &String) -> Value {
        masked(value).into()
    }

    fn range(&self) -> String {
        format!("{}://…", self.0)
    }
}

/// A URL without its password.
fn masked(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    match rest.rsplit_once('@').map(|(user, host)| (user.split_once(':'), host)) {
        Some((Some((user, _)), host)) => format!("{scheme}://{user}:***@{host}"),
        _ => url.to_owned(),
    }
}

/// Names and values that are handed to a library as they are; in the file only. Values are not
/// shown: they may be secrets.
pub(super) struct Properties;

impl Kind for Properties {
    type Value = BTreeMap<String, String>;
    const IS_TEXT: bool = false;

    fn read(&self, raw: &Raw<'_>) -> Result<Self::Value, Wrong> {
        let wrong = || Wrong { got: Some("something else".into()), ..raw.wrong("a table of texts") };
        let Raw::Toml(value) = raw else { return Err(wrong()) };
        let table = value.get_ref().as_table().ok_or_else(wrong)?;
        let pair = |(name, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
            let name: &std::borrow::Cow<'_, str> = name.get_ref();
            Some((name.to_string(), value.get_ref().as_str()?.to_owned()))
        };
        table.iter().map(|entry| pair(entry).ok_or_else(wrong)).collect()
    }

    fn show(&self, value: &Self::Value) -> Value {
        Value::Table(value.keys().map(|name| (name.clone(), "***".into())).collect())
    }

    fn range(&self) -> String {
        "a table of texts".to_owned()
    }
}

/// Several of a kind, at most so many.
pub(super) struct List<K>(pub(super) K, pub(super) usize);

impl<K: Kind> Kind for List<K> {
    type Value = Vec<K::Value>;

    fn read(&self, raw: &Raw<'_>) -> Result<Self::Value, Wrong> {
        let items = raw.items().ok_or_else(|| raw.wrong(format!("a list of {}", self.0.range())))?;
        if items.len() > self.1 {
            let got = Some(format!("{} of them", items.len()));
            return Err(Wrong { got, ..raw.wrong(format!("at most {} in the list", self.1)) });
        }
        items.iter().map(|item| self.0.read(item)).collect()
    }

    fn show(&self, value: &Self::Value) -> Value {
        Value::Array(value.iter().map(|item| self.0.show(item)).collect())
    }

    fn range(&self) -> String {
        format!("at most {}: {}", self.1, self.0.range())
    }
}
