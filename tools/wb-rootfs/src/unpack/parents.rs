//! Directories of the layer by path: opened inside the root, made where they are missing, and kept open for a while.

use crate::attribute;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;
use wb_doc::{Context, Error, escape};
use wb_sys::{Errno, SFlag, tree};

/// How many directories are kept open. Archives go depth first, so few are needed.
const MAX_OPEN: usize = 64;

/// The directories of a layer.
pub struct Parents {
    root: Rc<OwnedFd>,
    /// Where below the root the archive's own root is; links are resolved from the root.
    base: Box<[u8]>,
    /// By cleaned path; the number tells when it was last used.
    open: HashMap<Box<[u8]>, (Rc<OwnedFd>, u64)>,
    clock: u64,
}

impl Parents {
    /// The archive's root is the directory `base` below `root`, which may be `root` itself (empty).
    pub fn new(root: OwnedFd, base: &[u8]) -> Self {
        Self { root: Rc::new(root), base: base.into(), open: HashMap::new(), clock: 0 }
    }

    pub fn root(&self) -> Rc<OwnedFd> {
        Rc::clone(&self.root)
    }

    /// A path of the archive as one from the root.
    pub fn path_from_root(&self, path: &[u8]) -> Vec<u8> {
        match (self.base.is_empty(), path.is_empty()) {
            (true, true) => b".".to_vec(),
            (true, false) => path.to_vec(),
            (false, true) => self.base.to_vec(),
            (false, false) => [&self.base, &b"/"[..], path].concat(),
        }
    }

    /// The directory `path`, made with its parents where it is missing.
    pub fn open(&mut self, path: &[u8]) -> Result<Rc<OwnedFd>, Error> {
        match self.find(path) {
            Err(error) if matches!(error.raw_errno(), Some(Errno::ENOENT | Errno::ENOTDIR)) => {
                let fd = Rc::new(self.make(path)?);
                self.keep(path, Rc::clone(&fd));
                Ok(fd)
            }
            other => other,
        }
    }

    /// The directory `path`, if there is one.
    pub fn find(&mut self, path: &[u8]) -> Result<Rc<OwnedFd>, Error> {
        if path.is_empty() && self.base.is_empty() {
            return Ok(Rc::clone(&self.root));
        }
        self.clock += 1;
        if let Some((fd, used)) = self.open.get_mut(path) {
            *used = self.clock;
            return Ok(Rc::clone(fd));
        }
        let fd = Rc::new(
            tree::directory_in_root(&self.root, OsStr::from_bytes(&self.path_from_root(path)))
                .context(|| show(path))?,
        );
        self.keep(path, Rc::clone(&fd));
        Ok(fd)
    }

    /// Remembers that `path` is this directory.
    pub fn keep(&mut self, path: &[u8], fd: Rc<OwnedFd>) {
        if self.open.len() >= MAX_OPEN && !self.open.contains_key(path) {
            let oldest = self.open.iter().min_by_key(|(_, (_, used))| *used).map(|(path, _)| path.clone());
            if let Some(oldest) = oldest {
                self.open.remove(&oldest);
            }
        }
        self.clock += 1;
        self.open.insert(path.into(), (fd, self.clock));
    }

    /// Forgets everything: some name now means something else.
    pub fn forget(&mut self) {
        self.open.clear();
    }

    /// Makes what is missing of `path`, component by component.
    fn make(&mut self, path: &[u8]) -> Result<OwnedFd, Error> {
        let base = self.path_from_root(b"");
        let mut current = tree::directory_in_root(&self.root, OsStr::from_bytes(&base)).context(|| "root")?;
        let mut end = 0;
        for part in path.split(|&byte| byte == b'/') {
            end += part.len() + usize::from(end > 0);
            let so_far = &path[..end];
            let name = OsStr::from_bytes(part);
            let child = match tree::child_directory(&current, name) {
                Err(Errno::ENOENT) => make_child(&current, name),
                Err(Errno::ENOTDIR | Errno::ELOOP) => {
                    let there = tree::stat(&current, name).context(|| show(so_far))?;
                    if tree::kind(&there) == SFlag::S_IFLNK {
                        tree::directory_in_root(&self.root, OsStr::from_bytes(&self.path_from_root(so_far)))
                    } else if tree::is_whiteout(&there) {
                        // Gone below, and here again: nothing of the old directory shows.
                        self.open.clear();
                        tree::unlink(&current, name).context(|| show(so_far))?;
                        make_child(&current, name).and_then(|fd| {
                            tree::set_xattr(&fd, attribute::opaque().as_bytes(), b"y")?;
                            Ok(fd)
                        })
                    } else {
                        Err(Errno::ENOTDIR)
                    }
                }
                other => other,
            };
            current = child.context(|| show(so_far))?;
        }
        Ok(current)
    }
}

/// A parent the archive does not list is made as tar makes it.
fn make_child(parent: &OwnedFd, name: &OsStr) -> wb_sys::Result<OwnedFd> {
    tree::mkdir(parent, name, 0o755)?;
    tree::child_directory(parent, name)
}

fn show(path: &[u8]) -> String {
    escape(&String::from_utf8_lossy(path)).chars().take(300).collect()
}
