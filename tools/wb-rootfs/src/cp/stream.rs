//! A live tree as a tar, by descriptors: what is opened has been looked at, and no link is followed.

use crate::tar_out::{Fields, Writer, kept};
use nix::sys::stat::SFlag;
use std::collections::HashMap;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use tar::EntryType;
use wb_doc::{Context, Error, escape};
use wb_sys::{Errno, node, tree};

/// Deeper trees are refused: each level holds a descriptor.
const MAX_DEPTH: usize = 512;

/// A tar that is being written.
pub struct Stream<'a, W> {
    out: Writer<W>,
    /// The owner an archive names.
    owner: &'a dyn Fn(u32, u32) -> (u32, u32),
    /// The first name of each file that has several.
    links: HashMap<(u64, u64), Vec<u8>>,
    /// File systems that are not entered from above: the kernel's own, of a container that runs.
    pub leave_out: Vec<u64>,
}

impl<'a, W: Write> Stream<'a, W> {
    /// An empty one.
    pub fn new(out: Writer<W>, owner: &'a dyn Fn(u32, u32) -> (u32, u32)) -> Self {
        Self { out, owner, links: HashMap::new(), leave_out: Vec::new() }
    }

    /// Writes an archive of what the handle `object` names, as [`Stream::add`] does, to its end. A reader who has seen
    /// enough is no failure.
    pub fn whole(mut self, object: &OwnedFd, path: &[u8]) -> Result<(), Error> {
        match self.add(object, path, 0).and_then(|()| self.out.finish()) {
            Err(error) if error.raw_errno() == Some(Errno::EPIPE) => Ok(()),
            other => other,
        }
    }

    /// Writes what the handle `object` names, and everything in it, as `path`; an empty path is the root of the
    /// archive.
    fn add(&mut self, object: &OwnedFd, path: &[u8], depth: usize) -> Result<(), Error> {
        if depth >= MAX_DEPTH {
            return Err(Error::new(format!("nested deeper than {MAX_DEPTH} directories")));
        }
        let shown = || escape(&String::from_utf8_lossy(path)).chars().take(300).collect::<String>();
        let is_directory = self.entry(object, path).context(shown)?;
        if !is_directory {
            return Ok(());
        }
        let directory = tree::child_directory(object, ".".as_ref()).context(shown)?;
        let device = tree::stat_fd(&directory).context(shown)?.st_dev;
        for (name, _) in tree::names(&directory).context(shown)? {
            let child = match tree::open_path(&directory, &name) {
                // Of a container that runs on.
                Err(Errno::ENOENT) => continue,
                other => other.context(shown)?,
            };
            let other = tree::stat_fd(&child).context(shown)?.st_dev;
            if other != device && self.leave_out.contains(&other) {
                continue;
            }
            let name = name.as_bytes();
            let below = if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() };
            self.add(&child, &below, depth + 1)?;
        }
        Ok(())
    }

    /// Writes one entry; whether it is a directory.
    fn entry(&mut self, object: &OwnedFd, path: &[u8]) -> Result<bool, Error> {
        let status = tree::stat_fd(object).context(|| "fstat")?;
        let (uid, gid) = (self.owner)(status.st_uid, status.st_gid);
        let mode = status.st_mode & 0o7777;
        let mut fields = Fields { path, mode, uid, gid, mtime: status.st_mtime, ..Fields::default() };
        let kind = tree::kind(&status);
        if kind != SFlag::S_IFDIR && status.st_nlink > 1 {
            let identity = (status.st_dev, status.st_ino);
            if let Some(first) = self.links.get(&identity).cloned() {
                self.out.header(EntryType::Link, &Fields { link: &first, ..fields })?;
                return Ok(false);
            }
            self.links.insert(identity, path.to_vec());
        }
        match kind {
            SFlag::S_IFDIR => {
                fields.xattrs = kept(object)?;
                let slashed = if path.is_empty() { b"./".to_vec() } else { [path, b"/"].concat() };
                self.out.header(EntryType::Directory, &Fields { path: &slashed, ..fields })?;
            }
            SFlag::S_IFREG => {
                let content = tree::reopen(object).context(|| "open")?;
                fields.size = u64::try_from(status.st_size).unwrap_or(0);
                fields.xattrs = kept(object)?;
                self.out.header(EntryType::Regular, &fields)?;
                self.out.content(content, fields.size)?;
            }
            SFlag::S_IFLNK => {
                let target = node::readlink(object).context(|| "readlink")?;
                let link = target.as_os_str().as_bytes();
                self.out.header(EntryType::Symlink, &Fields { link, ..fields })?;
            }
            SFlag::S_IFIFO => self.out.header(EntryType::Fifo, &fields)?,
            SFlag::S_IFCHR | SFlag::S_IFBLK => {
                let entry = if kind == SFlag::S_IFCHR { EntryType::Char } else { EntryType::Block };
                self.out.header(entry, &Fields { device: Some(status.st_rdev), ..fields })?;
            }
            // A socket is somebody's who listens; tar has no word for it and docker leaves it out too.
            _ => {}
        }
        Ok(kind == SFlag::S_IFDIR)
    }
}
