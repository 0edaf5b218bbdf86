//! What a check found.

use serde::Serialize;

/// How a check ended; the worst one decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be.
    Ok,
    /// This machine does not tell.
    Unknown,
    /// Ringway runs, but slower or with less room than it could.
    Warn,
    /// Ringway can't run with this configuration.
    Fail,
}

impl Status {
    /// As it is printed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unknown => "unknown",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One verdict, with what it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The verdict.
    pub status: Status,
    /// What is.
    pub is: String,
    /// What should be.
    pub should: String,
    /// The command that changes it; empty if there is nothing to change.
    pub command: String,
}

impl Finding {
    /// As it should be.
    pub fn ok(is: impl Into<String>, should: impl Into<String>) -> Self {
        Self::new(Status::Ok, is, should, "")
    }

    /// It could be better.
    pub fn warn(is: impl Into<String>, should: impl Into<String>, command: impl Into<String>) -> Self {
        Self::new(Status::Warn, is, should, command)
    }

    /// It can't be like this.
    pub fn fail(is: impl Into<String>, should: impl Into<String>, command: impl Into<String>) -> Self {
        Self::new(Status::Fail, is, should, command)
    }

    /// Not exposed here.
    pub fn unknown(is: impl Into<String>, should: impl Into<String>) -> Self {
        Self::new(Status::Unknown, is, should, "")
    }

    fn new(
        status: Status,
        is: impl Into<String>,
        should: impl Into<String>,
        command: impl Into<String>,
    ) -> Self {
        Self { status, is: is.into(), should: should.into(), command: command.into() }
    }

    /// What to do about it, if it is not as it should be.
    pub(crate) fn unless(good: bool, bad: Status, is: String, should: String, command: String) -> Self {
        if good { Self::ok(is, should) } else { Self::new(bad, is, should, command) }
    }
}
