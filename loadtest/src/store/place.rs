//! Where a store is. It may hold a password, which nothing prints.

use super::StoreError;
use sqlx::mysql::MySqlConnectOptions;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where a store is: `sqlite:PATH` or `mysql://user:password@host:port/database`.
#[derive(Clone)]
pub struct Place(pub(super) Kind);

#[derive(Clone)]
pub(super) enum Kind {
    Sqlite(PathBuf),
    MySql(Box<MySqlConnectOptions>),
}

impl FromStr for Place {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        if let Some(path) = text.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() {
                return Err(StoreError::Place("no path was given".to_owned()));
            }
            return Ok(Self(Kind::Sqlite(path.into())));
        }
        if !text.starts_with("mysql:") {
            // Not even a part of it: it may be a URL with a password, and one letter wrong.
            return Err(StoreError::Place("it begins with neither sqlite: nor mysql:".to_owned()));
        }
        // The error of the parser may quote what it parsed.
        let options = text.parse::<MySqlConnectOptions>();
        let options = options.map_err(|_| StoreError::Place("it is no such URL".to_owned()))?;
        if options.get_database().is_none_or(str::is_empty) {
            return Err(StoreError::Place("the URL names no database".to_owned()));
        }
        Ok(Self(Kind::MySql(Box::new(options))))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Kind::MySql(options) => {
                let database = options.get_database().unwrap_or_default();
                write!(f, "mysql://{}:{}/{database}", options.get_host(), options.get_port())
            }
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Place({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::Place;

    #[test]
    fn a_store_is_told_without_its_password() {
        let shown = |text: &str| {
            let place: Place = text.parse().unwrap();
            (place.to_string(), format!("{place:?}"))
        };
        assert_eq!(shown("sqlite:a/ringway.db").0, "sqlite:a/ringway.db");
        assert_eq!(shown("sqlite:///var/ringway.db").0, "sqlite:/var/ringway.db");
        let (told, debug) = shown("mysql://reader:secret@db:3307/chat");
        assert_eq!(told, "mysql://db:3307/chat");
        assert!(!debug.contains("secret"), "{debug}");
    }

    #[test]
    fn what_is_no_store_is_refused_without_being_quoted() {
        for text in
            ["", "sqlite:", "mysql://u:secret@db", "mysql://u:secret@db:port/x", "postgres://u:secret@db/x"]
        {
            let error = text.parse::<Place>().unwrap_err().to_string();
            assert!(error.contains("sqlite:") && !error.contains("secret"), "{text}: {error}");
        }
    }
}
