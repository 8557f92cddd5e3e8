//! An image to a registry: what it lacks of blobs, side by side, and only then the manifests that name them.

use crate::{names, out};
use std::collections::{BTreeMap, VecDeque};
use std::io::{Read, Seek, SeekFrom};
use std::sync::{Mutex, PoisonError};
use wb_doc::{Error, ExitCode, units};
use wb_registry::progress::{Bar, Progress, Show, size};
use wb_registry::{Access, Registry, Sent, Upload, scope};
use wb_store::Place;
use wb_store::image::{
    Body, Descriptor, Digest, ImageStore, MAX_MANIFEST_BYTES, Platform, Reference, parse_body, resolve,
};

/// The deepest nesting of indexes, as in a pull.
const MAX_NESTING: usize = 4;

/// Send an image to a registry: what it lacks, and then the name
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name, id, or the first digits of an id
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Where to, if not where the image's own name says
    #[arg(value_name = "DESTINATION")]
    destination: Option<String>,
    /// Say nothing on standard error unless it fails
    #[arg(short, long)]
    quiet: bool,
    /// Of several platforms, send this one alone
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<String>,
    /// How many blobs to send at once
    #[arg(long, value_name = "N", default_value_t = 3, hide_default_value = true)]
    jobs: usize,
    /// Send at most so much in one request
    #[arg(long, value_name = "BYTES", default_value = "64m", hide_default_value = true)]
    piece: String,
    #[command(flatten)]
    access: Access,
}

pub fn run(args: &Args) -> Result<ExitCode, Error> {
    let platform = args.platform.as_deref().map(Platform::parse).transpose()?;
    let piece_bytes = u64::try_from(units::bytes(&args.piece)?).unwrap_or(0).max(1);
    let store = ImageStore::new(&Place::from_env()?);
    let entry = names::find(&store, &args.image)?;
    let to = destination(args, &entry)?;
    // Nothing of the image goes away meanwhile.
    let _hold = store.hold()?;
    let plan = Plan::of(&store, &entry, platform.as_ref()).map_err(|error| error.within(&args.image))?;
    let elsewhere = elsewhere(&store, &to)?;
    let progress = Progress::new(Show::suitable(args.quiet));
    progress.say(&format!("{to}: pushing to {}", to.domain));
    let push = Push { store: &store, plan: &plan, elsewhere, piece_bytes };
    push.run(&to, args, &progress).map_err(|error| error.within(&to))?;
    out::line(&format!("{}@{}", to.normalized(), plan.root().digest))?;
    Ok(ExitCode::SUCCESS)
}

/// What was typed, or the image's own name; always a name with a tag, since digests follow from the content.
fn destination(args: &Args, entry: &Descriptor) -> Result<Reference, Error> {
    if let Some(text) = &args.destination {
        return names::target(text);
    }
    match Reference::parse(&args.image) {
        Ok(reference) if entry.name() == Some(&reference.normalized()) => names::target(&args.image),
        // Found by its id: the id says nothing of where it belongs.
        _ => Err(Error::usage(format!("{}: an id is no place to push to", args.image))
            .hint(format!("wb push {} HOST/NAME:TAG", args.image))),
    }
}

/// Blobs that other repositories of the same registry have, as far as names in the store tell.
fn elsewhere(store: &ImageStore, to: &Reference) -> Result<BTreeMap<Digest, String>, Error> {
    let mut found = BTreeMap::new();
    for entry in store.index()?.manifests {
        let Some(Ok(name)) = entry.name().map(Reference::parse) else { continue };
        if name.domain != to.domain || name.path == to.path {
            continue;
        }
        // What cannot be read was not pushed or pulled whole either.
        let Ok(image) = store.load(&entry) else { continue };
        for layer in &image.manifest.layers {
            found.entry(layer.digest.clone()).or_insert_with(|| name.path.clone());
        }
    }
    Ok(found)
}

/// What belongs to an image: blobs, each once, and manifests, the root last.
#[derive(Debug, Default)]
struct Plan {
    blobs: Vec<Descriptor>,
    manifests: Vec<(Descriptor, Vec<u8>)>,
}

impl Plan {
    fn of(store: &ImageStore, entry: &Descriptor, platform: Option<&Platform>) -> Result<Self, Error> {
        let mut plan = Self::default();
        let mut fetch = |at: &Descriptor| store.read_blob(at, MAX_MANIFEST_BYTES);
        match platform {
            Some(platform) => {
                let (found, _, manifest) = resolve(entry, platform, &mut fetch)?;
                let own = store.load_config(&manifest)?.platform();
                if platform.accepts(&own) == 0 {
                    return Err(Error::new(format!("the image is for {own}, not for {platform}")));
                }
                plan.add(store, &found, 0)?;
            }
            None => plan.add(store, entry, MAX_NESTING)?,
        }
        for blob in &plan.blobs {
            if !store.has_blob(blob) {
                return Err(Error::new(format!("blob {} is not in the store", blob.digest))
                    .hint("pull the image again, or push one platform of it with --platform"));
            }
        }
        Ok(plan)
    }

    fn add(&mut self, store: &ImageStore, at: &Descriptor, nesting: usize) -> Result<(), Error> {
        let bytes = store.read_blob(at, MAX_MANIFEST_BYTES)?;
        match parse_body(&bytes, &at.media_type)? {
            Body::Index(_) if nesting == 0 => return Err(Error::new("indexes nested too deep")),
            Body::Index(index) => {
                for inner in &index.manifests {
                    self.add(store, inner, nesting - 1)?;
                }
            }
            Body::Manifest(manifest) => {
                for blob in manifest.layers.iter().chain([&manifest.config]) {
                    if !self.blobs.iter().any(|known| known.digest == blob.digest) {
                        self.blobs.push(blob.clone());
                    }
                }
            }
        }
        if !self.manifests.iter().any(|(known, _)| known.digest == at.digest) {
            self.manifests.push((at.clone(), bytes));
        }
        Ok(())
    }

    fn root(&self) -> &Descriptor {
        // `of` put at least one there.
        &self.manifests[self.manifests.len() - 1].0
    }
}

struct Push<'a> {
    store: &'a ImageStore,
    plan: &'a Plan,
    elsewhere: BTreeMap<Digest, String>,
    piece_bytes: u64,
}

impl Push<'_> {
    fn run(&self, to: &Reference, args: &Args, progress: &std::sync::Arc<Progress>) -> Result<(), Error> {
        let mut scopes = vec![scope(&to.path, "pull,push")];
        let mut sources: Vec<&String> =
            self.plan.blobs.iter().filter_map(|blob| self.elsewhere.get(&blob.digest)).collect();
        sources.sort();
        sources.dedup();
        scopes.extend(sources.into_iter().map(|path| scope(path, "pull")));
        let registry = Registry::open(to, &args.access, &scopes)?;
        self.blobs(&registry, args.jobs, progress)?;
        for (descriptor, bytes) in &self.plan.manifests {
            let is_root = descriptor.digest == self.plan.root().digest;
            let selector = if is_root { to.tag_or_latest() } else { descriptor.digest.as_str() };
            registry.put_manifest(selector, &descriptor.media_type, bytes)?;
        }
        let total: u64 = self.plan.blobs.iter().map(|blob| blob.size).sum();
        progress.say(&format!("{to}: is in the registry, {}, {}", size(total), self.plan.root().digest));
        Ok(())
    }

    /// All blobs, the largest first; the first failure ends it.
    fn blobs(
        &self,
        registry: &Registry,
        jobs: usize,
        progress: &std::sync::Arc<Progress>,
    ) -> Result<(), Error> {
        let mut queue: VecDeque<(&Descriptor, Bar)> =
            self.plan.blobs.iter().map(|blob| (blob, progress.bar(blob.digest.short(), blob.size))).collect();
        queue.make_contiguous().sort_by_key(|(blob, _)| std::cmp::Reverse(blob.size));
        let jobs = jobs.clamp(1, 16).min(queue.len());
        let queue = Mutex::new(queue);
        let failed = Mutex::new(None);
        let run = || {
            loop {
                if failed.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
                    return;
                }
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                let Some((blob, bar)) = next else { return };
                if let Err(error) = self.blob(registry, blob, &bar) {
                    let error = error.within(format!("blob {}", blob.digest.short()));
                    failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..jobs {
                scope.spawn(run);
            }
            run();
        });
        failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    fn blob(&self, registry: &Registry, blob: &Descriptor, bar: &Bar) -> Result<(), Error> {
        let content = |from: u64| -> Result<Box<dyn Read + '_>, Error> {
            let (mut file, _) = self.store.open_blob(&blob.digest)?;
            file.seek(SeekFrom::Start(from)).map_err(Error::new)?;
            bar.set(from);
            Ok(Box::new(Counted { file, bar }))
        };
        let upload = Upload {
            blob,
            from: self.elsewhere.get(&blob.digest).map(String::as_str),
            piece_bytes: self.piece_bytes,
            content: &content,
        };
        bar.done(match registry.upload(&upload)? {
            Sent::There => "already there",
            Sent::Mounted => "taken from another repository",
            Sent::Whole => "sent",
        });
        Ok(())
    }
}

/// A file whose reading moves a bar.
struct Counted<'a> {
    file: std::fs::File,
    bar: &'a Bar,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.file.read(buffer)?;
        self.bar.add(length as u64);
        Ok(length)
    }
}
