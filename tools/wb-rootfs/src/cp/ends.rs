//! The two ends of a copy, by docker's rules: what is meant by a path as it was typed.

use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, SFlag};
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use wb_doc::{Context, Error, escape};
use wb_sys::{Errno, FileStat, file, node, tree};

/// As many links as the kernel follows (path_resolution(7)).
const MAX_LINKS: usize = 40;
/// openat2(2) gives up with `EAGAIN` where somebody renames at the same time.
const MAX_TRIES: usize = 128;

/// Where a path is looked up.
#[derive(Debug)]
pub enum Side<'a> {
    /// On the host, as everywhere.
    Here,
    /// Below a container's root, whatever links say.
    Inside(&'a OwnedFd),
}

impl Side<'_> {
    fn open(&self, path: &Path, flags: OFlag) -> wb_sys::Result<OwnedFd> {
        let Self::Inside(root) = self else {
            return nix::fcntl::open(path, flags | OFlag::O_CLOEXEC, Mode::empty());
        };
        for _ in 0..MAX_TRIES {
            match file::open_in_root(root, path, flags, Mode::empty()) {
                Err(Errno::EAGAIN) => {}
                other => return other,
            }
        }
        Err(Errno::EAGAIN)
    }
}

/// A path as it was typed, and what its end says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Typed {
    /// Absolute, without `.` and `..`.
    pub path: PathBuf,
    /// It ends in a slash or a dot: a directory is meant.
    pub directory: bool,
    /// It ends in `/.`, or is the root: not the directory is meant but what is in it.
    pub contents: bool,
}

impl Typed {
    /// A path on the host.
    pub fn here(path: &Path) -> Result<Self, Error> {
        Self::of(&std::env::current_dir().context(|| "working directory")?, path)
    }

    /// A path in the container, where a relative one counts from the root.
    pub fn inside(path: &Path) -> Result<Self, Error> {
        Self::of(Path::new("/"), path)
    }

    fn of(base: &Path, typed: &Path) -> Result<Self, Error> {
        let bytes = typed.as_os_str().as_bytes();
        if bytes.is_empty() {
            return Err(Error::usage("an empty path"));
        }
        let mut path = PathBuf::from("/");
        for component in base.join(typed).components() {
            match component {
                Component::Normal(name) => path.push(name),
                Component::ParentDir => drop(path.pop()),
                _ => {}
            }
        }
        let dot = bytes == b"." || bytes.ends_with(b"/.");
        let contents = dot || path == Path::new("/");
        Ok(Self { path, directory: contents || bytes.ends_with(b"/"), contents })
    }

    /// As messages show it.
    pub fn shown(&self) -> String {
        escape(&self.path.to_string_lossy())
    }
}

/// What is copied.
#[derive(Debug)]
pub struct Source {
    /// A handle (`O_PATH`).
    pub object: OwnedFd,
    /// Its name in a directory it is copied to; `None` where only what is in it is meant.
    pub name: Option<OsString>,
    is_directory: bool,
}

impl Source {
    /// Finds it; a link at the end is followed only where that is asked for, or where a directory is meant.
    pub fn find(side: &Side<'_>, typed: &Typed, follow: bool) -> Result<Self, Error> {
        let mut flags = OFlag::O_PATH;
        flags.set(OFlag::O_NOFOLLOW, !follow && !typed.directory);
        flags.set(OFlag::O_DIRECTORY, typed.directory);
        let object = side.open(&typed.path, flags).context(|| typed.shown())?;
        let status = tree::stat_fd(&object).context(|| typed.shown())?;
        let name = typed.path.file_name().filter(|_| !typed.contents).map(ToOwned::to_owned);
        Ok(Self { object, name, is_directory: tree::kind(&status) == SFlag::S_IFDIR })
    }
}

/// What lies where a copy is to go.
#[derive(Debug)]
pub enum Destination {
    /// A directory.
    Directory(OwnedFd),
    /// A regular file: its directory and its name.
    File(OwnedFd, OsString),
    /// Nothing yet, in a directory that is there.
    Nothing(OwnedFd, OsString),
}

/// Where the copy goes.
#[derive(Debug)]
pub enum Target {
    /// What is in the source, into this directory.
    Inside(OwnedFd),
    /// The source itself, under this name.
    As(OwnedFd, OsString),
}

impl Destination {
    /// Finds it, every link followed, also one that leads to nothing yet.
    pub fn find(side: &Side<'_>, typed: &Typed) -> Result<Self, Error> {
        let mut path = typed.path.clone();
        for _ in 0..MAX_LINKS {
            let Some(name) = path.file_name().map(ToOwned::to_owned) else {
                // The root, or a link's target that ends in `..`.
                return directory(side, &path).map(Self::Directory).context(|| typed.shown());
            };
            let parent = path.parent().unwrap_or(Path::new("/")).to_owned();
            let directory = directory(side, &parent)
                .context(|| format!("{}: directory {}", typed.shown(), escape(&parent.to_string_lossy())))?;
            let object = match tree::open_path(&directory, &name) {
                Err(Errno::ENOENT) => return Ok(Self::Nothing(directory, name)),
                other => other.context(|| typed.shown())?,
            };
            let status: FileStat = tree::stat_fd(&object).context(|| typed.shown())?;
            match tree::kind(&status) {
                SFlag::S_IFDIR => {
                    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
                    let opened = nix::fcntl::openat(&object, ".", flags, Mode::empty());
                    return opened.map(Self::Directory).context(|| typed.shown());
                }
                SFlag::S_IFLNK => path = parent.join(node::readlink(&object).context(|| typed.shown())?),
                SFlag::S_IFREG if typed.directory => return Err(Error::errno(typed.shown(), Errno::ENOTDIR)),
                SFlag::S_IFREG => return Ok(Self::File(directory, name)),
                _ => return Err(Error::new(format!("{}: neither a directory nor a file", typed.shown()))),
            }
        }
        Err(Error::errno(typed.shown(), Errno::ELOOP))
    }

    /// Where this source goes.
    pub fn of(self, source: &Source, typed: &Typed) -> Result<Target, Error> {
        match (self, source.is_directory) {
            (Self::Directory(directory), _) => Ok(match &source.name {
                Some(name) => Target::As(directory, name.clone()),
                None => Target::Inside(directory),
            }),
            (Self::File(..), true) => {
                Err(Error::new(format!("{}: a directory does not replace a file", typed.shown())))
            }
            (Self::Nothing(..), false) if typed.directory => Err(Error::errno(typed.shown(), Errno::ENOENT)),
            (Self::File(directory, name) | Self::Nothing(directory, name), _) => {
                Ok(Target::As(directory, name))
            }
        }
    }
}

fn directory(side: &Side<'_>, path: &Path) -> wb_sys::Result<OwnedFd> {
    side.open(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(text: &str) -> Typed {
        Typed::of(Path::new("/base"), Path::new(text)).unwrap()
    }

    #[test]
    fn the_end_of_a_path_says_what_is_meant() {
        for (text, path, directory, contents) in [
            ("a", "/base/a", false, false),
            ("a/", "/base/a", true, false),
            ("a/.", "/base/a", true, true),
            (".", "/base", true, true),
            ("./", "/base", true, false),
            ("a/b/..", "/base/a", false, false),
            ("/", "/", true, true),
            ("/../../x", "/x", false, false),
            ("../../../..", "/", true, true),
            ("a/.b", "/base/a/.b", false, false),
        ] {
            assert_eq!(typed(text), Typed { path: path.into(), directory, contents }, "{text}");
        }
        assert!(Typed::of(Path::new("/"), Path::new("")).is_err());
    }
}
