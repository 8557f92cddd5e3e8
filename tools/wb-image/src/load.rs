//! Images out of an archive: OCI or docker's, old or new, plain or compressed, several in one.
//!
//! The archive is read once. Its blobs go straight into the store; what is small is kept until the end says what
//! the blobs mean. Nothing is ever extracted to a path the archive names.

mod archive;
mod legacy;

use crate::layer::{Unpacker, Wrapping};
use crate::{build, names, out};
use archive::Archive;
use std::collections::HashSet;
use std::fs::File;
use std::io::{BufReader, IsTerminal, Read};
use std::path::PathBuf;
use wb_doc::{Context, Error, ExitCode, LayerLimits};
use wb_store::Place;
use wb_store::image::{
    Descriptor, ImageConfig, ImageStore, Index, MAX_LAYERS, Manifest, Platform, REF_NAME, Reference,
    SOURCE_DIGEST, resolve,
};

/// Take images out of an archive of `save`, docker, podman or skopeo
#[derive(Debug, clap::Args)]
pub struct Args {
    /// From this file instead of standard input
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Print only names and ids
    #[arg(short, long)]
    quiet: bool,
    /// Of several platforms, take this one
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<String>,
    #[command(flatten)]
    limits: LayerLimits,
}

pub fn run(args: &Args) -> Result<ExitCode, Error> {
    let platform = args.platform.as_deref().map_or_else(|| Ok(Platform::local()), Platform::parse)?;
    let place = Place::from_env()?;
    let store = ImageStore::new(&place);
    store.prepare()?;
    let hold = store.hold()?;
    let limits = args.limits.arguments();
    let loaded =
        read(args, &store, &limits).and_then(|archive| load(&place, &store, &archive, &platform, &limits));
    drop(hold);
    // The blobs of a refused archive belong to nobody, nor do layers of another platform.
    if loaded.as_ref().map_or(true, |loaded| loaded.has_strays) {
        // Where this cannot be done now, gc does it.
        if let Ok(Some(alone)) = store.try_alone() {
            crate::gc::sweep(&place, &store, &alone).ok();
        }
    }
    for line in loaded?.lines {
        let line = if args.quiet { line.split_once(": ").map_or(&*line, |(_, name)| name) } else { &line };
        out::line(line)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn read(args: &Args, store: &ImageStore, limits: &[String]) -> Result<Archive, Error> {
    let source: Box<dyn Read> = match &args.input {
        Some(path) => Box::new(File::open(path).context(|| path.display().to_string())?),
        None if std::io::stdin().is_terminal() => {
            return Err(Error::usage("standard input is a terminal").hint("use -i FILE"));
        }
        None => Box::new(std::io::stdin().lock()),
    };
    let mut source = BufReader::with_capacity(128 << 10, source);
    let mut start = Vec::new();
    (&mut source).take(512).read_to_end(&mut start).context(|| "read")?;
    let wrapping = Wrapping::of(&start)?;
    let source = std::io::Cursor::new(start).chain(source);
    match wrapping {
        Wrapping::Plain => Archive::read(source, store, limits),
        Wrapping::Gzip => Archive::read(flate2::read::MultiGzDecoder::new(source), store, limits),
        Wrapping::Zstd => {
            let mut decoder = zstd::Decoder::new(source).context(|| "zstd")?;
            decoder.window_log_max(crate::layer::ZSTD_WINDOW_LOG_MAX).context(|| "zstd")?;
            Archive::read(decoder, store, limits)
        }
    }
}

/// What became of an archive.
struct Loaded {
    lines: Vec<String>,
    /// Whether layers were unpacked that no image of it has.
    has_strays: bool,
}

/// Puts all images of the archive into the index; all of them or, on the first failure, none.
fn load(
    place: &Place,
    store: &ImageStore,
    archive: &Archive,
    platform: &Platform,
    limits: &[String],
) -> Result<Loaded, Error> {
    // docker's list first: where both are there it has the names docker shows.
    let images = if let Some(list) = archive.small("manifest.json") {
        from_docker(store, archive, list)?
    } else if let Some(index) = archive.small("index.json") {
        from_layout(store, index, platform)?
    } else if let Some(repositories) = archive.small("repositories") {
        legacy::images(store, archive, repositories)?
    } else {
        return Err(Error::new("no image archive: neither manifest.json nor index.json in it")
            .hint("a root file system is imported: wb import FILE NAME"));
    };
    if images.is_empty() {
        return Err(Error::new("no image in the archive"));
    }
    let mut needed = HashSet::new();
    for image in &images {
        let config = store.load_config(&image.manifest)?;
        unpack(place, store, image, &config, limits)?;
        needed.extend(config.rootfs.diff_ids);
    }
    let has_strays = archive.unpacked().iter().any(|diff_id| !needed.contains(diff_id));
    let mut lines = Vec::new();
    for image in &images {
        let id = &image.manifest.config.digest;
        for name in &image.names {
            build::add(store, &image.entry, Some(name))?;
            lines.push(format!("Loaded image: {}", names::shown(name)));
        }
        if image.names.is_empty() {
            build::add(store, &image.entry, None)?;
            lines.push(format!("Loaded image ID: {id}"));
        }
    }
    Ok(Loaded { lines, has_strays })
}

/// An image whose blobs are in the store.
struct Found {
    entry: Descriptor,
    manifest: Manifest,
    names: Vec<String>,
}

/// One line of docker's manifest.json.
#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

fn from_docker(store: &ImageStore, archive: &Archive, list: &[u8]) -> Result<Vec<Found>, Error> {
    let list: Vec<DockerImage> = serde_json::from_slice(list).context(|| "manifest.json")?;
    list.iter().map(|image| docker_image(store, archive, image)).collect()
}

fn docker_image(store: &ImageStore, archive: &Archive, image: &DockerImage) -> Result<Found, Error> {
    if image.layers.len() > MAX_LAYERS {
        return Err(Error::new(format!("{} layers, at most {MAX_LAYERS} are allowed", image.layers.len())));
    }
    let bytes = archive.config(store, &image.config)?;
    let config: ImageConfig =
        serde_json::from_slice(&bytes).context(|| format!("configuration {}", image.config))?;
    let mut layers = Vec::new();
    let mut diff_ids = Vec::new();
    for path in &image.layers {
        let (blob, diff_id) = archive.layer(store, path)?;
        layers.push(blob);
        diff_ids.push(diff_id);
    }
    let told = &config.rootfs.diff_ids;
    if told.len() != diff_ids.len() {
        let (told, found) = (told.len(), diff_ids.len());
        return Err(Error::new(format!("configuration: {told} diff ids for {found} layers")));
    }
    for (told, found) in told.iter().zip(&diff_ids) {
        if found.as_ref().is_some_and(|found| found != told) {
            return Err(Error::new(format!("layer {told}: its content has another digest")));
        }
    }
    let (mut entry, manifest) = build::write(store, &bytes, layers)?;
    // The manifest it was saved with, if the archive has it, keeps the digest registries know.
    if let Some(index) = archive.small("index.json").and_then(|bytes| serde_json::from_slice(bytes).ok()) {
        if let Some(original) = original(store, &index, &manifest) {
            entry = original;
        }
    }
    entry.platform = Some(config.platform());
    let names = image.repo_tags.iter().flatten().map(|tag| name(tag)).collect::<Result<_, _>>()?;
    Ok(Found { entry, manifest, names })
}

/// The manifest of an OCI index that has the same configuration and the same layers.
fn original(store: &ImageStore, index: &Index, manifest: &Manifest) -> Option<Descriptor> {
    let digests = |manifest: &Manifest| -> Vec<String> {
        manifest.layers.iter().map(|layer| layer.digest.to_string()).collect()
    };
    index.manifests.iter().find_map(|entry| {
        // An entry that cannot be read is not the one.
        let found = store.load(entry).ok()?;
        let is_same = found.manifest.config.digest == manifest.config.digest
            && digests(&found.manifest) == digests(manifest);
        is_same.then(|| Descriptor::new(&entry.media_type, entry.digest.clone(), entry.size))
    })
}

fn from_layout(store: &ImageStore, index: &[u8], platform: &Platform) -> Result<Vec<Found>, Error> {
    let index: Index = serde_json::from_slice(index).context(|| "index.json")?;
    let mut images: Vec<Found> = Vec::new();
    for entry in &index.manifests {
        let mut fetch = |at: &Descriptor| store.read_blob(at, wb_store::image::MAX_MANIFEST_BYTES);
        let (mut found, _, manifest) = resolve(entry, platform, &mut fetch)?;
        let config = store.load_config(&manifest)?;
        found.annotations = None;
        if found.digest != entry.digest {
            found.annotate(SOURCE_DIGEST, Some(entry.digest.as_str()));
        }
        found.platform = Some(config.platform());
        let names: Vec<String> = entry_name(entry)?.into_iter().collect();
        match images.iter_mut().find(|known| known.entry.digest == found.digest) {
            Some(known) => known.names.extend(names),
            None => images.push(Found { entry: found, manifest, names }),
        }
    }
    Ok(images)
}

/// The name an entry of an OCI index has. A bare tag, as skopeo writes it, is no name of an image.
fn entry_name(entry: &Descriptor) -> Result<Option<String>, Error> {
    let text = entry.annotation("io.containerd.image.name").or_else(|| entry.annotation(REF_NAME));
    match text {
        Some(text) if text.contains(['/', ':']) => name(text).map(Some),
        _ => Ok(None),
    }
}

fn name(text: &str) -> Result<String, Error> {
    Reference::parse(text).map(|reference| reference.normalized())
}

/// Unpacks what is not unpacked yet; each layer must have the digest the configuration says.
fn unpack(
    place: &Place,
    store: &ImageStore,
    image: &Found,
    config: &ImageConfig,
    limits: &[String],
) -> Result<(), Error> {
    let mut done = HashSet::new();
    for (diff_id, blob) in config.rootfs.diff_ids.iter().zip(&image.manifest.layers) {
        if !done.insert(diff_id) || wb_store::layer::is_whole(&place.layers(), diff_id.hex()) {
            continue;
        }
        let (file, size) = store.open_blob(&blob.digest)?;
        if size != blob.size {
            return Err(Error::new(format!("blob {}: {size} bytes instead of {}", blob.digest, blob.size)));
        }
        Unpacker::start(&["--diff-id", diff_id.as_str()], limits)?
            .feed(BufReader::with_capacity(128 << 10, file))
            .map_err(|error| error.within(format!("layer {}", blob.digest)))?;
    }
    Ok(())
}
