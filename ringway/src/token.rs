//! `ringway token`: development tokens on stdout, and nothing else.

use crate::cli::Token;
use crate::data_dir::development_key;
use anyhow::{Context, Result};
use protocol::token::mint_hs256;
use protocol::{UnixMs, UserId};
use std::io::{self, BufWriter, Write};
use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) fn run(args: &Token) -> Result<()> {
    let key = development_key(&args.data)?;
    #[allow(clippy::disallowed_methods, reason = "the command line is no shard")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    let expires_at = UnixMs((now + args.ttl).as_millis() as u64);
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
