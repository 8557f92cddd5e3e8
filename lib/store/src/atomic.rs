//! Files that are replaced whole: a reader sees the old content or the new, never a part.

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use wb_doc::{Context, Error};

/// How far a written file must have got before the call returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// In the page cache: other processes see it, a power cut may lose it, the old content too. For what a reboot forgets
    /// anyway.
    Passing,
    /// In the page cache, and after a power cut the file has the old content or the new.
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
        match durability {
            Durability::Passing => replace(&temporary, path)?,
            _ => fs::rename(&temporary, path)?,
        }
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

/// Puts a new file in a file's place, which is not written to the disk for it: ext4 does that to a file that is renamed
/// over another (ext4(5), "auto_da_alloc"), before the call returns.
fn replace(new: &Path, path: &Path) -> std::io::Result<()> {
    match renameat2(AT_FDCWD, new, AT_FDCWD, path, RenameFlags::RENAME_EXCHANGE) {
        Ok(()) => fs::remove_file(new),
        // There was none; or the file system cannot do it.
        Err(_) => fs::rename(new, path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_replaced_whole_too() {
        let directory = std::env::temp_dir().join(format!("wb-atomic-{}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        let path = directory.join("a");
        for content in ["one", "other", ""] {
            write(&path, content.as_bytes(), Durability::Passing).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
            assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
        }
        fs::remove_dir_all(&directory).unwrap();
    }
}
