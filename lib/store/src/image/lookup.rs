//! Images in the store: found by name, by digest, or by the first digits of their id.

use crate::image::{
    Body, Descriptor, Digest, ImageConfig, ImageStore, Index, MAX_CONFIG_BYTES, MAX_MANIFEST_BYTES, Manifest,
    Platform, Reference, SOURCE_DIGEST, parse_body,
};
use crate::near;
use wb_doc::{Context, Error};

/// An image whose manifest and configuration are in the store.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    /// The name it was found by, or any of its names.
    pub name: Option<String>,
    /// Its manifest's descriptor, with the index entry's annotations.
    pub descriptor: Descriptor,
    /// Its manifest.
    pub manifest: Manifest,
    /// Its configuration.
    pub config: ImageConfig,
}

impl Image {
    /// The image's id: the digest of its configuration.
    pub fn id(&self) -> &Digest {
        &self.manifest.config.digest
    }

    /// The digests of its uncompressed layers, lowest first.
    pub fn diff_ids(&self) -> &[Digest] {
        &self.config.rootfs.diff_ids
    }
}

impl ImageStore {
    /// Reads an image's manifest and configuration, verified.
    pub fn load(&self, descriptor: &Descriptor) -> Result<Image, Error> {
        let bytes = self.read_blob(descriptor, MAX_MANIFEST_BYTES)?;
        let manifest = match parse_body(&bytes, &descriptor.media_type)? {
            Body::Manifest(manifest) => *manifest,
            // Another program's work: its index stands for the image of this machine.
            Body::Index(_) => {
                let mut fetch = |at: &Descriptor| self.read_blob(at, MAX_MANIFEST_BYTES);
                let (at, _, manifest) = crate::image::resolve(descriptor, &Platform::local(), &mut fetch)?;
                let config = self.load_config(&manifest)?;
                let name = descriptor.name().map(str::to_owned);
                return Ok(Image { name, descriptor: at, manifest, config });
            }
        };
        let config = self.load_config(&manifest)?;
        let name = descriptor.name().map(str::to_owned);
        Ok(Image { name, descriptor: descriptor.clone(), manifest, config })
    }

    /// Reads a manifest's configuration, verified, with one diff id for each layer.
    pub fn load_config(&self, manifest: &Manifest) -> Result<ImageConfig, Error> {
        let bytes = self.read_blob(&manifest.config, MAX_CONFIG_BYTES)?;
        ImageConfig::parse(&bytes, manifest)
    }

    /// The index entry `text` names: a reference (`busybox`, `host/x:1`, `x@sha256:…`), an image's id, or the first
    /// digits of its id or of its manifest's digest. `None` where there is none; an error where it is no
    /// reference or several images' ids begin so.
    pub fn find(&self, text: &str) -> Result<Option<Descriptor>, Error> {
        let index = self.index()?;
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        let may_be_id = hex.len() <= 64 && !hex.is_empty() && hex.bytes().all(|b| b.is_ascii_hexdigit());
        if !text.starts_with("sha256:") {
            match Reference::parse(text) {
                Ok(reference) => {
                    if let Some(found) = index.named(&reference) {
                        return Ok(Some(found.clone()));
                    }
                }
                Err(error) if !may_be_id => return Err(error),
                Err(_) => {}
            }
        }
        if may_be_id { self.find_by_id(&index, &hex.to_ascii_lowercase()) } else { Ok(None) }
    }

    /// That no image is called `text`, and which one may have been meant.
    pub fn unknown(&self, text: &str) -> Error {
        let error = Error::new(format!("no such image: {text}"));
        let entries = self.index().map(|index| index.manifests).unwrap_or_default();
        let shown =
            entries.iter().filter_map(Descriptor::name).filter_map(|name| Reference::parse(name).ok());
        let shown: Vec<String> = shown.map(|reference| reference.familiar()).collect();
        // The tag that goes without saying is no part of what was typed.
        let names = shown.iter().flat_map(|name| [name.strip_suffix(":latest").unwrap_or(name), name]);
        near::hinted(error, text, names)
    }

    fn find_by_id(&self, index: &Index, prefix: &str) -> Result<Option<Descriptor>, Error> {
        let mut found: Option<(&Descriptor, Digest)> = None;
        for entry in &index.manifests {
            // An entry whose blobs are broken has no id; asked for by name it says what is wrong.
            let Ok(bytes) = self.read_blob(entry, MAX_MANIFEST_BYTES) else { continue };
            let Ok(Body::Manifest(manifest)) = parse_body(&bytes, &entry.media_type) else { continue };
            let id = manifest.config.digest.clone();
            if !id.hex().starts_with(prefix) && !entry.digest.hex().starts_with(prefix) {
                continue;
            }
            match &found {
                Some((_, other)) if *other != id => {
                    return Err(Error::new(format!(
                        "image id {prefix} is ambiguous: {} and {}",
                        other.short(),
                        id.short()
                    )));
                }
                Some(_) => {}
                None => found = Some((entry, id)),
            }
        }
        Ok(found.map(|(entry, _)| entry.clone()))
    }
}

impl Index {
    /// The entry of a reference. A digest is that of the image's manifest, or of the index it came from; then any
    /// name in the same repository will do.
    pub fn named(&self, reference: &Reference) -> Option<&Descriptor> {
        let name = reference.normalized();
        let exact = self.manifests.iter().find(|entry| entry.name() == Some(&name));
        if exact.is_some() {
            return exact;
        }
        let digest = reference.digest.as_ref()?;
        let repository = reference.repository();
        self.manifests.iter().find(|entry| {
            let same = entry.digest == *digest || entry.annotation(SOURCE_DIGEST) == Some(digest.as_str());
            let in_repository = entry.name().and_then(|name| name.strip_prefix(&repository));
            same && in_repository.is_some_and(|rest| rest.starts_with([':', '@']))
        })
    }
}

impl ImageConfig {
    /// Reads the configuration of `manifest`'s image; it must have one diff id for each layer.
    pub fn parse(bytes: &[u8], manifest: &Manifest) -> Result<Self, Error> {
        let config: Self = serde_json::from_slice(bytes).context(|| "image configuration")?;
        let (ids, layers) = (config.rootfs.diff_ids.len(), manifest.layers.len());
        if ids != layers {
            return Err(Error::new(format!(
                "image configuration: {ids} diff ids for {layers} layers of the manifest"
            )));
        }
        Ok(config)
    }
}
