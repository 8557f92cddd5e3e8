//! The order of the work: look in the store, else fetch manifest, configuration and layers, then give the name.

use crate::When;
use crate::docker_archive::DockerArchive;
use crate::layer::{Layer, Work, absorb};
use crate::oci_layout::OciLayout;
use crate::source::{Origin, Source};
use std::collections::VecDeque;
use std::io::Read;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use wb_doc::{Context, Error};
use wb_registry::progress::{Progress, Show, size};
use wb_registry::{Access, Registry};
use wb_store::Place;
use wb_store::image::{
    Descriptor, Digest, Image, ImageConfig, ImageStore, MAX_CONFIG_BYTES, Manifest, Platform, Reference,
    SOURCE_DIGEST, resolve,
};

/// What is asked for.
pub struct Wanted<'a> {
    /// The reference as it was typed.
    pub reference: &'a str,
    /// When the registry is asked.
    pub when: When,
    /// The platform, if one was asked for.
    pub platform: Option<Platform>,
    /// The name to store it under, if not its own.
    pub name: Option<&'a str>,
    /// Whether to say nothing.
    pub quiet: bool,
    /// How many layers at once, 0 for as many as suit the machine.
    pub jobs: usize,
    /// Further words for `wb-rootfs unpack`.
    pub limits: Vec<String>,
    /// How registries are reached.
    pub access: &'a Access,
}

/// Makes sure the image is in the store and its layers are unpacked.
pub fn pull(place: &Place, wanted: &Wanted) -> Result<Image, Error> {
    let store = ImageStore::new(place);
    let text = wanted.reference;
    let origin = Origin::parse(text);
    // An id is no reference, but may well be in the store.
    if matches!(origin, Ok(Origin::Registry(_)) | Err(_)) {
        let digest_decides = matches!(&origin, Ok(Origin::Registry(reference)) if reference.digest.is_some());
        if wanted.when != When::Always || digest_decides {
            if let Some(image) = here(&store, place, wanted)? {
                return Ok(image);
            }
        }
        if wanted.when == When::Never {
            let error = store.unknown(text);
            return Err(match error.advice() {
                Some(_) => error,
                None => {
                    error.hint("it is not in the store, and --pull never keeps the registry from being asked")
                }
            });
        }
    }
    let origin = origin?;
    let progress = Progress::new(Show::suitable(wanted.quiet));
    let _hold = store.hold()?;
    store.remove_unfinished()?;
    let (source, own_name): (Box<dyn Source>, Option<String>) = match &origin {
        Origin::Registry(reference) => {
            progress.say(&format!("{reference}: pulling from {}", reference.domain));
            let registry =
                Registry::open(reference, wanted.access, &[wb_registry::scope(&reference.path, "pull")])?;
            (Box::new(registry), Some(reference.normalized()))
        }
        Origin::OciLayout { directory, tag } => {
            let layout = OciLayout::open(directory, tag.as_deref())?;
            let name = layout.name();
            (Box::new(layout), name)
        }
        Origin::DockerArchive { file, name } => {
            let archive = DockerArchive::open(file, name.as_deref(), &|content, diff_id| {
                absorb(&store, place, content, diff_id, &wanted.limits)
            })?;
            let name = archive.name();
            (Box::new(archive), name)
        }
    };
    let name = match wanted.name {
        Some(name) => Some(Reference::parse(name)?.normalized()),
        None => own_name,
    };
    let fetch = Fetch { store: &store, place, source: source.as_ref(), progress };
    fetch.image(name, wanted).context(|| text)
}

/// The image, if the store has all of it that a container needs.
fn here(store: &ImageStore, place: &Place, wanted: &Wanted) -> Result<Option<Image>, Error> {
    let Some(entry) = store.find(wanted.reference)? else { return Ok(None) };
    let may_fetch = wanted.when != When::Never;
    let image = match store.load(&entry) {
        Ok(image) => image,
        // A damaged image is fetched again.
        Err(_) if may_fetch => return Ok(None),
        Err(error) => return Err(error.within(wanted.reference)),
    };
    if wanted.platform.as_ref().is_some_and(|wanted| wanted.accepts(&image.config.platform()) == 0) {
        return Ok(None);
    }
    let layers = layers(&image.manifest, &image.config);
    if layers.iter().all(|layer| layer.is_unpacked(place)) {
        return Ok(Some(image));
    }
    let blobs = layers.iter().all(|layer| layer.is_unpacked(place) || store.has_blob(&layer.descriptor));
    if !blobs && may_fetch {
        return Ok(None);
    }
    let _hold = store.hold()?;
    let progress = Progress::new(Show::suitable(wanted.quiet));
    let ensured = ensure_layers(store, place, None, &layers, &progress, wanted);
    match ensured.and_then(|()| wb_store::layer::settle(&place.layers())) {
        Ok(()) => Ok(Some(image)),
        Err(_) if may_fetch => Ok(None),
        Err(error) => Err(error.within(wanted.reference)),
    }
}

fn layers(manifest: &Manifest, config: &ImageConfig) -> Vec<Layer> {
    let pairs = manifest.layers.iter().zip(&config.rootfs.diff_ids);
    pairs.map(|(descriptor, id)| Layer { descriptor: descriptor.clone(), diff_id: id.clone() }).collect()
}

/// One image on its way into the store.
struct Fetch<'a> {
    store: &'a ImageStore,
    place: &'a Place,
    source: &'a dyn Source,
    progress: std::sync::Arc<Progress>,
}

impl Fetch<'_> {
    fn image(&self, name: Option<String>, wanted: &Wanted) -> Result<Image, Error> {
        let platform = wanted.platform.clone().unwrap_or_else(Platform::local);
        let (root, bytes) = self.source.root()?;
        let mut first = Some(bytes);
        let mut fetch = |at: &Descriptor| match first.take() {
            Some(bytes) => Ok(bytes),
            None => self
                .source
                .manifest(at)
                .and_then(|bytes| at.verify(&Digest::of(&bytes), bytes.len() as u64).map(|()| bytes)),
        };
        let (mut entry, bytes, manifest) = resolve(&root, &platform, &mut fetch)?;
        let config = self.config(&manifest)?;
        let own = config.platform();
        if wanted.platform.is_some() && platform.accepts(&own) == 0 {
            return Err(Error::new(format!("the image is for {own}, not for {platform}")));
        }
        if platform.accepts(&own) == 0 {
            self.progress.say(&format!("warning: the image is for {own}, this machine is {platform}"));
        }
        let layers = layers(&manifest, &config);
        ensure_layers(self.store, self.place, Some(self.source), &layers, &self.progress, wanted)?;
        self.store.write_blob(&bytes)?;
        entry.urls = None;
        entry.annotations = None;
        entry.platform = Some(own);
        if root.digest != entry.digest {
            entry.annotate(SOURCE_DIGEST, Some(root.digest.as_str()));
        }
        let new = self.enter(name.as_deref(), &mut entry)?;
        let shown = name.as_deref().map_or_else(|| entry.digest.to_string(), familiar);
        let state = if new { "is in the store" } else { "was up to date" };
        self.progress.say(&format!("{shown}: {state}, {}", root.digest));
        Ok(Image { name, descriptor: entry, manifest, config })
    }

    /// Enters the image in the index; `false` where it was there already.
    fn enter(&self, name: Option<&str>, entry: &mut Descriptor) -> Result<bool, Error> {
        let Some(name) = name else {
            return self.store.update_index(|index| {
                let known = index.manifests.iter().any(|other| other.digest == entry.digest);
                if !known {
                    index.manifests.push(entry.clone());
                }
                Ok(!known)
            });
        };
        let new = self.store.update_index(|index| {
            let known = index
                .manifests
                .iter()
                .any(|other| other.name() == Some(name) && other.digest == entry.digest);
            index.rename(name, entry);
            Ok(!known)
        })?;
        entry.annotate(wb_store::image::REF_NAME, Some(name));
        Ok(new)
    }

    fn config(&self, manifest: &Manifest) -> Result<ImageConfig, Error> {
        let descriptor = &manifest.config;
        if descriptor.size > MAX_CONFIG_BYTES {
            return Err(Error::new(format!("image configuration: {} bytes", descriptor.size)));
        }
        if let Some(kind) = not_an_image(&descriptor.media_type) {
            return Err(Error::new(format!("{kind:?} is no container image")));
        }
        let _lock = self.store.lock_digest(&descriptor.digest)?;
        if !self.store.has_blob(descriptor) {
            let mut bytes = Vec::new();
            let content = self.source.blob(descriptor)?;
            let read = content.take(descriptor.size + 1).read_to_end(&mut bytes);
            read.map_err(crate::layer::plain).context(|| "image configuration")?;
            descriptor.verify(&Digest::of(&bytes), bytes.len() as u64)?;
            self.store.write_blob(&bytes)?;
        }
        self.store.load_config(manifest)
    }
}

/// Helm charts, signatures and the like lie in registries too.
fn not_an_image(media_type: &str) -> Option<&str> {
    use wb_store::image::media::{DOCKER_CONFIG, OCI_CONFIG};
    // Some builders state none of the two; what has a root file system in it will do.
    let image = [OCI_CONFIG, DOCKER_CONFIG, "application/octet-stream", "application/json", "text/plain"];
    (!image.contains(&media_type)).then_some(media_type)
}

fn familiar(name: &str) -> String {
    Reference::parse(name).map_or_else(|_| name.to_owned(), |reference| reference.familiar())
}

/// Fetches and unpacks what is missing, layers side by side, the largest first.
fn ensure_layers(
    store: &ImageStore,
    place: &Place,
    source: Option<&dyn Source>,
    layers: &[Layer],
    progress: &std::sync::Arc<Progress>,
    wanted: &Wanted,
) -> Result<(), Error> {
    let mut missing: Vec<&Layer> = Vec::new();
    for layer in layers {
        layer.check()?;
        let wanted =
            if source.is_some() { !layer.is_complete(store, place) } else { !layer.is_unpacked(place) };
        if wanted && !missing.contains(&layer) {
            missing.push(layer);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let total: u64 = missing.iter().map(|layer| layer.descriptor.size).fold(0, u64::saturating_add);
    progress.say(&format!("{} of {} layers to bring in, {}", missing.len(), layers.len(), size(total)));
    let mut queue: VecDeque<_> = missing
        .iter()
        .map(|layer| (*layer, progress.bar(layer.descriptor.digest.short(), layer.descriptor.size)))
        .collect();
    queue.make_contiguous().sort_by_key(|(layer, _)| std::cmp::Reverse(layer.descriptor.size));
    let workers = workers(wanted.jobs).min(queue.len());
    let abandoned = AtomicBool::new(false);
    let work = Work { store, place, source, limits: &wanted.limits, abandoned: &abandoned };
    let queue = Mutex::new(queue);
    let failed = Mutex::new(None);
    let run = || {
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some((layer, bar)) = next else { return };
            if abandoned.load(std::sync::atomic::Ordering::Relaxed) {
                return;
            }
            if let Err(error) = work.ensure(layer, &bar) {
                // The first failure is the cause; the others only gave up.
                failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                return;
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..workers {
            scope.spawn(run);
        }
        run();
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

/// As many layers at once as there are processors, but two at least, since each waits for the network too.
fn workers(asked: usize) -> usize {
    match asked {
        0 => std::thread::available_parallelism().map_or(2, std::num::NonZero::get).clamp(2, 4),
        asked => asked.min(16),
    }
}
