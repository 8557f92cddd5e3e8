//! Paths inside the root: resolved and made by descriptors, so that no link leads out and no race helps.

use nix::fcntl::{OFlag, OpenHow, ResolveFlag};
use nix::sys::stat::{Mode, SFlag};
use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use wb_doc::{Context, Error};
use wb_sys::{Errno, file, node};

/// As many links as the kernel follows (path_resolution(7)).
const MAX_LINKS: usize = 40;
/// openat2(2) gives up with `EAGAIN` where somebody renames at the same time.
const MAX_TRIES: usize = 128;

/// What a mount point has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// Anything else.
    File,
}

/// The root directory of the container, as its mount sees it.
#[derive(Debug)]
pub struct Root {
    directory: OwnedFd,
}

impl Root {
    /// The root behind `directory`.
    pub fn new(directory: OwnedFd) -> Self {
        Self { directory }
    }

    /// Its descriptor.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// What lies at `path`, links followed inside the root; `None` where there is nothing.
    pub fn open(&self, path: &Path) -> Result<Option<OwnedFd>, Error> {
        for _ in 0..MAX_TRIES {
            match file::open_in_root(&self.directory, path, OFlag::O_PATH, Mode::empty()) {
                Err(Errno::EAGAIN) => {}
                Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(None),
                other => return other.map(Some).context(|| inside(path)),
            }
        }
        Err(Error::errno(inside(path), Errno::EAGAIN))
    }

    /// As [`Root::open`], of a path without any link in it.
    pub fn open_plain(&self, path: &Path) -> Result<Option<OwnedFd>, Error> {
        let resolve = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_SYMLINKS;
        let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC).resolve(resolve);
        match nix::fcntl::openat2(&self.directory, path, how) {
            Err(Errno::ENOENT) => Ok(None),
            Err(Errno::ELOOP) => Err(Error::new(format!("{}: a symbolic link in the image", inside(path)))),
            other => other.map(Some).context(|| inside(path)),
        }
    }

    /// The mount point at `path`, made where it is missing: directories with mode 0755, a file empty.
    ///
    /// Also where a link leads to nothing yet: what it names inside the root is made.
    pub fn make(&self, path: &Path, kind: Kind) -> Result<OwnedFd, Error> {
        match self.open(path)? {
            Some(there) => Ok(there),
            None => self.walk(path, kind).context(|| format!("make {}", path.display())),
        }
    }

    /// The directory `path` lies in, made where it is missing, and the last component.
    pub fn make_parent(&self, path: &Path) -> Result<(OwnedFd, PathBuf), Error> {
        let name = path.file_name().ok_or_else(|| Error::new(format!("{}: no file name", path.display())))?;
        let parent = path.parent().unwrap_or(Path::new("/"));
        Ok((self.make(parent, Kind::Directory)?, name.into()))
    }

    /// Goes down component by component, each opened below the one before and never followed; links are read and
    /// walked from where they lie, or from the root where absolute. `..` goes back to the directory passed through.
    fn walk(&self, path: &Path, kind: Kind) -> Result<OwnedFd, Errno> {
        let mut ahead: VecDeque<Step> = steps(path).collect();
        let mut passed: Vec<OwnedFd> = Vec::new();
        let mut links = 0;
        while let Some(step) = ahead.pop_front() {
            let name = match step {
                Step::Root => {
                    passed.clear();
                    continue;
                }
                Step::Up => {
                    passed.pop();
                    continue;
                }
                Step::Down(name) => PathBuf::from(name),
            };
            let here = passed.last().map_or(self.directory.as_fd(), AsFd::as_fd);
            let last = !ahead.iter().any(|step| matches!(step, Step::Down(_)));
            let there = open_or_make(here, &name, if last { kind } else { Kind::Directory })?;
            match node::kind(&node::status(&there)?) {
                SFlag::S_IFLNK => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Errno::ELOOP);
                    }
                    let target = node::readlink(&there)?;
                    for step in steps(&target).collect::<Vec<_>>().into_iter().rev() {
                        ahead.push_front(step);
                    }
                }
                SFlag::S_IFDIR => passed.push(there),
                _ if last => return Ok(there),
                _ => return Err(Errno::ENOTDIR),
            }
        }
        passed.pop().map_or_else(|| self.directory.try_clone().map_err(|_| Errno::EMFILE), Ok)
    }
}

enum Step {
    Root,
    Up,
    Down(OsString),
}

fn steps(path: &Path) -> impl Iterator<Item = Step> {
    path.components().filter_map(|component| match component {
        Component::RootDir => Some(Step::Root),
        Component::ParentDir => Some(Step::Up),
        Component::Normal(name) => Some(Step::Down(name.to_owned())),
        Component::CurDir | Component::Prefix(_) => None,
    })
}

fn open_or_make(parent: BorrowedFd<'_>, name: &Path, kind: Kind) -> Result<OwnedFd, Errno> {
    let open = || {
        nix::fcntl::openat(parent, name, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())
    };
    match open() {
        Err(Errno::ENOENT) => {}
        other => return other,
    }
    let made = match kind {
        Kind::Directory => node::mkdir(parent, name, 0o755, "a mount point"),
        Kind::File => node::mknod(parent, name, SFlag::S_IFREG, 0o644, (0, 0), "a mount point for a file"),
    };
    // Somebody else may have been faster.
    node::allow_existing(made)?;
    open()
}

/// A path below the root as messages show it.
fn inside(path: &Path) -> String {
    format!("{} in the root", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> (Self, Root) {
            let path = std::env::temp_dir().join(format!("wb-root-{name}-{}", std::process::id()));
            fs::create_dir_all(path.join("root")).unwrap();
            let root = Root::new(fs::File::open(path.join("root")).unwrap().into());
            (Self(path), root)
        }

        fn join(&self, path: &str) -> PathBuf {
            self.0.join("root").join(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn makes_directories_and_files() {
        let (scratch, root) = Scratch::new("make");
        root.make(Path::new("/a/b/c"), Kind::Directory).unwrap();
        root.make(Path::new("/a/b/file"), Kind::File).unwrap();
        assert!(scratch.join("a/b/c").is_dir());
        assert!(scratch.join("a/b/file").is_file());
    }

    #[test]
    fn a_link_to_nothing_is_made_inside() {
        let (scratch, root) = Scratch::new("dangling");
        fs::create_dir(scratch.join("etc")).unwrap();
        symlink("../run/resolve/stub", scratch.join("etc/resolv.conf")).unwrap();
        symlink("/../../../outside", scratch.join("up")).unwrap();
        root.make(Path::new("/etc/resolv.conf"), Kind::File).unwrap();
        root.make(Path::new("/up/x"), Kind::Directory).unwrap();
        assert!(scratch.join("run/resolve/stub").is_file());
        assert!(scratch.join("outside/x").is_dir());
        assert!(!scratch.0.join("outside").exists());
    }

    #[test]
    fn a_link_out_of_the_root_stays_in() {
        let (scratch, root) = Scratch::new("out");
        fs::create_dir(scratch.0.join("host")).unwrap();
        symlink(scratch.0.join("host"), scratch.join("evil")).unwrap();
        symlink("../host", scratch.join("evil2")).unwrap();
        for link in ["/evil/x", "/evil2/x"] {
            root.make(Path::new(link), Kind::Directory).unwrap();
        }
        assert_eq!(fs::read_dir(scratch.0.join("host")).unwrap().count(), 0);
    }

    #[test]
    fn refuses_loops_and_files_on_the_way() {
        let (scratch, root) = Scratch::new("loop");
        symlink("b", scratch.join("a")).unwrap();
        symlink("a", scratch.join("b")).unwrap();
        fs::write(scratch.join("file"), "").unwrap();
        assert!(root.make(Path::new("/a/x"), Kind::Directory).is_err());
        assert!(root.make(Path::new("/file/x"), Kind::Directory).is_err());
        assert!(root.open_plain(Path::new("/a")).is_err());
    }
}
