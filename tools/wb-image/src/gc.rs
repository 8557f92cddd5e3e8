//! What nobody refers to any more: blobs, layers, unfinished work.

use crate::{out, users};
use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use wb_doc::{Context, Error, ExitCode, PruneFilters};
use wb_store::Place;
use wb_store::image::{Alone, Body, Descriptor, Digest, ImageStore, MAX_MANIFEST_BYTES, parse_body};
use wb_sys::{Errno, tree};

/// Remove what no image and no container refers to
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Also images without a name that no container uses
    #[arg(long)]
    dangling: bool,
    /// Also all images that no container uses
    #[arg(long, conflicts_with = "dangling")]
    unused: bool,
    /// Of these images only some: label=KEY[=VALUE], label!=KEY[=VALUE], until=TIME
    #[arg(long = "filter", value_name = "KEY=VALUE")]
    filters: Vec<String>,
}

/// How much was removed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Freed {
    pub blobs: u64,
    pub layers: u64,
    /// Of blobs, and of layers whose size is known.
    pub bytes: u64,
}

pub fn run(args: &Args) -> Result<ExitCode, Error> {
    let place = Place::from_env()?;
    let filters = PruneFilters::parse(&args.filters, true)?;
    let store = ImageStore::new(&place);
    let alone = if let Some(alone) = store.try_alone()? {
        alone
    } else {
        out::complain("gc", &Error::new("waiting for somebody who is filling the store"));
        store.alone()?
    };
    if args.dangling || args.unused {
        for name in remove_images(&place, &store, args.unused, &filters)? {
            out::line(&format!("Deleted: {name}"))?;
        }
    }
    let freed = sweep(&place, &store, &alone)?;
    out::line(&format!("{} blobs, {} layers, {} freed", freed.blobs, freed.layers, out::size(freed.bytes)))?;
    Ok(ExitCode::SUCCESS)
}

/// Takes images no container uses out of the index: those without a name, or all.
fn remove_images(
    place: &Place,
    store: &ImageStore,
    all: bool,
    filters: &PruneFilters,
) -> Result<Vec<String>, Error> {
    let users = users::all(place)?;
    let may_go = |entry: &Descriptor| {
        // What cannot be read has no id to be asked for by, no age and no labels.
        let image = store.load(entry).ok();
        let id = image.as_ref().map(|image| image.id().clone());
        let names: Vec<String> = entry.name().map(str::to_owned).into_iter().collect();
        let config = image.as_ref().map(|image| &image.config);
        let labels = config.and_then(|config| config.config.as_ref()?.labels.as_ref());
        let created = config.and_then(|config| config.created.as_deref());
        filters.allow(created, |key| labels?.get(key).map(String::as_str))
            && !users.iter().any(|user| user.uses(id.as_ref(), &entry.digest, &names))
    };
    let mut removed = Vec::new();
    store.update_index(|index| {
        index.manifests.retain(|entry| {
            let goes = (all || entry.name().is_none()) && may_go(entry);
            if goes {
                removed.push(entry.name().map_or_else(|| entry.digest.to_string(), crate::names::shown));
            }
            !goes
        });
        Ok(())
    })?;
    Ok(removed)
}

/// Removes every blob no image needs, every layer no image and no container needs, and what interrupted work left.
pub fn sweep(place: &Place, store: &ImageStore, _alone: &Alone) -> Result<Freed, Error> {
    let mut freed = Freed { bytes: store.remove_unfinished()?, ..Freed::default() };
    let mut needed = Needed::default();
    for entry in &store.index()?.manifests {
        needed.add(store, entry, 0);
    }
    for user in users::all(place)? {
        needed.layers.extend(user.layers);
    }
    sweep_blobs(&store.directory().join("blobs/sha256"), &needed, &mut freed)?;
    sweep_layers(&place.layers(), &needed, &mut freed)?;
    store.remove_stale_locks()?;
    Ok(freed)
}

#[derive(Debug, Default)]
struct Needed {
    blobs: HashSet<Digest>,
    layers: HashSet<Digest>,
}

impl Needed {
    /// A manifest and all it refers to. What cannot be read refers to nothing.
    fn add(&mut self, store: &ImageStore, entry: &Descriptor, depth: usize) {
        self.blobs.insert(entry.digest.clone());
        let Ok(bytes) = store.read_blob(entry, MAX_MANIFEST_BYTES) else { return };
        match parse_body(&bytes, &entry.media_type) {
            Ok(Body::Index(index)) if depth < 4 => {
                index.manifests.iter().for_each(|inner| self.add(store, inner, depth + 1));
            }
            Ok(Body::Manifest(manifest)) => {
                self.blobs.insert(manifest.config.digest.clone());
                self.blobs.extend(manifest.layers.iter().map(|layer| layer.digest.clone()));
                if let Ok(config) = store.load_config(&manifest) {
                    self.layers.extend(config.rootfs.diff_ids);
                }
            }
            _ => {}
        }
    }
}

fn sweep_blobs(directory: &Path, needed: &Needed, freed: &mut Freed) -> Result<(), Error> {
    let Some((fd, names)) = listing(directory)? else { return Ok(()) };
    for name in names {
        let is_needed = digest(&name).is_some_and(|digest| needed.blobs.contains(&digest));
        if !is_needed {
            let size = tree::stat(&fd, &name).map_or(0, |stat| stat.st_size);
            tree::remove(&fd, &name).context(|| format!("blob {}", Path::new(&name).display()))?;
            freed.blobs += 1;
            freed.bytes += u64::try_from(size).unwrap_or(0);
        }
    }
    Ok(())
}

fn sweep_layers(directory: &Path, needed: &Needed, freed: &mut Freed) -> Result<(), Error> {
    let Some((fd, names)) = listing(directory)? else { return Ok(()) };
    for name in names {
        let shown = || format!("layer {}", Path::new(&name).display());
        let text = name.to_string_lossy();
        if let Some(hex) = text.strip_prefix(wb_store::layer::NOTE) {
            if tree::stat(&fd, OsStr::new(hex)) == Err(Errno::ENOENT) {
                tree::remove(&fd, &name).context(shown)?;
            }
            continue;
        }
        if text.starts_with(".tmp-") {
            // Whoever unpacks holds a lock on the directory.
            let is_free = match tree::child_directory(&fd, &name) {
                Ok(inside) => tree::try_lock(&inside).is_ok(),
                Err(_) => true,
            };
            if is_free {
                tree::remove(&fd, &name).context(shown)?;
            }
            continue;
        }
        if digest(&name).is_some_and(|digest| needed.layers.contains(&digest)) {
            continue;
        }
        let size = OsString::from(format!("{}{text}", wb_store::layer::NOTE));
        let bytes = wb_store::layer::noted_bytes(directory, &text);
        // First out of sight: a layer that is there is whole, also if we are killed half-way.
        let away = OsString::from(format!(".tmp-gc-{}-{text}", std::process::id()));
        tree::rename_new(&fd, &name, &away).context(shown)?;
        tree::remove(&fd, &away).context(shown)?;
        tree::remove(&fd, &size).context(shown)?;
        freed.layers += 1;
        freed.bytes += bytes.unwrap_or(0);
    }
    Ok(())
}

/// A directory and the names in it; `None` where it is missing.
fn listing(directory: &Path) -> Result<Option<(std::os::fd::OwnedFd, Vec<OsString>)>, Error> {
    let shown = || directory.display().to_string();
    let fd = match tree::open_directory(directory) {
        Err(Errno::ENOENT) => return Ok(None),
        other => other.context(shown)?,
    };
    let names = tree::names(&fd).context(shown)?.into_iter().map(|(name, _)| name).collect();
    Ok(Some((fd, names)))
}

fn digest(name: &OsStr) -> Option<Digest> {
    Digest::from_hex(name.to_str()?).ok()
}
