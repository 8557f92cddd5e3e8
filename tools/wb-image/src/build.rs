//! An image made of layers that are in the store: its configuration, its manifest, its entry in the index.

use jiff::Timestamp;
use wb_doc::{Context, Error};
use wb_store::image::{Descriptor, Digest, ImageConfig, ImageStore, Manifest, Platform, media};

/// Now; or the time `SOURCE_DATE_EPOCH` gives, so that the same input gives the same image.
pub fn now() -> Result<String, Error> {
    let time = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) if !text.is_empty() => {
            let wrong =
                || Error::usage(format!("SOURCE_DATE_EPOCH is {text:?}: seconds since 1970 are needed"));
            Timestamp::from_second(text.parse().map_err(|_| wrong())?).map_err(|_| wrong())?
        }
        _ => Timestamp::now(),
    };
    Ok(time.to_string())
}

/// Puts `config` in the member for a platform.
pub fn set_platform(config: &mut ImageConfig, platform: &Platform) {
    config.os.clone_from(&platform.os);
    config.architecture.clone_from(&platform.architecture);
    config.variant.clone_from(&platform.variant);
}

/// Writes configuration and manifest, and gives the image its name; without one it stands in the index all the same.
/// Returns the image's id.
pub fn store(
    store: &ImageStore,
    config: &ImageConfig,
    layers: Vec<Descriptor>,
    name: Option<&str>,
) -> Result<Digest, Error> {
    let bytes = serde_json::to_vec(config).context(|| "image configuration")?;
    let (mut entry, manifest) = write(store, &bytes, layers)?;
    entry.platform = Some(config.platform());
    add(store, &entry, name)?;
    Ok(manifest.config.digest)
}

/// Writes the configuration `config` and a manifest of it and of `layers`; the image is not in the index yet.
pub fn write(
    store: &ImageStore,
    config: &[u8],
    layers: Vec<Descriptor>,
) -> Result<(Descriptor, Manifest), Error> {
    let id = store.write_blob(config)?;
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(media::OCI_MANIFEST.to_owned()),
        config: Descriptor::new(media::OCI_CONFIG, id, config.len() as u64),
        layers,
        other: serde_json::Map::new(),
    };
    let bytes = serde_json::to_vec(&manifest).context(|| "image manifest")?;
    let digest = store.write_blob(&bytes)?;
    Ok((Descriptor::new(media::OCI_MANIFEST, digest, bytes.len() as u64), manifest))
}

/// Puts an image into the index, under a name or without one.
pub fn add(store: &ImageStore, entry: &Descriptor, name: Option<&str>) -> Result<(), Error> {
    match name {
        Some(name) => store.set_name(name, entry),
        None => store.update_index(|index| {
            if !index.manifests.iter().any(|other| other.digest == entry.digest) {
                index.manifests.push(entry.clone());
            }
            Ok(())
        }),
    }
}
