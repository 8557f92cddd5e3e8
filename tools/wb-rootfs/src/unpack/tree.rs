//! Entries become files below one directory, and nowhere else, whatever their names say.
//!
//! A parent is opened by descriptor, links on the way resolved inside the root; the last component is never followed.
//! Directories keep mode 0700 and owner root until the end, so that neither a set-group-ID bit nor a missing
//! right disturbs what is made in them, and their times last.

use super::archive::{Entry, Kind};
use super::parents::Parents;
use crate::attribute;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;
use wb_doc::{Context, Error, escape};
use wb_sys::tree::{self, Time};
use wb_sys::{Errno, SFlag};

/// The most bytes of directories' names kept until the end.
const MAX_DEFERRED_BYTES: usize = 64 << 20;
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Names the old union file system aufs kept for itself.
const AUFS: &[u8] = b".wh..wh.";

/// A layer being unpacked.
pub struct Tree {
    parents: Parents,
    deferred: Vec<Deferred>,
    deferred_bytes: usize,
    /// Files go in among others, and no name has a meaning of its own; otherwise it is a layer.
    merges: bool,
}

/// What a directory becomes when everything in it is made.
struct Deferred {
    path: Box<[u8]>,
    inode: u64,
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: Time,
}

impl Tree {
    /// A tree below `root`, an empty directory.
    pub fn new(root: OwnedFd) -> Self {
        Self { parents: Parents::new(root, b""), deferred: Vec::new(), deferred_bytes: 0, merges: false }
    }

    /// Files of an archive that is no layer, into the directory `base` of a root that is in use: a directory there
    /// never gives way to a file, nor a file to a directory, and links are resolved inside `root`.
    pub fn merging(root: OwnedFd, base: &[u8]) -> Self {
        Self { parents: Parents::new(root, base), deferred: Vec::new(), deferred_bytes: 0, merges: true }
    }

    /// Makes what `entry` says; `content` gives a regular file's content to the sink it gets.
    pub fn add(
        &mut self,
        entry: &Entry,
        content: impl FnOnce(&mut dyn FnMut(&[u8]) -> Result<(), Error>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let shown = || escape(&String::from_utf8_lossy(&entry.path)).chars().take(300).collect::<String>();
        self.add_entry(entry, content).map_err(|error| error.within(shown()))
    }

    fn add_entry(
        &mut self,
        entry: &Entry,
        content: impl FnOnce(&mut dyn FnMut(&[u8]) -> Result<(), Error>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if entry.path.is_empty() {
            return match entry.kind {
                // It is somebody's already.
                Kind::Directory if self.merges => Ok(()),
                Kind::Directory => self.finish_directory(&self.parents.root(), entry),
                _ => Err(Error::new("only a directory can be the root of a layer")),
            };
        }
        let (parent, name) = split(&entry.path);
        if self.merges {
            return self.make(parent, name, entry, content);
        }
        if has_aufs_name(&entry.path) && name != OPAQUE {
            return Ok(());
        }
        if parent.split(|&byte| byte == b'/').any(|part| part.starts_with(WHITEOUT)) {
            return Err(Error::new("below a whiteout"));
        }
        if name == OPAQUE {
            let directory = self.parents.open(parent)?;
            return mark_opaque(&directory);
        }
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            return self.whiteout(parent, hidden);
        }
        self.make(parent, name, entry, content)
    }

    /// Makes what the entry says, whatever its name.
    fn make(
        &mut self,
        parent: &[u8],
        name: &[u8],
        entry: &Entry,
        content: impl FnOnce(&mut dyn FnMut(&[u8]) -> Result<(), Error>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let directory = self.parents.open(parent)?;
        let name = OsStr::from_bytes(name);
        match entry.kind {
            Kind::File => self.file(&directory, name, entry, content),
            Kind::Link => self.link(&directory, name, entry),
            Kind::Directory => self.directory(&directory, name, entry),
            Kind::Symlink => {
                let target = OsStr::from_bytes(&entry.link);
                self.replacing(&directory, name, || tree::symlink(target, &directory, name))?;
                self.chown_named(&directory, name, entry)?;
                tree::set_time(&directory, name, entry.mtime).context(|| "utimensat")
            }
            Kind::Fifo => self.node(&directory, name, entry, SFlag::S_IFIFO, 0),
            Kind::Block { major, minor } => self.node(
                &directory,
                name,
                entry,
                SFlag::S_IFBLK,
                wb_sys::makedev(major.into(), minor.into()),
            ),
            Kind::Character { major: 0, minor: 0 } => {
                Err(Error::new("character device 0:0 is overlayfs's own whiteout"))
            }
            Kind::Character { major, minor } => self.node(
                &directory,
                name,
                entry,
                SFlag::S_IFCHR,
                wb_sys::makedev(major.into(), minor.into()),
            ),
        }
    }

    fn file(
        &mut self,
        parent: &OwnedFd,
        name: &OsStr,
        entry: &Entry,
        content: impl FnOnce(&mut dyn FnMut(&[u8]) -> Result<(), Error>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let fd = self.replacing(parent, name, || tree::create(parent, name, entry.mode & 0o777))?;
        content(&mut |piece| tree::write_all(&fd, piece).context(|| "write"))?;
        if self.is_others(entry.uid, entry.gid) {
            tree::chown_fd(&fd, entry.uid, entry.gid).context(|| "fchown").map_err(needs_root)?;
        }
        // After chown, which takes these bits and the capabilities away; and after the last write.
        if entry.mode & 0o7000 != 0 {
            tree::chmod_fd(&fd, entry.mode).context(|| "fchmod")?;
        }
        set_xattrs(&fd, &entry.xattrs)?;
        tree::set_time_fd(&fd, entry.mtime).context(|| "futimens")
    }

    fn link(&mut self, parent: &OwnedFd, name: &OsStr, entry: &Entry) -> Result<(), Error> {
        let (target_parent, target_name) = split(&entry.link);
        let shown = || format!("hard link to {}", escape(&String::from_utf8_lossy(&entry.link)));
        if target_name.is_empty() || target_name.starts_with(WHITEOUT) {
            return Err(Error::errno(shown(), Errno::EPERM));
        }
        let target_name = OsStr::from_bytes(target_name);
        let from = self.parents.find(target_parent).context(shown)?;
        let target = tree::stat(&from, target_name).context(shown)?;
        if tree::is_whiteout(&target) || tree::kind(&target) == SFlag::S_IFDIR {
            return Err(Error::errno(shown(), Errno::EPERM));
        }
        // A link to itself would be removed before it is made.
        if let Ok(there) = tree::stat(parent, name) {
            if (there.st_dev, there.st_ino) == (target.st_dev, target.st_ino) {
                let same_name = name == target_name
                    && tree::stat_fd(&from).context(shown)?.st_ino
                        == tree::stat_fd(parent).context(shown)?.st_ino;
                // Another name of the same file already: that is what was asked for.
                return if same_name { Err(Error::new("hard link to itself")) } else { Ok(()) };
            }
        }
        self.replacing(parent, name, || tree::link(&from, target_name, parent, name)).context(shown)
    }

    fn directory(&mut self, parent: &OwnedFd, name: &OsStr, entry: &Entry) -> Result<(), Error> {
        let mut hides = false;
        let made = tree::mkdir(parent, name, 0o700);
        if made == Err(Errno::EEXIST) {
            let there = tree::stat(parent, name).context(|| "fstatat")?;
            if tree::kind(&there) != SFlag::S_IFDIR {
                if self.merges {
                    return Err(Error::new("a directory does not replace a file"));
                }
                hides = tree::is_whiteout(&there);
                self.clear(parent, name)?;
                tree::mkdir(parent, name, 0o700).context(|| "mkdir")?;
            }
        } else {
            made.context(|| "mkdir")?;
        }
        let fd = Rc::new(tree::child_directory(parent, name).context(|| "open")?);
        if hides {
            mark_opaque(&fd)?;
        }
        self.finish_directory(&fd, entry)?;
        self.parents.keep(&entry.path, fd);
        Ok(())
    }

    /// Attributes at once, the rest when all is made.
    fn finish_directory(&mut self, fd: &OwnedFd, entry: &Entry) -> Result<(), Error> {
        set_xattrs(fd, &entry.xattrs)?;
        self.deferred_bytes += entry.path.len() + size_of::<Deferred>();
        if self.deferred_bytes > MAX_DEFERRED_BYTES {
            return Err(Error::new("the names of directories take more than 64 MiB"));
        }
        self.deferred.push(Deferred {
            path: entry.path.as_slice().into(),
            inode: tree::stat_fd(fd).context(|| "fstat")?.st_ino,
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime,
        });
        Ok(())
    }

    fn node(
        &mut self,
        parent: &OwnedFd,
        name: &OsStr,
        entry: &Entry,
        kind: SFlag,
        device: u64,
    ) -> Result<(), Error> {
        let made = self
            .replacing(parent, name, || tree::mknod(parent, name, kind, entry.mode & 0o777, device))
            .context(|| "mknod")
            .map_err(needs_root);
        match made {
            // In a user namespace nobody makes devices, and nobody could use them; containers have their own.
            Err(error) if error.raw_errno() == Some(Errno::EPERM) && attribute::is_users() => return Ok(()),
            other => other?,
        }
        self.chown_named(parent, name, entry)?;
        if entry.mode & 0o7000 != 0 {
            // Through a handle that does not open the device.
            let handle = tree::open_path(parent, name).context(|| "open")?;
            tree::chmod_path(&handle, entry.mode).context(|| "chmod")?;
        }
        tree::set_time(parent, name, entry.mtime).context(|| "utimensat")
    }

    /// Whether a new file is not this owner's by itself. Among others it may have a group of its directory's giving.
    fn is_others(&self, uid: u32, gid: u32) -> bool {
        self.merges || (uid, gid) != (0, 0)
    }

    fn chown_named(&self, parent: &OwnedFd, name: &OsStr, entry: &Entry) -> Result<(), Error> {
        if !self.is_others(entry.uid, entry.gid) {
            return Ok(());
        }
        tree::chown(parent, name, entry.uid, entry.gid).context(|| "fchownat").map_err(needs_root)
    }

    /// Hides `hidden` of the layers below. What this layer itself has under that name stays; a directory then shows
    /// nothing of theirs.
    fn whiteout(&mut self, parent: &[u8], hidden: &[u8]) -> Result<(), Error> {
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(Error::new("whiteout of nothing"));
        }
        let parent = self.parents.open(parent)?;
        let name = OsStr::from_bytes(hidden);
        match tree::mknod(&parent, name, SFlag::S_IFCHR, 0, 0) {
            Err(Errno::EEXIST) => match tree::child_directory(&parent, name) {
                Ok(directory) => mark_opaque(&directory),
                Err(Errno::ENOTDIR | Errno::ELOOP | Errno::ENXIO) => Ok(()),
                Err(errno) => Err(Error::errno("open", errno)),
            },
            made => made.context(|| "mknod of a whiteout").map_err(needs_root),
        }
    }

    /// Makes something new under a name, first removing what an earlier entry of the layer left there.
    fn replacing<T>(
        &mut self,
        parent: &OwnedFd,
        name: &OsStr,
        make: impl Fn() -> wb_sys::Result<T>,
    ) -> Result<T, Error> {
        let result = match make() {
            Err(Errno::EEXIST) => {
                self.clear(parent, name)?;
                make()
            }
            other => other,
        };
        result.context(|| "create")
    }

    fn clear(&mut self, parent: &OwnedFd, name: &OsStr) -> Result<(), Error> {
        // What is known of any path may have gone through it.
        self.parents.forget();
        if self.merges {
            return tree::unlink(parent, name).map_err(|errno| match errno {
                Errno::EISDIR => Error::new("a file does not replace a directory"),
                _ => Error::errno("replace", errno),
            });
        }
        tree::remove(parent, name).context(|| "replace")
    }

    /// Gives all directories their owner, mode and times.
    pub fn finish(mut self) -> Result<(), Error> {
        let root = self.parents.root();
        self.parents.forget();
        // As long as no entry says otherwise.
        if !self.merges {
            tree::chmod_fd(&root, 0o755).context(|| "fchmod")?;
        }
        for directory in self.deferred {
            let shown = || escape(&String::from_utf8_lossy(&directory.path));
            let path = self.parents.path_from_root(&directory.path);
            let fd = match tree::real_directory_in_root(&root, OsStr::from_bytes(&path)) {
                // A later entry put something else there.
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => continue,
                other => other.context(shown)?,
            };
            if tree::stat_fd(&fd).context(shown)?.st_ino != directory.inode {
                continue;
            }
            if self.merges || (directory.uid, directory.gid) != (0, 0) {
                tree::chown_fd(&fd, directory.uid, directory.gid).context(shown).map_err(needs_root)?;
            }
            tree::chmod_fd(&fd, directory.mode).context(shown)?;
            tree::set_time_fd(&fd, directory.mtime).context(shown)?;
        }
        Ok(())
    }
}

/// The parent (empty for the root) and the last component.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

fn has_aufs_name(path: &[u8]) -> bool {
    path.split(|&byte| byte == b'/').any(|part| part.starts_with(AUFS))
}

/// What overlayfs reads as "nothing of the layers below shows here" (kernel, filesystems/overlayfs, "whiteouts and
/// opaque directories").
fn mark_opaque(directory: &OwnedFd) -> Result<(), Error> {
    tree::set_xattr(directory, attribute::opaque().as_bytes(), b"y")
        .context(attribute::opaque)
        .map_err(needs_root)
}

/// File capabilities and users' own attributes are a layer's to set. All others are dropped, as docker does: those of
/// security modules belong to this machine, and overlayfs's own would steer the overlay mount.
fn set_xattrs(fd: &OwnedFd, xattrs: &[(Vec<u8>, Vec<u8>)]) -> Result<(), Error> {
    for (name, value) in xattrs {
        let is_user = name.starts_with(b"user.") && !name.starts_with(b"user.overlay.");
        if is_user || name == b"security.capability" {
            let shown = || escape(&String::from_utf8_lossy(name));
            tree::set_xattr(fd, name, value).context(shown)?;
        }
    }
    Ok(())
}

fn needs_root(error: Error) -> Error {
    match error.raw_errno() {
        Some(Errno::EPERM) => error.hint("owners, devices and whiteouts need root's rights"),
        Some(Errno::EINVAL) if attribute::is_users() => error.hint(
            "an owner this user has no id for: usermod --add-subuids FIRST-LAST --add-subgids FIRST-LAST USER",
        ),
        _ => error,
    }
}
