//! Images into one archive: an OCI image layout that old and new docker, podman and skopeo read as well.

use crate::names;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, ErrorKind, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use tar::{Builder, EntryType, Header};
use wb_doc::{Context, Error, ExitCode};
use wb_store::Place;
use wb_store::image::{Descriptor, Digest, Hasher, Image, ImageStore, Index, REF_NAME, Reference};

/// Write images into an archive for `load`, docker, podman or skopeo
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Names, ids, or the first digits of ids
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    /// Into this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// docker: an OCI archive with docker's manifest.json in it; oci: without
    #[arg(long, value_name = "docker|oci", default_value = "docker", value_parser = ["docker", "oci", "docker-archive", "oci-archive"])]
    format: String,
}

pub fn run(args: &Args) -> Result<ExitCode, Error> {
    let stdout = std::io::stdout();
    if args.output.is_none() && stdout.is_terminal() {
        return Err(Error::usage("an archive is not written to a terminal").hint("use -o FILE"));
    }
    let store = ImageStore::new(&Place::from_env()?);
    let _hold = store.hold()?;
    let plan = Plan::of(&store, &args.images, args.format.starts_with("docker"))?;
    match &args.output {
        None => {
            plan.write(&store, BufWriter::with_capacity(256 << 10, stdout.lock()))?;
        }
        Some(path) => to_file(&store, &plan, path)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Written beside its name, so that a failure leaves no half archive.
fn to_file(store: &ImageStore, plan: &Plan, path: &Path) -> Result<(), Error> {
    let shown = || path.display().to_string();
    if path.exists() && !path.is_file() {
        // A device or a pipe is written to as it is.
        let file = File::options().write(true).open(path).context(shown)?;
        return plan.write(store, BufWriter::with_capacity(256 << 10, file));
    }
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.tmp", std::process::id()));
    let file = File::create_new(&temporary).context(shown)?;
    plan.write(store, BufWriter::with_capacity(256 << 10, file))
        .and_then(|()| std::fs::rename(&temporary, path).context(shown))
        .inspect_err(|_| {
            // What failed matters more than what stays.
            std::fs::remove_file(&temporary).ok();
        })
}

/// What the archive holds.
#[derive(Debug, Default)]
struct Plan {
    /// Blobs by their digest, each once.
    blobs: BTreeMap<Digest, u64>,
    index: Index,
    /// docker's manifest.json.
    docker: Option<Vec<Value>>,
}

impl Plan {
    fn of(store: &ImageStore, wanted: &[String], docker: bool) -> Result<Self, Error> {
        let mut plan = Self { docker: docker.then(Vec::new), ..Self::default() };
        let mut images: Vec<(Image, Vec<String>)> = Vec::new();
        for text in wanted {
            let image = names::load(store, text)?;
            // Asked for by id it is saved without a name, as docker does.
            let name = image.descriptor.name().filter(|name| is_name(text, name)).map(str::to_owned);
            match images.iter_mut().find(|(known, _)| known.descriptor.digest == image.descriptor.digest) {
                Some((_, names)) => names.extend(name.filter(|name| !names.contains(name))),
                None => images.push((image, name.into_iter().collect())),
            }
        }
        for (image, names) in images {
            plan.add(&image, &names);
        }
        Ok(plan)
    }

    fn add(&mut self, image: &Image, names: &[String]) {
        let all = image.manifest.layers.iter().chain([&image.manifest.config, &image.descriptor]);
        self.blobs.extend(all.map(|blob| (blob.digest.clone(), blob.size)));
        let mut entry = Descriptor::new(
            &image.descriptor.media_type,
            image.descriptor.digest.clone(),
            image.descriptor.size,
        );
        entry.platform = Some(image.config.platform());
        for name in names {
            let mut copy = entry.clone();
            // podman and skopeo take the second for a tag, docker and containerd the first for the whole name.
            copy.annotate("io.containerd.image.name", Some(name));
            copy.annotate(REF_NAME, Some(name));
            self.index.manifests.push(copy);
        }
        if names.is_empty() {
            self.index.manifests.push(entry);
        }
        if let Some(list) = &mut self.docker {
            let path = |digest: &Digest| format!("blobs/sha256/{}", digest.hex());
            let tags: Vec<String> = names
                .iter()
                .filter(|name| !name.contains('@'))
                .map(|name| crate::names::shown(name))
                .collect();
            list.push(json!({
                "Config": path(image.id()),
                "RepoTags": if tags.is_empty() { Value::Null } else { tags.into() },
                "Layers": image.manifest.layers.iter().map(|layer| path(&layer.digest)).collect::<Vec<_>>(),
            }));
        }
    }

    fn write(&self, store: &ImageStore, out: impl Write) -> Result<(), Error> {
        let mut archive = Builder::new(out);
        for directory in ["blobs/", "blobs/sha256/"] {
            let mut header = header(EntryType::Directory, 0o755, 0);
            archive.append_data(&mut header, directory, std::io::empty()).context(|| "write the archive")?;
        }
        for (digest, &size) in &self.blobs {
            let (file, found) = store.open_blob(digest)?;
            if found != size {
                return Err(Error::new(format!("blob {digest}: {found} bytes instead of {size}")));
            }
            // Exactly its size, whatever happens to the file meanwhile; and its content is what its name says.
            let mut source = Verified { source: file.take(size), hasher: Hasher::new() };
            let mut header = header(EntryType::Regular, 0o644, size);
            let path = format!("blobs/sha256/{}", digest.hex());
            archive.append_data(&mut header, path, &mut source).context(|| "write the archive")?;
            let content = source.hasher.finish();
            if content != *digest {
                return Err(Error::new(format!("blob {digest}: its content has digest {content}")));
            }
        }
        let mut small = |name: &str, value: &Value| {
            let bytes = serde_json::to_vec(value).context(|| name.to_owned())?;
            let mut header = header(EntryType::Regular, 0o644, bytes.len() as u64);
            archive.append_data(&mut header, name, &bytes[..]).context(|| "write the archive")
        };
        small("index.json", &serde_json::to_value(&self.index).context(|| "index.json")?)?;
        if let Some(list) = &self.docker {
            small("manifest.json", &Value::Array(list.clone()))?;
        }
        small("oci-layout", &json!({ "imageLayoutVersion": "1.0.0" }))?;
        match archive.into_inner().and_then(|mut out| out.flush()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                Err(Error::new("nobody reads the archive"))
            }
            written => written.context(|| "write the archive"),
        }
    }
}

/// The same image gives the same archive: no times, no owners.
fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header
}

struct Verified<R> {
    source: R,
    hasher: Hasher,
}

impl<R: Read> Read for Verified<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.source.read(buffer)?;
        self.hasher.update(&buffer[..length]);
        Ok(length)
    }
}

fn is_name(text: &str, name: &str) -> bool {
    Reference::parse(text).is_ok_and(|reference| name.starts_with(&reference.repository()))
}
