//! The layout as a whole: made, its index read and replaced, blobs locked by digest.

use crate::image::{Descriptor, Digest, Index, MAX_MANIFEST_BYTES, REF_NAME};
use crate::{Place, atomic, layer, lock::Lock};
use nix::fcntl::{Flock, FlockArg, OFlag};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use wb_doc::{Context, Error};

const LAYOUT: &str = "{\"imageLayoutVersion\":\"1.0.0\"}";
/// The largest index.json of a store: some ten thousand images.
const MAX_INDEX_BYTES: u64 = 16 * MAX_MANIFEST_BYTES;

/// An OCI image layout.
#[derive(Debug, Clone)]
pub struct ImageStore {
    directory: PathBuf,
    /// Where its layers are unpacked, if it is a place's.
    layers: Option<PathBuf>,
}

impl ImageStore {
    /// The store of a place. Nothing is touched.
    pub fn new(place: &Place) -> Self {
        Self { directory: place.images(), layers: Some(place.layers()) }
    }

    /// The layout in `directory`, which may be somebody else's. Nothing is touched.
    pub fn at(directory: PathBuf) -> Self {
        Self { directory, layers: None }
    }

    /// The layout's directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn unfinished(&self) -> PathBuf {
        self.directory.join(".wb/unfinished")
    }

    /// Makes the layout where it is missing, mode 0700.
    pub fn prepare(&self) -> Result<(), Error> {
        let marker = self.directory.join("oci-layout");
        if marker.exists() {
            return Ok(());
        }
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        for part in ["blobs/sha256", ".wb/unfinished", ".wb/locks"] {
            let path = self.directory.join(part);
            builder.create(&path).context(|| path.display().to_string())?;
        }
        let _lock = Lock::exclusive(&self.directory.join(".wb/index.lock"))?;
        let index = self.directory.join("index.json");
        if !index.exists() {
            let empty = serde_json::to_vec(&Index::default()).context(|| "index")?;
            atomic::write(&index, &empty, atomic::Durability::Visible)?;
        }
        // Last: with it the layout is valid.
        atomic::write(&marker, LAYOUT.as_bytes(), atomic::Durability::Visible)
    }

    /// The layout's index; an empty one where there is no layout yet.
    pub fn index(&self) -> Result<Index, Error> {
        let path = self.directory.join("index.json");
        let name = || path.display().to_string();
        let flags = OFlag::O_NONBLOCK.bits();
        let file = match OpenOptions::new().read(true).custom_flags(flags).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Index::default()),
            other => other.context(name)?,
        };
        // One read(2): this is on the way of every start of a container.
        let size = file.metadata().context(name)?.len().min(MAX_INDEX_BYTES);
        let mut content = Vec::with_capacity(usize::try_from(size).unwrap_or_default() + 1);
        file.take(MAX_INDEX_BYTES + 1).read_to_end(&mut content).context(name)?;
        if content.len() as u64 > MAX_INDEX_BYTES {
            return Err(Error::new(format!("{}: more than {MAX_INDEX_BYTES} bytes", name())));
        }
        serde_json::from_slice(&content).context(name)
    }

    /// Changes the index under its lock; it is replaced whole, or stays as it is where `change` fails.
    pub fn update_index<T>(&self, change: impl FnOnce(&mut Index) -> Result<T, Error>) -> Result<T, Error> {
        self.prepare()?;
        let _lock = Lock::exclusive(&self.directory.join(".wb/index.lock"))?;
        let mut index = self.index()?;
        let before = index.clone();
        let result = change(&mut index)?;
        // The index names only what is on the disk under its name.
        self.layers.as_deref().map_or(Ok(()), layer::settle)?;
        if index != before {
            let content = serde_json::to_vec(&index).context(|| "index")?;
            let blobs = self.directory.join("blobs/sha256");
            let synced = File::open(&blobs).and_then(|directory| directory.sync_all());
            synced.context(|| format!("fsync of {}", blobs.display()))?;
            atomic::write(&self.directory.join("index.json"), &content, atomic::Durability::Durable)?;
        }
        Ok(result)
    }

    /// Gives an image manifest the name `name` (normalized). Another image that had it stays in the store without a
    /// name, as docker's dangling images.
    pub fn set_name(&self, name: &str, descriptor: &Descriptor) -> Result<(), Error> {
        self.update_index(|index| {
            index.rename(name, descriptor);
            Ok(())
        })
    }

    /// Keeps what is being put into the store, blobs and layers that nothing refers to yet, from being collected. Whoever
    /// fills the store holds this until the index has the image.
    pub fn hold(&self) -> Result<Hold, Error> {
        self.prepare()?;
        Lock::shared(&self.directory.join(".wb/hold.lock")).map(Hold)
    }

    /// Waits until nobody fills the store: what nothing refers to then is garbage.
    pub fn alone(&self) -> Result<Alone, Error> {
        self.prepare()?;
        Lock::exclusive(&self.directory.join(".wb/hold.lock")).map(Alone)
    }

    /// As [`ImageStore::alone`]; `None` where somebody fills the store.
    pub fn try_alone(&self) -> Result<Option<Alone>, Error> {
        self.prepare()?;
        Ok(Lock::try_exclusive(&self.directory.join(".wb/hold.lock"))?.map(Alone))
    }

    /// Removes the files of locks nobody holds and temporary indexes, which killed processes leave.
    pub fn remove_stale_locks(&self) -> Result<(), Error> {
        let _index = Lock::exclusive(&self.directory.join(".wb/index.lock"))?;
        let listing = |directory: &Path| {
            let entries = fs::read_dir(directory).into_iter().flatten();
            entries.filter_map(|entry| Some(entry.ok()?.path())).collect::<Vec<_>>()
        };
        for path in listing(&self.directory.join(".wb/locks")) {
            let Some(digest) = path.file_name().and_then(|hex| Digest::from_hex(hex.to_str()?).ok()) else {
                continue;
            };
            // Held, it is asked for and not waited for; dropped, it takes its file along.
            drop(DigestLock::try_take(self.directory.join(".wb/locks").join(digest.hex()))?);
        }
        for path in listing(&self.directory) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            // Made only under the lock held here.
            if name.starts_with(".index.json.") && name.ends_with(".tmp") {
                fs::remove_file(&path).context(|| path.display().to_string())?;
            }
        }
        Ok(())
    }

    /// Waits until nobody else in any process works on the blob `digest`, and keeps others waiting.
    pub fn lock_digest(&self, digest: &Digest) -> Result<DigestLock, Error> {
        let directory = self.directory.join(".wb/locks");
        fs::create_dir_all(&directory).context(|| directory.display().to_string())?;
        DigestLock::take(directory.join(digest.hex()))
    }
}

impl Index {
    /// As [`ImageStore::set_name`], on the index in memory.
    pub fn rename(&mut self, name: &str, descriptor: &Descriptor) {
        let mut entry = descriptor.clone();
        entry.annotate(REF_NAME, Some(name));
        let of_image = |other: &Descriptor| other.digest == entry.digest;
        if let Some(old) = self.manifests.iter().position(|other| other.name() == Some(name)) {
            if of_image(&self.manifests[old]) {
                self.manifests[old] = entry;
                return;
            }
            let digest = self.manifests[old].digest.clone();
            if self.manifests.iter().filter(|other| other.digest == digest).count() > 1 {
                self.manifests.remove(old);
            } else {
                self.manifests[old].annotate(REF_NAME, None);
            }
        }
        // An image that gets a name is no longer dangling.
        self.manifests.retain(|other| other.name().is_some() || other.digest != entry.digest);
        self.manifests.push(entry);
    }
}

/// Held by whoever fills the store; many may.
#[derive(Debug)]
pub struct Hold(#[allow(dead_code, reason = "held for its drop")] Lock);

/// Held by whoever collects garbage; alone.
#[derive(Debug)]
pub struct Alone(#[allow(dead_code, reason = "held for its drop")] Lock);

/// A held lock on a digest; its file goes with it.
#[derive(Debug)]
pub struct DigestLock {
    path: PathBuf,
    _file: Flock<File>,
}

impl DigestLock {
    fn take(path: PathBuf) -> Result<Self, Error> {
        let name = || format!("lock {}", path.display());
        loop {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false).mode(0o600);
            let mut file = options.custom_flags(OFlag::O_NOFOLLOW.bits()).open(&path).context(name)?;
            let file = loop {
                match Flock::lock(file, FlockArg::LockExclusive) {
                    Ok(lock) => break lock,
                    Err((again, nix::errno::Errno::EINTR)) => file = again,
                    Err((_, errno)) => return Err(Error::errno(name(), errno)),
                }
            };
            // Whoever held it before removed the file: what was locked may have no name any more.
            let held = file.metadata().context(name)?;
            match fs::symlink_metadata(&path) {
                Ok(there) if there.ino() == held.ino() => return Ok(Self { path, _file: file }),
                _ => {}
            }
        }
    }
}

impl DigestLock {
    fn try_take(path: PathBuf) -> Result<Option<Self>, Error> {
        let name = || format!("lock {}", path.display());
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(OFlag::O_NOFOLLOW.bits());
        let file = match options.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.context(name)?,
        };
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(Some(Self { path, _file: file })),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(Error::errno(name(), errno)),
        }
    }
}

impl Drop for DigestLock {
    fn drop(&mut self) {
        // A file that stays is a lock nobody holds.
        fs::remove_file(&self.path).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(content: &str) -> Descriptor {
        Descriptor::new("application/vnd.oci.image.manifest.v1+json", Digest::of(content.as_bytes()), 1)
    }

    #[test]
    fn a_name_belongs_to_one_image_and_the_old_one_dangles() {
        let mut index = Index::default();
        index.rename("n:1", &descriptor("a"));
        index.rename("n:2", &descriptor("a"));
        index.rename("n:1", &descriptor("b"));
        assert_eq!(index.manifests.len(), 2, "the first image still has a name");
        index.rename("n:2", &descriptor("b"));
        let names: Vec<_> = index.manifests.iter().map(|entry| entry.name()).collect();
        assert_eq!(names, [None, Some("n:1"), Some("n:2")]);
        index.rename("n:3", &descriptor("a"));
        assert!(index.manifests.iter().all(|entry| entry.name().is_some()));
    }

    #[test]
    fn keeps_members_it_does_not_know() {
        let text = r#"{"schemaVersion":2,"manifests":[{"mediaType":"x","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0,"artifactType":"y"}],"z":[1]}"#;
        let index: Index = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&index).unwrap(), text);
    }
}
