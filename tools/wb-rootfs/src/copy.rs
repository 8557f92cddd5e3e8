//! A tree of files copied by descriptors: content, owners, modes, times, extended attributes, hard links.
//!
//! No link is ever followed, so a hostile tree can name nothing outside of itself.

use crate::idmap::Maps;
use nix::fcntl::OFlag;
use nix::sys::stat::{FileStat, Mode, SFlag};
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use wb_doc::{Context, Error, escape};
use wb_sys::tree;

/// Deeper trees are refused: each level holds two descriptors.
const MAX_DEPTH: usize = 256;

/// Copies what is in the directory `from` into the directory `to`, which should be empty, and gives it the same
/// owner, mode, times and attributes. Sockets are left out.
///
/// `from` may be seen through `maps`; the copy gets the ids the maps stand for.
pub fn tree(from: impl AsFd, to: impl AsFd, maps: Option<&Maps>) -> Result<(), Error> {
    let (from, to) = (reopen(&from)?, reopen(&to)?);
    let mut copy = Copy { top: reopen(&to)?, linked: HashMap::new(), maps };
    copy.directory(&from, &to, &mut PathBuf::new(), 0)?;
    let status = copy.status(tree::stat_fd(&from).context(|| "fstat")?);
    finish(&from, &to, &status).context(|| "the top directory")
}

/// A descriptor that can be read, of a directory that may be a mere handle (`O_PATH`).
fn reopen(directory: impl AsFd) -> Result<OwnedFd, Error> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    nix::fcntl::openat(directory, ".", flags, Mode::empty()).context(|| "open directory")
}

struct Copy<'a> {
    top: OwnedFd,
    /// Where the first name of a file with several lies, below `top`.
    linked: HashMap<(u64, u64), PathBuf>,
    maps: Option<&'a Maps>,
}

impl Copy<'_> {
    /// What lies in the source, with the owner it is to have.
    fn status(&self, mut status: FileStat) -> FileStat {
        if let Some(maps) = self.maps {
            (status.st_uid, status.st_gid) = maps.inside(status.st_uid, status.st_gid);
        }
        status
    }

    fn directory(
        &mut self,
        from: &OwnedFd,
        to: &OwnedFd,
        path: &mut PathBuf,
        depth: usize,
    ) -> Result<(), Error> {
        if depth >= MAX_DEPTH {
            return Err(Error::new(format!("nested deeper than {MAX_DEPTH} directories")));
        }
        for (name, _) in tree::names(from).context(|| "read directory")? {
            path.push(&name);
            self.entry(from, to, &name, path, depth).map_err(|error| {
                // The innermost entry names itself; the ones above add nothing.
                if error.to_string().starts_with("copy ") {
                    error
                } else {
                    error.within(format!("copy {}", shown(path)))
                }
            })?;
            path.pop();
        }
        Ok(())
    }

    fn entry(
        &mut self,
        from: &OwnedFd,
        to: &OwnedFd,
        name: &OsString,
        path: &mut PathBuf,
        depth: usize,
    ) -> Result<(), Error> {
        let status = self.status(tree::stat(from, name).context(|| "fstatat")?);
        let kind = tree::kind(&status);
        if kind != SFlag::S_IFDIR && status.st_nlink > 1 {
            let identity = (status.st_dev, status.st_ino);
            if let Some(first) = self.linked.get(&identity) {
                return tree::link(&self.top, first.as_os_str(), to, name).context(|| "link");
            }
            self.linked.insert(identity, path.clone());
        }
        match kind {
            SFlag::S_IFDIR => {
                tree::mkdir(to, name, 0o700).context(|| "mkdir")?;
                let source = tree::child_directory(from, name).context(|| "open")?;
                let target = tree::child_directory(to, name).context(|| "open")?;
                self.directory(&source, &target, path, depth + 1)?;
                finish(&source, &target, &status)
            }
            SFlag::S_IFREG => {
                let source = tree::open_file(from, name).context(|| "open")?;
                let target = tree::create(to, name, 0o600).context(|| "create")?;
                let mut target = File::from(target);
                std::io::copy(&mut File::from(source.try_clone().context(|| "dup")?), &mut target)
                    .context(|| "content")?;
                finish(&source, &target, &status)
            }
            SFlag::S_IFLNK => {
                let target = tree::read_link(from, name).context(|| "readlink")?;
                tree::symlink(&target, to, name).context(|| "symlink")?;
                tree::chown(to, name, status.st_uid, status.st_gid).context(|| "chown")?;
                tree::set_time(to, name, time(&status)).context(|| "times")
            }
            SFlag::S_IFSOCK => Ok(()),
            _ => {
                tree::mknod(to, name, kind, 0o600, status.st_rdev).context(|| "mknod")?;
                let target = tree::open_path(to, name).context(|| "open")?;
                tree::chown(to, name, status.st_uid, status.st_gid).context(|| "chown")?;
                tree::chmod_path(&target, status.st_mode & 0o7777).context(|| "chmod")?;
                tree::set_time(to, name, time(&status)).context(|| "times")
            }
        }
    }
}

/// Owner, then attributes and mode, which a change of owner would cut, then times.
fn finish(from: impl AsFd, to: impl AsFd, status: &FileStat) -> Result<(), Error> {
    tree::chown_fd(&to, status.st_uid, status.st_gid).context(|| "chown")?;
    for (name, value) in tree::xattrs(&from).context(|| "extended attributes")? {
        // trusted.overlay.* is overlayfs's own, and system.* belongs to one file system.
        if name.starts_with(b"user.") || name.starts_with(b"security.") || name == b"system.posix_acl_access"
        {
            tree::set_xattr(&to, &name, &value).context(|| escape(&String::from_utf8_lossy(&name)))?;
        }
    }
    tree::chmod_fd(&to, status.st_mode & 0o7777).context(|| "chmod")?;
    tree::set_time_fd(&to, time(status)).context(|| "times")
}

fn time(status: &FileStat) -> tree::Time {
    (status.st_mtime, u32::try_from(status.st_mtime_nsec).unwrap_or(0))
}

fn shown(path: &Path) -> String {
    escape(&OsStr::from_bytes(path.as_os_str().as_bytes()).to_string_lossy())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::path::PathBuf;

    struct Scratch(PathBuf);

    impl Drop for Scratch {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn copies_modes_links_and_content() {
        let scratch = Scratch(std::env::temp_dir().join(format!("wb-copy-{}", std::process::id())));
        let (from, to) = (scratch.0.join("from"), scratch.0.join("to"));
        fs::create_dir_all(from.join("sub")).unwrap();
        fs::create_dir(&to).unwrap();
        fs::write(from.join("sub/file"), "content").unwrap();
        fs::set_permissions(from.join("sub/file"), fs::Permissions::from_mode(0o640)).unwrap();
        fs::set_permissions(from.join("sub"), fs::Permissions::from_mode(0o1777)).unwrap();
        fs::hard_link(from.join("sub/file"), from.join("zweite")).unwrap();
        symlink("/etc/passwd", from.join("link")).unwrap();
        super::tree(fs::File::open(&from).unwrap(), fs::File::open(&to).unwrap(), None).unwrap();
        assert_eq!(fs::read_to_string(to.join("sub/file")).unwrap(), "content");
        assert_eq!(fs::metadata(to.join("sub/file")).unwrap().mode() & 0o7777, 0o640);
        assert_eq!(fs::metadata(to.join("sub")).unwrap().mode() & 0o7777, 0o1777);
        assert_eq!(fs::read_link(to.join("link")).unwrap(), PathBuf::from("/etc/passwd"));
        let ino = |name: &str| fs::metadata(to.join(name)).unwrap().ino();
        assert_eq!(ino("sub/file"), ino("zweite"));
        let times = |path: PathBuf| fs::metadata(path).unwrap().mtime_nsec();
        assert_eq!(times(from.join("sub")), times(to.join("sub")));
    }
}
