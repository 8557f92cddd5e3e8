//! Blobs: read with every check an attacker's store makes needful, written whole or not at all.

use crate::image::{Descriptor, Digest, Hasher, ImageStore};
use nix::fcntl::{Flock, FlockArg, OFlag};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use wb_doc::{Context, Error};

/// The largest manifest or index, in bytes (as containerd and skopeo).
pub const MAX_MANIFEST_BYTES: u64 = 4 << 20;
/// The largest image configuration, in bytes.
pub const MAX_CONFIG_BYTES: u64 = 8 << 20;

impl ImageStore {
    /// Where a blob lies, or would.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.directory().join("blobs/sha256").join(digest.hex())
    }

    /// Opens a blob and returns its size; its content is not verified. `ENOENT` where it is not there.
    pub fn open_blob(&self, digest: &Digest) -> Result<(File, u64), Error> {
        open_regular(&self.blob_path(digest)).context(|| format!("blob {digest}"))
    }

    /// Whether a blob of this digest and size is there. Whoever reads it verifies it.
    pub fn has_blob(&self, descriptor: &Descriptor) -> bool {
        fs::symlink_metadata(self.blob_path(&descriptor.digest))
            .is_ok_and(|found| found.is_file() && found.len() == descriptor.size)
    }

    /// The content of a blob of at most `limit` bytes, verified against its descriptor.
    pub fn read_blob(&self, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>, Error> {
        let name = || format!("blob {}", descriptor.digest);
        if descriptor.size > limit {
            return Err(Error::new(format!("{}: {} bytes, more than {limit}", name(), descriptor.size)));
        }
        let (file, _) = self.open_blob(&descriptor.digest)?;
        let mut content = Vec::with_capacity(usize::try_from(descriptor.size).unwrap_or_default());
        file.take(descriptor.size + 1).read_to_end(&mut content).context(name)?;
        descriptor.verify(&Digest::of(&content), content.len() as u64)?;
        Ok(content)
    }

    /// Stores `content`, which is there already if its digest is; returns its digest.
    pub fn write_blob(&self, content: &[u8]) -> Result<Digest, Error> {
        let mut writer = self.blob_writer()?;
        writer.write_all(content).context(|| "writing a blob")?;
        let (digest, _) = writer.commit(None)?;
        Ok(digest)
    }

    /// A new blob, to be written and committed; dropped before, it leaves nothing.
    pub fn blob_writer(&self) -> Result<BlobWriter, Error> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let directory = self.unfinished();
        fs::create_dir_all(&directory).context(|| directory.display().to_string())?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        let (file, path) = loop {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let path = directory.join(format!("{}.{number}", std::process::id()));
            let file = match options.open(&path) {
                // Left by a killed process that had our pid.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                other => other.context(|| path.display().to_string())?,
            };
            // The lock says that somebody is writing here. `remove_unfinished` may have had it a moment before us,
            // and then the file has no name any more.
            let file = Flock::lock(file, FlockArg::LockExclusive)
                .map_err(|(_, errno)| Error::errno(path.display(), errno))?;
            if file.metadata().context(|| path.display().to_string())?.nlink() > 0 {
                break (file, path);
            }
        };
        let target = self.directory().join("blobs/sha256");
        Ok(BlobWriter { file, path, target, hasher: Hasher::new(), size: 0, committed: false })
    }

    /// Removes unfinished blobs nobody is writing any more; returns how many bytes that freed.
    pub fn remove_unfinished(&self) -> Result<u64, Error> {
        let directory = self.unfinished();
        let entries = match fs::read_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            other => other.context(|| directory.display().to_string())?,
        };
        let mut freed = 0;
        for entry in entries {
            let path = entry.context(|| directory.display().to_string())?.path();
            let Ok((file, size)) = open_regular(&path) else { continue };
            // Somebody else may be quicker with either.
            if let Ok(lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                if fs::remove_file(&path).is_ok() {
                    freed += size;
                }
                drop(lock);
            }
        }
        Ok(freed)
    }
}

/// Opens a regular file and nothing else: neither through a symlink nor waiting for a FIFO's other end.
fn open_regular(path: &Path) -> io::Result<(File, u64)> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    Ok((file, metadata.len()))
}

/// A blob on its way into the store: hashed while written, renamed to its digest when whole.
#[derive(Debug)]
pub struct BlobWriter {
    file: Flock<File>,
    path: PathBuf,
    target: PathBuf,
    hasher: Hasher,
    size: u64,
    committed: bool,
}

impl BlobWriter {
    /// Bytes written so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// A reader of `source` that writes down all that is read from it.
    pub fn copying<R: Read>(&mut self, source: R) -> Copying<'_, R> {
        Copying { source, blob: self }
    }

    /// Whether what has been written is the whole of the expected blob.
    pub fn verify(&self, expected: &Descriptor) -> Result<(), Error> {
        expected.verify(&self.hasher.clone().finish(), self.size)
    }

    /// Puts the blob into the store under its digest, which must be the expected one, as must the size.
    pub fn commit(mut self, expected: Option<&Descriptor>) -> Result<(Digest, u64), Error> {
        let digest = std::mem::take(&mut self.hasher).finish();
        if let Some(expected) = expected {
            expected.verify(&digest, self.size)?;
        }
        let target = self.target.join(digest.hex());
        let metadata = fs::symlink_metadata(&target);
        if !metadata.is_ok_and(|found| found.is_file() && found.len() == self.size) {
            // Nobody reads a blob again to see whether a power cut has left zeros in it.
            self.file.sync_data().context(|| format!("fdatasync of {}", self.path.display()))?;
            fs::rename(&self.path, &target).context(|| target.display().to_string())?;
            self.committed = true;
        }
        Ok((digest, self.size))
    }
}

/// See [`BlobWriter::copying`].
#[derive(Debug)]
pub struct Copying<'a, R> {
    source: R,
    blob: &'a mut BlobWriter,
}

impl<R: Read> Read for Copying<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.source.read(buffer)?;
        self.blob.write_all(&buffer[..length])?;
        Ok(length)
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        if !self.committed {
            // What stays is removed by `remove_unfinished`, once the lock is gone with the file.
            fs::remove_file(&self.path).ok();
        }
    }
}
