//! Which paths differ: the directory a container wrote to, held against the layers below it as overlayfs would.

use super::Source;
use crate::attribute;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use wb_doc::{Context, Error, escape};
use wb_sys::{Errno, FileStat, SFlag, tree};

/// What became of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Added,
    Changed,
    Deleted,
}

impl Kind {
    /// docker's letter.
    pub fn letter(self) -> char {
        match self {
            Self::Added => 'A',
            Self::Changed => 'C',
            Self::Deleted => 'D',
        }
    }
}

/// One path that differs. A directory comes before what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub kind: Kind,
    /// Without a leading slash; empty for the root.
    pub path: Vec<u8>,
    /// A directory that shows nothing of the one below, though there is one.
    pub is_opaque: bool,
    /// Deleted, as everything in the directory is that was replaced: its opaque marker says so already.
    pub is_implied: bool,
}

/// The directories of a root, open.
pub struct Tree {
    pub upper: OwnedFd,
    /// The uppermost first.
    lowers: Vec<OwnedFd>,
    excludes: BTreeSet<Vec<u8>>,
}

/// What the layers below have at a path.
struct Below {
    /// What shows.
    stat: Option<FileStat>,
    /// The layers whose directories make up the one that shows, by number, the uppermost first.
    directories: Vec<usize>,
}

impl Tree {
    pub fn open(source: &Source) -> Result<Self, Error> {
        let open = |path: &Path| tree::open_directory(path).context(|| path.display().to_string());
        Ok(Self {
            upper: open(&source.upper)?,
            lowers: source.lowers.iter().map(|path| open(path)).collect::<Result<_, _>>()?,
            excludes: source.excludes.clone(),
        })
    }

    /// Everything that differs, in the order of a walk by names.
    pub fn changes(&self) -> Result<Vec<Change>, Error> {
        let mut changes = Vec::new();
        let root = tree::stat_fd(&self.upper).context(|| "upper")?;
        // Without layers below all of it is new, the root's owner and mode too.
        let is_new = match self.lowers.first() {
            None => true,
            Some(lower) => !is_same(&root, &tree::stat_fd(lower).context(|| "lower")?),
        };
        if is_new {
            let kind = if self.lowers.is_empty() { Kind::Added } else { Kind::Changed };
            changes.push(Change { kind, path: Vec::new(), is_opaque: false, is_implied: false });
        }
        let mut all: Vec<usize> = Vec::new();
        for (number, lower) in self.lowers.iter().enumerate() {
            all.push(number);
            if is_opaque(lower)? {
                break;
            }
        }
        self.directory(&[], &all, &[], &mut changes)?;
        Ok(changes)
    }

    /// Compares one directory: `merged` are the layers that show through, `hidden` those it replaced. Returns whether
    /// something in it differs, and whether something in it was left out.
    fn directory(
        &self,
        path: &[u8],
        merged: &[usize],
        hidden: &[usize],
        changes: &mut Vec<Change>,
    ) -> Result<(bool, bool), Error> {
        let before = changes.len();
        let mut left_out = false;
        let fd = self.open_directory(path)?;
        let names: Vec<OsString> =
            tree::names(&fd).context(|| show(path))?.into_iter().map(|(name, _)| name).collect();
        let gone = self.names_below(path, hidden, &names)?;
        let mut all: Vec<(&OsString, bool)> = names.iter().map(|name| (name, true)).collect();
        all.extend(gone.iter().map(|name| (name, false)));
        all.sort();
        for (name, is_there) in all {
            let child = join(path, name);
            if self.excludes.contains(&child) {
                left_out = true;
                continue;
            }
            if !is_there {
                changes.push(Change { kind: Kind::Deleted, path: child, is_opaque: false, is_implied: true });
                continue;
            }
            let stat = match tree::stat(&fd, name) {
                // Of a container that runs on.
                Err(Errno::ENOENT) => continue,
                other => other.context(|| show(&child))?,
            };
            let below = self.below(if hidden.is_empty() { merged } else { hidden }, &child)?;
            if tree::is_whiteout(&stat) {
                if below.stat.is_some() {
                    changes.push(Change {
                        kind: Kind::Deleted,
                        path: child,
                        is_opaque: false,
                        is_implied: !hidden.is_empty(),
                    });
                }
            } else if tree::kind(&stat) == SFlag::S_IFDIR {
                left_out |= self.child_directory(child, &stat, &below, !hidden.is_empty(), changes)?;
            } else {
                let kind = if below.stat.is_some() { Kind::Changed } else { Kind::Added };
                changes.push(Change { kind, path: child, is_opaque: false, is_implied: false });
            }
        }
        Ok((changes.len() > before, left_out))
    }

    /// A directory of the upper one. Returns whether something in it was left out.
    fn child_directory(
        &self,
        path: Vec<u8>,
        stat: &FileStat,
        below: &Below,
        in_hidden: bool,
        changes: &mut Vec<Change>,
    ) -> Result<bool, Error> {
        let at = changes.len();
        let fd = match tree::own_directory(&self.upper, OsStr::from_bytes(&path)) {
            Err(Errno::EXDEV) => None,
            other => Some(other.context(|| show(&path))?),
        };
        let mut replaces = in_hidden;
        if let Some(fd) = &fd {
            refuse_redirect(fd, &path)?;
            replaces |= is_opaque(fd)?;
        }
        // The marker matters where there is a directory to hide, and none above hides it already.
        let is_opaque = replaces && !in_hidden && !below.directories.is_empty();
        let (differs, left_out) = match fd {
            // Another file system's content is no part of this one: only the place where it is mounted.
            None => (false, false),
            Some(_) if replaces => self.directory(&path, &[], &below.directories, changes)?,
            Some(_) => self.directory(&path, &below.directories, &[], changes)?,
        };
        let kind = if below.stat.is_some() { Kind::Changed } else { Kind::Added };
        let is_listed = match &below.stat {
            // Made only as a place to mount on.
            None => differs || !left_out,
            Some(old) => {
                // Making a place to mount on changes the time and nothing else.
                differs || is_opaque || !is_same(stat, old) || (!is_same_time(stat, old) && !left_out)
            }
        };
        if is_listed {
            changes.insert(at, Change { kind, path, is_opaque, is_implied: false });
        }
        Ok(left_out && !differs)
    }

    /// The names in the layers `numbers` at `path`, as they show through, without those in `known`.
    fn names_below(
        &self,
        path: &[u8],
        numbers: &[usize],
        known: &[OsString],
    ) -> Result<Vec<OsString>, Error> {
        let mut names = BTreeSet::new();
        for &number in numbers {
            let fd = tree::own_directory(&self.lowers[number], at(path)).context(|| show(path))?;
            names.extend(tree::names(&fd).context(|| show(path))?.into_iter().map(|(name, _)| name));
        }
        let mut gone = Vec::new();
        for name in names {
            let child = join(path, &name);
            if known.binary_search(&name).is_err() && self.below(numbers, &child)?.stat.is_some() {
                gone.push(name);
            }
        }
        Ok(gone)
    }

    /// What the layers `numbers`, all of which have a directory above it, have at `path`.
    fn below(&self, numbers: &[usize], path: &[u8]) -> Result<Below, Error> {
        let mut below = Below { stat: None, directories: Vec::new() };
        for &number in numbers {
            let stat = match tree::stat(&self.lowers[number], at(path)) {
                Err(Errno::ENOENT) => continue,
                other => other.context(|| show(path))?,
            };
            if tree::is_whiteout(&stat) {
                break;
            }
            let is_directory = tree::kind(&stat) == SFlag::S_IFDIR;
            if is_directory {
                below.directories.push(number);
            }
            below.stat.get_or_insert(stat);
            if !is_directory
                || is_opaque(tree::own_directory(&self.lowers[number], at(path)).context(|| show(path))?)?
            {
                break;
            }
        }
        Ok(below)
    }

    fn open_directory(&self, path: &[u8]) -> Result<OwnedFd, Error> {
        tree::own_directory(&self.upper, at(path)).context(|| show(path))
    }
}

/// Same type, mode and owner.
fn is_same(a: &FileStat, b: &FileStat) -> bool {
    (a.st_mode, a.st_uid, a.st_gid) == (b.st_mode, b.st_uid, b.st_gid)
}

/// Same time of change; whole seconds are what an archive kept of the same time.
fn is_same_time(a: &FileStat, b: &FileStat) -> bool {
    let is_whole = a.st_mtime_nsec == 0 || b.st_mtime_nsec == 0;
    a.st_mtime == b.st_mtime && (is_whole || a.st_mtime_nsec == b.st_mtime_nsec)
}

fn is_opaque(fd: impl std::os::fd::AsFd) -> Result<bool, Error> {
    let value = tree::xattr(fd, attribute::opaque()).context(attribute::opaque)?;
    Ok(value.as_deref() == Some(b"y"))
}

/// With redirect_dir=on a directory may stand for one of another name below; a layer cannot say that.
fn refuse_redirect(fd: &OwnedFd, path: &[u8]) -> Result<(), Error> {
    match tree::xattr(fd, attribute::redirect()).context(|| show(path))? {
        None => Ok(()),
        Some(_) => Err(Error::new(format!("{}: renamed by overlayfs's redirect_dir", show(path)))),
    }
}

fn join(path: &[u8], name: &OsStr) -> Vec<u8> {
    if path.is_empty() { name.as_bytes().to_vec() } else { [path, b"/", name.as_bytes()].concat() }
}

/// A path for a call: the root is `.`.
fn at(path: &[u8]) -> &OsStr {
    OsStr::from_bytes(if path.is_empty() { b"." } else { path })
}

pub fn show(path: &[u8]) -> String {
    let path = OsString::from_vec(path.to_vec());
    format!("/{}", escape(&path.to_string_lossy()))
}
