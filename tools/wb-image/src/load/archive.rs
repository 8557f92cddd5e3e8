//! The archive itself, read once from front to back: blobs and layers into the store, small files into memory.

use crate::layer;
use std::collections::HashMap;
use std::io::Read;
use tar::EntryType;
use wb_doc::{Context, Error, escape};
use wb_store::image::{Descriptor, Digest, ImageStore, MAX_CONFIG_BYTES, media};

/// The most bytes of small files, one and all together.
const MAX_SMALL_BYTES: u64 = MAX_CONFIG_BYTES;
const MAX_ALL_SMALL_BYTES: u64 = 4 * MAX_SMALL_BYTES;
/// The most entries an archive may have; an image has at most 500 layers.
const MAX_ENTRIES: usize = 100_000;

/// What an archive holds, by its cleaned paths.
#[derive(Default)]
pub struct Archive {
    small: HashMap<String, Vec<u8>>,
    blobs: HashMap<Digest, u64>,
    /// What was unpacked on the way.
    unpacked: Vec<Digest>,
    /// docker's older layers, `<id>/layer.tar`, each with an `<id>/json`.
    layers: HashMap<String, layer::Layer>,
    /// Symbolic and hard links: docker writes a layer that two images share only once.
    links: HashMap<String, String>,
}

impl Archive {
    /// Reads the whole archive.
    pub fn read(source: impl Read, store: &ImageStore, limits: &[String]) -> Result<Self, Error> {
        let mut archive = Self::default();
        let mut small_bytes = 0;
        let mut entries = tar::Archive::new(source);
        for (number, entry) in entries.entries().context(|| "archive")?.enumerate() {
            if number >= MAX_ENTRIES {
                return Err(Error::new(format!("archive: more than {MAX_ENTRIES} entries")));
            }
            let mut entry = entry.context(|| "archive")?;
            let path = clean(&entry.path_bytes());
            let size = entry.size();
            match entry.header().entry_type() {
                EntryType::Regular | EntryType::Continuous => {}
                EntryType::Symlink | EntryType::Link => {
                    let target = clean(&entry.link_name_bytes().unwrap_or_default());
                    let target = if entry.header().entry_type() == EntryType::Link {
                        target
                    } else {
                        beside(&path, &target)
                    };
                    archive.links.insert(path, target);
                    continue;
                }
                EntryType::GNUSparse => return Err(Error::new("archive: sparse files are not allowed")),
                _ => continue,
            }
            let shown = || escape(&path);
            if let Some(hex) = path.strip_prefix("blobs/sha256/") {
                let digest = Digest::from_hex(hex)?;
                let descriptor = Descriptor::new("", digest.clone(), size);
                // The same digest twice is read twice: both must be what they say.
                let unpacked = layer::keep(store, &mut entry, &descriptor, limits);
                archive.unpacked.extend(unpacked.map_err(|error| error.within(shown()))?);
                archive.blobs.insert(digest, size);
            } else if has_ending(&path, "tar") {
                let layer = layer::store(store, &mut entry, limits).map_err(|error| error.within(shown()))?;
                archive.layers.insert(path, layer);
            } else if has_ending(&path, "json") || path.ends_with("/json") || !path.contains('/') {
                small_bytes += size;
                if size > MAX_SMALL_BYTES || small_bytes > MAX_ALL_SMALL_BYTES {
                    return Err(Error::new(format!("{}: {size} bytes are too many", shown())));
                }
                let mut content = Vec::new();
                entry.read_to_end(&mut content).context(shown)?;
                archive.small.insert(path, content);
            }
        }
        Ok(archive)
    }

    /// The layers that were unpacked on the way, whosever they are.
    pub fn unpacked(&self) -> &[Digest] {
        &self.unpacked
    }

    /// A small file.
    pub fn small(&self, path: &str) -> Option<&[u8]> {
        self.small.get(&self.follow(path)).map(Vec::as_slice)
    }

    /// The bytes of a configuration.
    pub fn config(&self, store: &ImageStore, path: &str) -> Result<Vec<u8>, Error> {
        let path = self.follow(&clean(path.as_bytes()));
        if let Some(bytes) = self.small.get(&path) {
            // docker names it by its digest; a name of another form says nothing.
            if let Some(named) = path.strip_suffix(".json").and_then(|hex| Digest::from_hex(hex).ok()) {
                let found = Digest::of(bytes);
                if found != named {
                    return Err(Error::new(format!("{}: its content has digest {found}", escape(&path))));
                }
            }
            return Ok(bytes.clone());
        }
        let descriptor = self.blob(&path)?;
        store.read_blob(&descriptor, MAX_CONFIG_BYTES)
    }

    /// A layer's blob, and its diff id where that is known already.
    pub fn layer(&self, store: &ImageStore, path: &str) -> Result<(Descriptor, Option<Digest>), Error> {
        let path = self.follow(&clean(path.as_bytes()));
        if let Some(layer) = self.layers.get(&path) {
            return Ok((layer.blob.clone(), Some(layer.diff_id.clone())));
        }
        let mut descriptor = self.blob(&path)?;
        let (file, _) = store.open_blob(&descriptor.digest)?;
        let mut start = Vec::new();
        file.take(8).read_to_end(&mut start).context(|| escape(&path))?;
        let media_type = match layer::Wrapping::of(&start)? {
            layer::Wrapping::Plain => media::OCI_LAYER,
            layer::Wrapping::Gzip => media::OCI_LAYER_GZIP,
            layer::Wrapping::Zstd => media::OCI_LAYER_ZSTD,
        };
        media_type.clone_into(&mut descriptor.media_type);
        Ok((descriptor, None))
    }

    fn blob(&self, path: &str) -> Result<Descriptor, Error> {
        let missing = || Error::new(format!("the archive has no {}", escape(path)));
        let digest = Digest::from_hex(path.strip_prefix("blobs/sha256/").ok_or_else(missing)?)?;
        let size = *self.blobs.get(&digest).ok_or_else(missing)?;
        Ok(Descriptor::new("", digest, size))
    }

    /// A path with the archive's own links followed, a few of them.
    fn follow(&self, path: &str) -> String {
        let mut path = path.to_owned();
        for _ in 0..8 {
            match self.links.get(&path) {
                Some(target) => path.clone_from(target),
                None => break,
            }
        }
        path
    }
}

fn has_ending(path: &str, ending: &str) -> bool {
    path.rsplit_once('.').is_some_and(|(_, found)| found == ending)
}

/// Components joined by `/`; only ever compared with other such names, so `..` does no harm.
fn clean(path: &[u8]) -> String {
    let path = String::from_utf8_lossy(path);
    path.split('/').filter(|part| !matches!(*part, "" | ".")).collect::<Vec<_>>().join("/")
}

/// A symbolic link's target, seen from the root of the archive.
fn beside(path: &str, target: &str) -> String {
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_names_in_the_archive() {
        assert_eq!(beside("abc/layer.tar", "../def/layer.tar"), "def/layer.tar");
        assert_eq!(beside("abc/layer.tar", "../../../../etc/passwd"), "etc/passwd");
        assert_eq!(clean(b"./a//b/"), "a/b");
    }
}
