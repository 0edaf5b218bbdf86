//! The data directory: one process at a time, and the key that signs development tokens.

use anyhow::{Context, Result, bail};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

const KEY_BYTES: usize = 32;

/// A data directory that this process alone has open.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes the directory at need and locks it; the lock goes with the process, however it ends.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        fs::create_dir_all(path)
            .with_context(|| format!("cannot make the data directory {}", path.display()))?;
        let file = path.join("lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&file);
        let lock = lock.with_context(|| format!("cannot open {}", file.display()))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => bail!(
                "the data directory {} is open in another ringway process: stop that one, or give this one its own with --data",
                path.display()
            ),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("cannot lock {}", file.display()))
            }
        }
    }

    /// Where the store is.
    pub(crate) fn store(&self) -> PathBuf {
        self.path.join("ringway.db")
    }

    /// The key of development tokens.
    pub(crate) fn key(&self) -> Result<Vec<u8>> {
        development_key(&self.path)
    }
}

/// Reads `dev.key`, or makes it: 32 random bytes in hex, mode 0600.
pub(crate) fn development_key(data: &Path) -> Result<Vec<u8>> {
    let file = data.join("dev.key");
    match fs::read_to_string(&file) {
        Ok(text) => read_key(&file, &text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => make_key(data, &file),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
    }
}

fn read_key(file: &Path, text: &str) -> Result<Vec<u8>> {
    let mode = fs::metadata(file)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        bail!(
            "{} can be read by others (mode {mode:o}): chmod 600 it, or delete it to get a new one",
            file.display()
        );
    }
    let text = text.trim();
    if text.len() < 2 * KEY_BYTES {
        bail!(
            "{} holds {} characters, expected at least {}: delete it to get a new one",
            file.display(),
            text.len(),
            2 * KEY_BYTES
        );
    }
    Ok(text.as_bytes().to_vec())
}

fn make_key(data: &Path, file: &Path) -> Result<Vec<u8>> {
    fs::create_dir_all(data).with_context(|| format!("cannot make the data directory {}", data.display()))?;
    let mut random = [0; KEY_BYTES];
    File::open("/dev/urandom")
        .and_then(|mut f| f.read_exact(&mut random))
        .context("cannot read /dev/urandom")?;
    let text: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    // Two processes may get here at once: each writes its own file, the first link wins.
    let own = data.join(format!("dev.key.{}", std::process::id()));
    let write = |own: &Path| -> std::io::Result<()> {
        let mut f = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(own)?;
        f.write_all(text.as_bytes())?;
        f.sync_all()?;
        match fs::hard_link(own, file) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    };
    let written = write(&own);
    let _ = fs::remove_file(&own);
    written.with_context(|| format!("cannot write {}", file.display()))?;
    read_key(file, &fs::read_to_string(file)?)
}

#[cfg(test)]
mod tests {
    use super::{DataDir, development_key};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_key_is_made_once_and_only_the_owner_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let key = development_key(&data).unwrap();
        assert_eq!(key.len(), 64);
        assert_eq!(development_key(&data).unwrap(), key);
        let file = data.join("dev.key");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(development_key(&data).unwrap_err().to_string().contains("chmod 600"));
    }

    #[test]
    fn a_data_directory_is_open_once() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDir::open(dir.path()).unwrap();
        let error = DataDir::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("open in another ringway process"), "{error}");
        drop(first);
        DataDir::open(dir.path()).unwrap();
    }
}
