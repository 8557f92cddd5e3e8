//! Where a layer goes: a directory that gets its name only when the layer is whole.

use super::{Limits, tree::Tree};
use crate::unpack::archive::Archive;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;
use wb_doc::{Context, Error};
use wb_store::image::{Digest, Hasher};
use wb_store::layer;
use wb_sys::{Errno, tree};

/// A reader that hashes what passes.
pub struct Hashing<R> {
    source: R,
    hasher: Hasher,
}

impl<R> Hashing<R> {
    pub fn new(source: R) -> Self {
        Self { source, hasher: Hasher::new() }
    }

    /// The digest of all that was read.
    pub fn finish(self) -> Digest {
        self.hasher.finish()
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.source.read(buffer)?;
        self.hasher.update(&buffer[..length]);
        Ok(length)
    }
}

/// A directory on its way to becoming `name` of `parent`; dropped before, it is removed.
///
/// While it is held its directory is locked, so that `wb-image gc` can tell work in progress from leftovers.
struct Unfinished<'a> {
    parent: &'a OwnedFd,
    name: String,
    directory: Option<OwnedFd>,
}

impl<'a> Unfinished<'a> {
    fn new(parent: &'a OwnedFd) -> Result<Self, Error> {
        for number in 0_u32.. {
            let name = format!(".tmp-{}-{number}", std::process::id());
            match tree::mkdir(parent, OsStr::new(&name), 0o755) {
                // Of a process of this pid that was killed, or of another pid namespace.
                Err(Errno::EEXIST) => continue,
                made => made.context(|| name.clone())?,
            }
            let directory = tree::child_directory(parent, OsStr::new(&name)).context(|| name.clone())?;
            tree::lock(&directory).context(|| format!("lock {name}"))?;
            // Collected as a leftover before it was locked?
            if tree::stat(parent, OsStr::new(&name)).is_ok() {
                return Ok(Self { parent, name, directory: Some(directory) });
            }
        }
        Err(Error::new("no free name for a temporary directory"))
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if self.directory.is_some() {
            // The failure that brought us here is what matters; gc removes what stays.
            tree::remove(self.parent, OsStr::new(&self.name)).ok();
        }
    }
}

/// Unpacks the layer `source` into the directory `layers`, under its digest; exactly what hashes to `expected` where
/// that is given, or nothing. Returns the digest.
///
/// Where the expected layer is there already, `source` is read to its end and nothing else happens.
pub fn into_store(
    layers: &Path,
    expected: Option<&Digest>,
    source: impl Read,
    limits: Limits,
) -> Result<Digest, Error> {
    let parent = prepare(layers)?;
    if let Some(digest) = expected.filter(|digest| layer::is_whole(layers, digest.hex())) {
        return drain(source).map(|()| digest.clone());
    }
    let mut unfinished = Unfinished::new(&parent)?;
    let fd = unfinished.directory.as_ref().map(|fd| tree::child_directory(fd, OsStr::new(".")));
    let Some(Ok(fd)) = fd else { return Err(Error::new("the temporary directory is gone")) };
    let (found, bytes) = unpack(fd, source, limits)?;
    if let Some(expected) = expected.filter(|expected| **expected != found) {
        return Err(Error::new(format!("layer {expected}: its content has digest {found}")));
    }
    let (name, own) = (OsStr::new(found.hex()), OsStr::new(&unfinished.name));
    let shown = || layers.join(name).display().to_string();
    tree::lock(&parent).context(shown)?;
    if layer::is_whole(layers, found.hex()) {
        // Somebody else was faster; the two are the same.
        return Ok(found);
    }
    if tree::stat(&parent, name).is_ok() {
        // What a power cut has left; it goes with the temporary name.
        tree::exchange(&parent, own, name).context(shown)?;
        layer::note(layers, found.hex(), bytes)?;
        return Ok(found);
    }
    // Before the layer has its name, so that whoever sees the layer sees its size.
    layer::note(layers, found.hex(), bytes)?;
    tree::rename_new(&parent, own, name).context(shown)?;
    unfinished.directory = None;
    Ok(found)
}

/// Unpacks the layer `source` into `target`, which must be empty or not there yet; returns its digest.
pub fn into_directory(target: &Path, source: impl Read, limits: Limits) -> Result<Digest, Error> {
    let shown = || target.display().to_string();
    let made = match std::fs::create_dir(target) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
        made => made.map(|()| true).context(shown)?,
    };
    let fd = tree::open_directory(target).context(shown)?;
    if !made && !tree::names(&fd).context(shown)?.is_empty() {
        return Err(Error::errno(shown(), Errno::ENOTEMPTY));
    }
    let clean = tree::child_directory(&fd, OsStr::new(".")).context(shown)?;
    unpack(clean, source, limits).map(|(digest, _)| digest).inspect_err(|_| {
        // The failure is what matters; what cannot be removed is there to be seen.
        if made {
            remove_directory(target).ok();
        } else if let Ok(names) = tree::names(&fd) {
            for (name, _) in names {
                tree::remove(&fd, &name).ok();
            }
        }
    })
}

fn remove_directory(path: &Path) -> Result<(), Errno> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    tree::remove(tree::open_directory(parent)?, path.file_name().ok_or(Errno::EINVAL)?)
}

/// Returns the digest, and how many bytes the files have.
fn unpack(root: OwnedFd, source: impl Read, limits: Limits) -> Result<(Digest, u64), Error> {
    tree::clear_umask();
    // Otherwise every file would inherit what an administrator set on the parent directory.
    tree::remove_xattr(&root, "system.posix_acl_default").ok();
    let mut archive = Archive::new(Hashing::new(source), limits);
    let mut tree = Tree::new(root);
    let mut bytes = 0;
    while let Some(entry) = archive.next()? {
        bytes += entry.size;
        tree.add(&entry, |sink| archive.content(sink))?;
    }
    let digest = archive.drain()?.finish();
    tree.finish()?;
    Ok((digest, bytes))
}

fn drain(mut source: impl Read) -> Result<(), Error> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                return Err(error).context(|| "reading the layer");
            }
            _ => {}
        }
    }
}

/// Opens the directory of all layers, made where it is missing: its parent is for root alone, since layers hold
/// set-user-ID programs.
fn prepare(layers: &Path) -> Result<OwnedFd, Error> {
    tree::open_directory(layers).or_else(|_| wb_store::tree::make_for_trees(layers))
}
