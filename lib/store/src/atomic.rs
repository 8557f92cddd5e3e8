//! Files that are replaced whole: a reader sees the old content or the new, never a part.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use wb_doc::{Context, Error};

/// How far a written file must have got before the call returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// In the page cache: other processes see it, a power cut may lose it. For what a reboot forgets anyway.
    Visible,
    /// On the disk: file and directory are synced.
    Durable,
}

/// Replaces `path` by a file with `content` and mode 0600: written beside it, renamed over it.
pub fn write(path: &Path, content: &[u8], durability: Durability) -> Result<(), Error> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Error::new(format!("{}: no file name", path.display())));
    };
    let temporary = directory.join(format!(".{}.{}.tmp", name.to_string_lossy(), std::process::id()));
    let written = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .custom_flags(nix::fcntl::OFlag::O_NOFOLLOW.bits())
            .open(&temporary)?;
        file.write_all(content)?;
        if durability == Durability::Durable {
            file.sync_all()?;
        }
        fs::rename(&temporary, path)?;
        if durability == Durability::Durable {
            File::open(directory)?.sync_all()?;
        }
        Ok(())
    })();
    written
        .inspect_err(|_: &std::io::Error| {
            // The old file stands; the half-written one must not stay. It may never have been made.
            fs::remove_file(&temporary).ok();
        })
        .context(|| format!("write {}", path.display()))
}
