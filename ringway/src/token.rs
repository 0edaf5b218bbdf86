//! `ringway token`: development tokens on stdout, and nothing else.

use crate::cli::Token;
use crate::data_dir::development_key;
use anyhow::{Context, Result};
use protocol::token::mint_hs256;
use protocol::{UnixMs, UserId};
use std::io::{self, BufWriter, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// When a token that is made now and is valid for `ttl` expires.
pub(crate) fn expires_in(ttl: Duration) -> Result<UnixMs> {
    Ok(UnixMs((since_1970()? + ttl).as_millis() as u64))
}

/// The wall clock, as the command line and the start read it.
pub(crate) fn since_1970() -> Result<Duration> {
    #[allow(clippy::disallowed_methods, reason = "outside the shards")]
    SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")
}

pub(crate) fn run(args: &Token) -> Result<()> {
    let key = development_key(&args.data)?;
    let expires_at = expires_in(args.ttl)?;
    let one = args.user.map(|user| user..=user);
    let users = args.users.clone().or(one).context("expected --user or --users")?;
    let mut out = BufWriter::new(io::stdout().lock());
    for user in users {
        let token = mint_hs256(&key, UserId(user), args.device.as_deref(), expires_at);
        match writeln!(out, "{token}") {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => written.context("cannot write to stdout")?,
        }
    }
    out.flush().context("cannot write to stdout")
}
