//! Where a report goes: to stdout as text, to files by their endings.

use anyhow::{Context, Result};
use loadtest::report::{Report, html};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The ending of a file of histograms.
const HISTOGRAMS: &str = "hlog";

fn ends_with(path: &Path, ending: &str) -> bool {
    path.extension().is_some_and(|own| own.eq_ignore_ascii_case(ending))
}

/// The file of histograms among the outputs, which is written while the run goes on.
pub(super) fn histograms(outputs: &[PathBuf]) -> Option<PathBuf> {
    outputs.iter().find(|path| ends_with(path, HISTOGRAMS)).cloned()
}

/// Writes the other outputs: a page if the name ends in .html, text if in .txt, else JSON.
pub(super) fn write(outputs: &[PathBuf], report: &Report) -> Result<()> {
    for path in outputs.iter().filter(|path| !ends_with(path, HISTOGRAMS)) {
        let text = if ends_with(path, "html") {
            html(report)
        } else if ends_with(path, "txt") {
            report.to_string()
        } else {
            serde_json::to_string_pretty(report).context("cannot write the report as JSON")? + "\n"
        };
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Prints; a reader that has gone away, as `head` does, is no error.
pub(super) fn print(text: &str) -> Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to stdout"),
    }
}
