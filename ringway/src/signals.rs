//! What a running process waits for: a signal to end, SIGHUP, or a part that fails.

use anyhow::{Context, Result};
use std::time::Duration;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

/// How often the parts are looked after.
const WATCH: Duration = Duration::from_millis(200);

/// Waits for SIGTERM or SIGINT, and then gives none; or for `failed` to say what has. SIGHUP calls
/// `reload`.
pub(crate) fn wait(reload: impl Fn(), failed: impl Fn() -> Option<String>) -> Result<Option<String>> {
    let runtime = Builder::new_current_thread().enable_all().build().context("cannot make a runtime")?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
        let mut hang_up = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
        loop {
            tokio::select! {
                _ = hang_up.recv() => reload(),
                _ = terminate.recv() => return Ok(None),
                _ = interrupt.recv() => return Ok(None),
                () = tokio::time::sleep(WATCH) => {}
            }
            if let Some(failure) = failed() {
                return Ok(Some(failure));
            }
        }
    })
}
