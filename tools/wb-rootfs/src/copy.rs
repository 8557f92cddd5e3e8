//! A tree of files copied by descriptors: content, owners, modes, times, extended attributes, hard links.
//!
//! No link is ever followed, and nothing is opened before it is known to be a directory or a regular file: a hostile
//! tree can name nothing outside of itself, and no device of it is touched. What is in the way is merged with
//! (directories) or replaced (all else), but a directory never gives way to a file, nor a file to a directory.

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
use wb_sys::{Errno, node, tree};

/// Deeper trees are refused: each level holds a few descriptors.
const MAX_DEPTH: usize = 256;
/// How often something new in the way is removed before it is somebody's who does not stop.
const MAX_TRIES: usize = 16;

/// Gives the owner a copy is to have; `None` where it stays its maker's.
pub type Owner<'a> = &'a dyn Fn(u32, u32) -> Option<(u32, u32)>;

/// Copies what is in the directory `from` into the directory `to`, which should be empty, and gives it the same
/// owner, mode, times and attributes. Sockets are left out.
///
/// `from` may be seen through `maps`; the copy gets the ids the maps stand for.
pub fn tree(from: impl AsFd, to: impl AsFd, maps: Option<&Maps>) -> Result<(), Error> {
    let owner = |uid, gid| Some(maps.map_or((uid, gid), |maps| maps.inside(uid, gid)));
    let from = handle(&from).context(|| "open directory")?;
    let mut copy = Copy::new(&to, &owner, true)?;
    copy.contents(&from, &to, &mut PathBuf::new())?;
    let to = reopen(&to)?;
    copy.finish(&from, &to, &tree::stat_fd(&from).context(|| "fstat")?).context(|| "the top directory")
}

/// A descriptor that can be read, of a directory that may be a mere handle (`O_PATH`).
fn reopen(directory: impl AsFd) -> Result<OwnedFd, Error> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    nix::fcntl::openat(directory, ".", flags, Mode::empty()).context(|| "open directory")
}

fn handle(directory: impl AsFd) -> wb_sys::Result<OwnedFd> {
    nix::fcntl::openat(directory, ".", OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
}

/// A copy that is being made.
pub struct Copy<'a> {
    top: OwnedFd,
    /// Where the first name of a file with several lies, below `top`.
    linked: HashMap<(u64, u64), PathBuf>,
    owner: Owner<'a>,
    /// Whether what gives rights is copied too: set-user-ID bits, file capabilities, devices.
    privileged: bool,
    /// File systems that are not entered from above: the kernel's own, of a container that runs.
    pub leave_out: Vec<u64>,
}

impl<'a> Copy<'a> {
    /// A copy somewhere below `top`.
    pub fn new(top: impl AsFd, owner: Owner<'a>, privileged: bool) -> Result<Self, Error> {
        Ok(Self { top: reopen(&top)?, linked: HashMap::new(), owner, privileged, leave_out: Vec::new() })
    }

    /// Copies what is in the directory behind the handle `from` into `to`, which lies at `path` below the top.
    pub fn contents(&mut self, from: &OwnedFd, to: impl AsFd, path: &mut PathBuf) -> Result<(), Error> {
        self.directory(from, &reopen(to)?, path, 0)
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
        let device = tree::stat_fd(from).context(|| "fstat")?.st_dev;
        for (name, _) in tree::names(from).context(|| "read directory")? {
            let source = match tree::open_path(from, &name) {
                // Of a container that runs on.
                Err(Errno::ENOENT) => continue,
                other => other.context(|| escape(&name.to_string_lossy()))?,
            };
            let other = tree::stat_fd(&source).context(|| "fstat")?.st_dev;
            if other != device && self.leave_out.contains(&other) {
                continue;
            }
            path.push(&name);
            self.put(&source, to, &name, path, depth).map_err(|error| {
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

    /// Copies what the handle `source` names to `name` in `to`; that is `path` below the top.
    pub fn put(
        &mut self,
        source: &OwnedFd,
        to: &OwnedFd,
        name: &OsString,
        path: &mut PathBuf,
        depth: usize,
    ) -> Result<(), Error> {
        let status = tree::stat_fd(source).context(|| "fstat")?;
        let kind = tree::kind(&status);
        if kind == SFlag::S_IFDIR {
            let target = make_directory(to, name)?;
            self.directory(source, &target, path, depth + 1)?;
            return self.finish(source, &target, &status);
        }
        if status.st_nlink > 1 && self.link(&status, to, name, path)? {
            return Ok(());
        }
        match kind {
            SFlag::S_IFREG => {
                let content = tree::reopen(source).context(|| "open")?;
                let target = replacing(to, name, || tree::create(to, name, 0o600))?;
                let mut target = File::from(target);
                std::io::copy(&mut File::from(content), &mut target).context(|| "content")?;
                self.finish(source, &target, &status)
            }
            SFlag::S_IFLNK => {
                let target = node::readlink(source).context(|| "readlink")?;
                replacing(to, name, || tree::symlink(target.as_os_str(), to, name))?;
                if let Some((uid, gid)) = (self.owner)(status.st_uid, status.st_gid) {
                    tree::chown(to, name, uid, gid).context(|| "chown")?;
                }
                tree::set_time(to, name, time(&status)).context(|| "times")
            }
            SFlag::S_IFSOCK => Ok(()),
            SFlag::S_IFCHR | SFlag::S_IFBLK if !self.privileged => {
                Err(Error::new("a device is copied only with its owner")
                    .hint("-a copies owners, devices and set-user-ID bits as they are"))
            }
            _ => {
                replacing(to, name, || tree::mknod(to, name, kind, 0o600, status.st_rdev))?;
                let target = tree::open_path(to, name).context(|| "open")?;
                if let Some((uid, gid)) = (self.owner)(status.st_uid, status.st_gid) {
                    tree::chown(to, name, uid, gid).context(|| "chown")?;
                }
                tree::chmod_path(&target, self.mode(&status)).context(|| "chmod")?;
                tree::set_time(to, name, time(&status)).context(|| "times")
            }
        }
    }

    /// Makes `name` another name of a file that has been copied already; false where it has not.
    fn link(&mut self, status: &FileStat, to: &OwnedFd, name: &OsString, path: &Path) -> Result<bool, Error> {
        let identity = (status.st_dev, status.st_ino);
        let Some(first) = self.linked.get(&identity) else {
            self.linked.insert(identity, path.to_owned());
            return Ok(false);
        };
        let parent = first.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
        // A directory that has been replaced meanwhile leads nowhere: the file is copied once more.
        let Ok(parent) = tree::own_directory(&self.top, parent.as_os_str()) else { return Ok(false) };
        let first = first.file_name().unwrap_or_default();
        match replacing(to, name, || tree::link(&parent, first, to, name)) {
            Err(error) if matches!(error.raw_errno(), Some(Errno::ENOENT | Errno::EXDEV)) => Ok(false),
            other => other.map(|()| true),
        }
    }

    fn mode(&self, status: &FileStat) -> u32 {
        let rights = if self.privileged { 0o7777 } else { 0o1777 };
        status.st_mode & rights
    }

    /// Owner, then attributes and mode, which a change of owner would cut, then times.
    fn finish(&self, from: impl AsFd, to: impl AsFd, status: &FileStat) -> Result<(), Error> {
        if let Some((uid, gid)) = (self.owner)(status.st_uid, status.st_gid) {
            tree::chown_fd(&to, uid, gid).context(|| "chown")?;
        }
        for (name, value) in tree::xattrs(&from).context(|| "extended attributes")? {
            // trusted.overlay.* is overlayfs's own, and system.* belongs to one file system.
            let security = self.privileged && name.starts_with(b"security.");
            if name.starts_with(b"user.") || security || name == b"system.posix_acl_access" {
                tree::set_xattr(&to, &name, &value).context(|| escape(&String::from_utf8_lossy(&name)))?;
            }
        }
        tree::chmod_fd(&to, self.mode(status)).context(|| "chmod")?;
        tree::set_time_fd(&to, time(status)).context(|| "times")
    }
}

/// The directory `name`, made where it is missing; what else is there stays.
fn make_directory(to: &OwnedFd, name: &OsStr) -> Result<OwnedFd, Error> {
    node::allow_existing(tree::mkdir(to, name, 0o700)).context(|| "mkdir")?;
    tree::child_directory(to, name).map_err(|errno| match errno {
        Errno::ENOTDIR | Errno::ELOOP => {
            Error::new(format!("{}: a directory does not replace a file", escape(&name.to_string_lossy())))
        }
        _ => Error::errno("open", errno),
    })
}

/// Makes something new under a name, first removing the file that is there.
fn replacing<T>(to: &OwnedFd, name: &OsStr, make: impl Fn() -> wb_sys::Result<T>) -> Result<T, Error> {
    for _ in 0..MAX_TRIES {
        match make() {
            Err(Errno::EEXIST) => {}
            other => return other.context(|| "create"),
        }
        match tree::unlink(to, name) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(Errno::EISDIR) => {
                let name = escape(&name.to_string_lossy());
                return Err(Error::new(format!("{name}: a file does not replace a directory")));
            }
            Err(errno) => return Err(Error::errno("replace", errno)),
        }
    }
    Err(Error::errno("create", Errno::EEXIST))
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
