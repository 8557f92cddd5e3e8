//! Making a directory for trees, and removing one and all below it, without ever crossing a mount or following a link.
//!
//! What lies below may have been made by a container: links, mounts, and directories nested to any depth.

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2, renameat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::ffi::{CStr, CString, OsStr};
use std::fs::DirBuilder;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use wb_doc::{Context, Error};

/// How deep directories are held open; what is nested deeper is first moved up to the top.
const MAX_OPEN: usize = 64;

/// Makes `path` with its parents, open to nobody else, for directories that have nothing to do with each other: where the
/// file system knows that hint (ext4), each gets a block group of its own. In one group ext4 would look for an inode
/// among those deleted in the last five seconds, which it does not use again.
pub fn make_for_trees(path: &Path) -> Result<OwnedFd, Error> {
    let made = || format!("mkdir {}", path.display());
    DirBuilder::new().recursive(true).mode(0o700).create(path).context(made)?;
    let directory = wb_sys::tree::open_directory(path).context(made)?;
    wb_sys::tree::set_topdir(&directory).ok();
    Ok(directory)
}

/// Removes the directory `path` with everything below it. What is not there is no error.
///
/// A mount anywhere below is an error (`EXDEV`), and what is behind it is not touched: a bind mount that an
/// earlier step failed to detach must not cost the user his volume. The entry `last` directly in `path` goes last,
/// so that a removal that failed half way can be found and tried again.
pub fn remove(path: &Path, last: Option<&str>) -> Result<(), Error> {
    clear(path, last)?;
    if let Some(name) = last {
        let file = path.join(name);
        gone(unlinkat(AT_FDCWD, &file, UnlinkatFlags::NoRemoveDir)).context(|| shown(&file))?;
    }
    gone(unlinkat(AT_FDCWD, path, UnlinkatFlags::RemoveDir)).context(|| shown(path))
}

/// As [`remove`], but the directory itself stays, and in it the entry `keep`.
pub fn clear(path: &Path, keep: Option<&str>) -> Result<(), Error> {
    let Some(top) = open(AT_FDCWD, path.as_os_str(), false).context(|| shown(path))? else {
        return Ok(());
    };
    let keep = keep.and_then(|name| CString::new(name).ok());
    let mut moved = 0;
    empty(&top, &top, 0, &mut moved, keep.as_deref()).context(|| shown(path))
}

fn shown(path: &Path) -> String {
    format!("remove {}", path.display())
}

fn gone(result: nix::Result<()>) -> nix::Result<()> {
    match result {
        Err(Errno::ENOENT) => Ok(()),
        other => other,
    }
}

/// Opens a directory without crossing a mount (below the top) or following a link; `None` where nothing is.
fn open(at: impl AsFd, name: &OsStr, below: bool) -> nix::Result<Option<OwnedFd>> {
    let mut resolve = ResolveFlag::empty();
    if below {
        resolve |= ResolveFlag::RESOLVE_NO_XDEV | ResolveFlag::RESOLVE_NO_SYMLINKS;
    }
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    match openat2(at, name, OpenHow::new().flags(flags).resolve(resolve)) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Removes everything in `directory` but `keep`. An error does not stop the rest; the first one is returned.
fn empty(
    top: &OwnedFd,
    directory: &OwnedFd,
    depth: usize,
    moved: &mut u64,
    keep: Option<&CStr>,
) -> Result<(), Error> {
    let mut first: Result<(), Error> = Ok(());
    // Directories moved up here from the depth appear while or after this one is read: read until none was added.
    loop {
        let before = *moved;
        let entries = entries(directory).context(|| "read directory")?;
        for (name, kind) in entries {
            if keep == Some(name.as_c_str()) {
                continue;
            }
            let result = remove_entry(top, directory, &name, kind, depth, moved);
            if first.is_ok() {
                first = result.context(|| OsStr::from_bytes(name.to_bytes()).to_string_lossy().into_owned());
            }
        }
        if depth > 0 || *moved == before || first.is_err() {
            return first;
        }
    }
}

fn entries(directory: &OwnedFd) -> nix::Result<Vec<(CString, Option<Type>)>> {
    let mut dir = Dir::from_fd(directory.try_clone().map_err(|_| Errno::EMFILE)?)?;
    let mut names = Vec::new();
    for entry in dir.iter() {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push((entry.file_name().to_owned(), entry.file_type()));
        }
    }
    Ok(names)
}

fn remove_entry(
    top: &OwnedFd,
    directory: &OwnedFd,
    name: &CStr,
    kind: Option<Type>,
    depth: usize,
    moved: &mut u64,
) -> Result<(), Error> {
    if kind != Some(Type::Directory) {
        match gone(unlinkat(directory, name, UnlinkatFlags::NoRemoveDir)) {
            // Some file systems do not tell the type.
            Err(Errno::EISDIR) if kind.is_none() => {}
            other => return other.context(|| "unlink"),
        }
    }
    if depth >= MAX_OPEN {
        let up = CString::new(format!(".wb-deep-{}-{moved}", std::process::id())).unwrap_or_default();
        *moved += 1;
        return gone(renameat(directory, name, top, up.as_c_str())).context(|| "rename");
    }
    match open(directory, OsStr::from_bytes(name.to_bytes()), true) {
        Ok(Some(inner)) => empty(top, &inner, depth + 1, moved, None)?,
        Ok(None) => return Ok(()),
        Err(Errno::EXDEV) => {
            return Err(Error::errno("something is still mounted there", Errno::EXDEV));
        }
        Err(errno) => return Err(errno).context(|| "open"),
    }
    gone(unlinkat(directory, name, UnlinkatFlags::RemoveDir)).context(|| "rmdir")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::PathBuf;

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("wb-tree-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn removes_a_tree_and_follows_no_link() {
        let outside = scratch("outside");
        fs::write(outside.join("keep"), "x").unwrap();
        let top = scratch("links");
        fs::create_dir_all(top.join("a/b")).unwrap();
        fs::write(top.join("a/b/file"), "x").unwrap();
        std::os::unix::fs::symlink(&outside, top.join("a/link")).unwrap();
        remove(&top, Some("config.json")).unwrap();
        assert!(!top.exists());
        assert!(outside.join("keep").exists());
        remove(&outside, None).unwrap();
        remove(&outside, None).unwrap();
    }

    #[test]
    fn removes_a_tree_deeper_than_the_open_files_allow() {
        let top = scratch("deep");
        let mut path = top.clone();
        for _ in 0..300 {
            path.push("d");
        }
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("file"), "x").unwrap();
        remove(&top, None).unwrap();
        assert!(!top.exists());
    }
}
