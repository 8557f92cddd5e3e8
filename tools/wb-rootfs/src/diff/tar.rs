//! Changes as a layer (image-spec, layer.md): a tar that is the same for the same tree, byte for byte.
//!
//! Names sorted, times in whole seconds, no access times, no names of users, POSIX ustar with PAX records where a value
//! does not fit.

use super::plan::{Change, Kind, Tree, show};
use crate::attribute;
use crate::tar_out::{Fields, Writer, kept};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use tar::EntryType;
use wb_doc::{Context, Error};
use wb_sys::{Errno, FileStat, SFlag, tree};

/// Writes a layer with all `changes`.
pub fn write(tree: &Tree, changes: &[Change], out: &mut impl Write) -> Result<(), Error> {
    let mut layer = Layer { out: Writer::new(out), links: HashMap::new() };
    for change in changes {
        match change.kind {
            Kind::Deleted if change.is_implied => {}
            Kind::Deleted => layer.whiteout(&change.path)?,
            Kind::Added | Kind::Changed => {
                layer.entry(tree, &change.path).map_err(|error| error.within(show(&change.path)))?;
                if change.is_opaque {
                    layer.marker(&[&change.path[..], b"/.wh..wh..opq"].concat())?;
                }
            }
        }
    }
    layer.out.finish()
}

struct Layer<W> {
    out: Writer<W>,
    /// The first name of each file that has several.
    links: HashMap<(u64, u64), Vec<u8>>,
}

impl<W: Write> Layer<W> {
    fn whiteout(&mut self, path: &[u8]) -> Result<(), Error> {
        let start = path.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
        self.marker(&[&path[..start], b".wh.", &path[start..]].concat())
    }

    fn marker(&mut self, path: &[u8]) -> Result<(), Error> {
        self.out.header(EntryType::Regular, &Fields { path, ..Fields::default() })
    }

    fn entry(&mut self, tree: &Tree, path: &[u8]) -> Result<(), Error> {
        let at = OsStr::from_bytes(if path.is_empty() { b"." } else { path });
        let stat = match tree::stat(&tree.upper, at) {
            // Of a container that runs on.
            Err(Errno::ENOENT) => return Ok(()),
            other => other.context(|| "fstatat")?,
        };
        let mut fields = Fields {
            path,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: stat.st_mtime,
            ..Fields::default()
        };
        let kind = tree::kind(&stat);
        if kind != SFlag::S_IFDIR && stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)).cloned() {
                fields.link = &first;
                return self.out.header(EntryType::Link, &fields);
            }
            self.links.insert((stat.st_dev, stat.st_ino), path.to_vec());
        }
        match kind {
            SFlag::S_IFREG => self.file(tree, at, &stat, fields),
            SFlag::S_IFDIR => {
                let slashed = if path.is_empty() { b"./".to_vec() } else { [path, b"/"].concat() };
                if let Ok(fd) = tree::own_directory(&tree.upper, at) {
                    fields.xattrs = kept(&fd)?;
                }
                self.out.header(EntryType::Directory, &Fields { path: &slashed, ..fields })
            }
            SFlag::S_IFLNK => {
                let target = tree::read_link(&tree.upper, at).context(|| "readlinkat")?;
                self.out.header(EntryType::Symlink, &Fields { link: target.as_bytes(), ..fields })
            }
            SFlag::S_IFIFO => self.out.header(EntryType::Fifo, &fields),
            SFlag::S_IFCHR => {
                self.out.header(EntryType::Char, &Fields { device: Some(stat.st_rdev), ..fields })
            }
            SFlag::S_IFBLK => {
                self.out.header(EntryType::Block, &Fields { device: Some(stat.st_rdev), ..fields })
            }
            // A socket is somebody's who listens; tar has no word for it and docker leaves it out too.
            _ => Ok(()),
        }
    }

    fn file(
        &mut self,
        tree: &Tree,
        at: &OsStr,
        stat: &FileStat,
        mut fields: Fields<'_>,
    ) -> Result<(), Error> {
        let fd = match tree::own_file(&tree.upper, at) {
            // Gone meanwhile; or a file mounted over this one, which is no part of it.
            Err(Errno::ENOENT | Errno::EXDEV) => return Ok(()),
            other => other.context(|| "open")?,
        };
        // Opened is not looked at: a container that runs on may have put something else there.
        let now = tree::stat_fd(&fd).context(|| "fstat")?;
        if (now.st_dev, now.st_ino) != (stat.st_dev, stat.st_ino) {
            return Ok(());
        }
        fields.size = u64::try_from(now.st_size).unwrap_or(0);
        fields.xattrs = kept(&fd)?;
        if tree::xattr(&fd, attribute::metacopy()).context(|| "getxattr")?.is_some() {
            return Err(Error::new("its content is not here: overlayfs's metacopy"));
        }
        self.out.header(EntryType::Regular, &fields)?;
        self.out.content(&fd, fields.size)
    }
}
