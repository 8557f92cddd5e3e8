//! `docker-archive:FILE[:NAME]`: what `docker save` and `podman save` write, old and new.
//!
//! A tar with `manifest.json`: for each image its configuration file, names, and layer tars, which older versions
//! link to each other. There is no OCI manifest in it for certain, so one is made.

use crate::source::Source;
use serde::Deserialize;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use wb_doc::{Context, Error};
use wb_store::image::{
    Descriptor, Digest, ImageConfig, MAX_CONFIG_BYTES, MAX_MANIFEST_BYTES, Manifest, Reference, media,
};

/// More members than any image has.
const MAX_MEMBERS: usize = 100_000;

/// One image of an archive.
#[derive(Debug)]
pub struct DockerArchive {
    file: File,
    name: Option<String>,
    root: (Descriptor, Vec<u8>),
    blobs: HashMap<Digest, Span>,
}

/// Where a member's content lies in the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    offset: u64,
    size: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// Puts a compressed layer with this diff id into the store; returns its digest.
type Absorb<'a> = &'a dyn Fn(Part<'_>, &Digest) -> Result<Digest, Error>;

impl DockerArchive {
    /// Finds the image called `name` in the archive; without a name there must be just one.
    ///
    /// A compressed layer is put into the store by `absorb`: its digest stands in no archive, and reading it to know
    /// it would be reading it twice.
    pub fn open(path: &Path, name: Option<&str>, absorb: Absorb) -> Result<Self, Error> {
        let shown = || path.display().to_string();
        let file = File::open(path).context(shown)?;
        let metadata = file.metadata().context(shown)?;
        if !metadata.is_file() {
            return Err(Error::new(format!("{}: not a regular file", shown())));
        }
        let mut magic = [0; 4];
        let read = file.read_at(&mut magic, 0).context(shown)?;
        if magic[..read].starts_with(&[0x1f, 0x8b]) || magic == [0x28, 0xb5, 0x2f, 0xfd] {
            return Err(Error::new(format!("{}: a compressed archive", shown())).hint("uncompress it first"));
        }
        let members = members(&file).context(shown)?;
        if !members.contains_key("manifest.json") {
            return Err(Error::new(format!("{}: no manifest.json in it", shown()))
                .hint("wb load -i FILE takes OCI archives, and those of docker before 1.10"));
        }
        let manifest = read_member(&file, &members, "manifest.json", MAX_MANIFEST_BYTES).context(shown)?;
        let entries: Vec<Entry> =
            serde_json::from_slice(&manifest).context(|| format!("{}: manifest.json", shown()))?;
        let entry = choose(entries, name).context(shown)?;
        let (root, blobs) = assemble(&file, &members, &entry, absorb).context(shown)?;
        let tag = name.map(str::to_owned).or_else(|| entry.repo_tags?.into_iter().next());
        let name = tag.and_then(|tag| Reference::parse(&tag).ok()).map(|reference| reference.normalized());
        Ok(Self { file, name, root, blobs })
    }

    /// The name the image is stored under.
    pub fn name(&self) -> Option<String> {
        self.name.clone()
    }
}

fn choose(entries: Vec<Entry>, name: Option<&str>) -> Result<Entry, Error> {
    let normalized = |text: &str| Reference::parse(text).map(|reference| reference.normalized()).ok();
    let wanted =
        name.map(|name| Reference::parse(name).map(|reference| reference.normalized())).transpose()?;
    let tags: Vec<String> =
        entries.iter().flat_map(|entry| entry.repo_tags.clone().unwrap_or_default()).collect();
    let matches = |entry: &Entry| match &wanted {
        Some(wanted) => entry.repo_tags.iter().flatten().any(|tag| normalized(tag).as_ref() == Some(wanted)),
        None => true,
    };
    let mut found = entries.into_iter().filter(matches);
    match (found.next(), found.next()) {
        (Some(entry), None) => Ok(entry),
        (Some(_), Some(_)) => {
            Err(Error::new("several images: say which, docker-archive:FILE:NAME").hint(tags.join(" ")))
        }
        (None, _) => Err(Error::new(match name {
            Some(name) => format!("no image {name:?} in it"),
            None => "no image in it".into(),
        })),
    }
}

/// Every regular member's place, links followed.
fn members(file: &File) -> Result<HashMap<String, Span>, Error> {
    let mut archive = tar::Archive::new(file);
    let mut spans = HashMap::new();
    let mut links = Vec::new();
    for entry in archive.entries_with_seek().context(|| "tar")? {
        let entry = entry.context(|| "tar")?;
        if spans.len() + links.len() > MAX_MEMBERS {
            return Err(Error::new(format!("more than {MAX_MEMBERS} members")));
        }
        let name = clean(&String::from_utf8_lossy(&entry.path_bytes()));
        let kind = entry.header().entry_type();
        if kind.is_file() {
            spans.insert(name, Span { offset: entry.raw_file_position(), size: entry.size() });
        } else if let (true, Some(target)) =
            (kind.is_symlink() || kind.is_hard_link(), entry.link_name_bytes())
        {
            let target = String::from_utf8_lossy(&target).into_owned();
            let target = match (kind.is_symlink(), name.rsplit_once('/')) {
                (true, Some((directory, _))) => format!("{directory}/{target}"),
                _ => target,
            };
            links.push((name, clean(&target)));
        }
    }
    // A link to a link is resolved in as many rounds as the chain is long; docker writes chains of one.
    for _ in 0..4 {
        for (name, target) in &links {
            if let Some(span) = spans.get(target).copied() {
                spans.entry(name.clone()).or_insert(span);
            }
        }
    }
    Ok(spans)
}

/// A member's name without `.` and `..`. It is only ever compared, never opened.
fn clean(name: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn find(members: &HashMap<String, Span>, name: &str) -> Result<Span, Error> {
    members.get(&clean(name)).copied().ok_or_else(|| Error::new(format!("no member {name:?}")))
}

fn read_member(
    file: &File,
    members: &HashMap<String, Span>,
    name: &str,
    limit: u64,
) -> Result<Vec<u8>, Error> {
    let span = find(members, name)?;
    if span.size > limit {
        return Err(Error::new(format!("{name}: {} bytes, more than {limit}", span.size)));
    }
    let mut content = Vec::new();
    Part { file, at: span.offset, left: span.size }.read_to_end(&mut content).context(|| name)?;
    Ok(content)
}

type Assembled = ((Descriptor, Vec<u8>), HashMap<Digest, Span>);

/// Makes the manifest that the archive does not have.
fn assemble(
    file: &File,
    members: &HashMap<String, Span>,
    entry: &Entry,
    absorb: Absorb,
) -> Result<Assembled, Error> {
    let mut blobs = HashMap::new();
    let config = read_member(file, members, &entry.config, MAX_CONFIG_BYTES)?;
    let digest = Digest::of(&config);
    blobs.insert(digest.clone(), find(members, &entry.config)?);
    let mut manifest = Manifest {
        schema_version: 2,
        media_type: Some(media::OCI_MANIFEST.into()),
        config: Descriptor::new(media::OCI_CONFIG, digest, config.len() as u64),
        layers: Vec::new(),
        other: serde_json::Map::new(),
    };
    let diff_ids =
        serde_json::from_slice::<ImageConfig>(&config).context(|| entry.config.clone())?.rootfs.diff_ids;
    if diff_ids.len() != entry.layers.len() {
        let (ids, layers) = (diff_ids.len(), entry.layers.len());
        return Err(Error::new(format!("{ids} diff ids for {layers} layers")));
    }
    for (name, diff_id) in entry.layers.iter().zip(diff_ids) {
        let span = find(members, name)?;
        let mut magic = [0; 2];
        let read = file.read_at(&mut magic, span.offset).context(|| name.clone())?;
        let gzip = read == 2 && magic == [0x1f, 0x8b];
        // An uncompressed layer's digest is its diff id.
        let part = Part { file, at: span.offset, left: span.size };
        let digest = if gzip { absorb(part, &diff_id).context(|| name.clone())? } else { diff_id };
        let kind = if gzip { media::OCI_LAYER_GZIP } else { media::OCI_LAYER };
        manifest.layers.push(Descriptor::new(kind, digest.clone(), span.size));
        blobs.insert(digest, span);
    }
    let bytes = serde_json::to_vec(&manifest).context(|| "manifest")?;
    let root = Descriptor::new(media::OCI_MANIFEST, Digest::of(&bytes), bytes.len() as u64);
    Ok(((root, bytes), blobs))
}

/// A part of a file, read without moving the file's own position: several threads read at once.
#[derive(Debug)]
pub struct Part<'a> {
    file: &'a File,
    at: u64,
    left: u64,
}

impl Read for Part<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.file.read_at(&mut buffer[..wanted], self.at)?;
        self.at += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}

impl Source for DockerArchive {
    fn root(&self) -> Result<(Descriptor, Vec<u8>), Error> {
        Ok(self.root.clone())
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        Err(Error::new(format!("{}: no manifest in a docker archive", descriptor.digest)))
    }

    fn blob<'a>(&'a self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send + 'a>, Error> {
        let span = self.blobs.get(&descriptor.digest);
        let span = span.ok_or_else(|| Error::new(format!("{}: not in the archive", descriptor.digest)))?;
        Ok(Box::new(Part { file: &self.file, at: span.offset, left: span.size }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_without_dots() {
        assert_eq!(clean("./a/../b//layer.tar"), "b/layer.tar");
        assert_eq!(clean("../../x"), "x");
    }
}
