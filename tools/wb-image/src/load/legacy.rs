//! Archives of docker before 1.10: a file `repositories` with the names, and for each layer a directory with its tar
//! and a `json` that says which layer lies below and, in the uppermost, how the image runs (image-spec 1, the older
//! one).

use super::archive::Archive;
use super::{Found, name};
use crate::build;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use wb_doc::{Context, Error, escape};
use wb_store::image::{ContainerConfig, History, ImageConfig, ImageStore, MAX_LAYERS};

/// A layer's `json`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Layer {
    parent: Option<String>,
    created: Option<String>,
    author: Option<String>,
    comment: Option<String>,
    architecture: Option<String>,
    os: Option<String>,
    config: Option<ContainerConfig>,
    /// Of the container the layer was made in: its command made it.
    container_config: Option<ContainerConfig>,
}

/// The images that `repositories` names.
pub fn images(store: &ImageStore, archive: &Archive, repositories: &[u8]) -> Result<Vec<Found>, Error> {
    let names: BTreeMap<String, BTreeMap<String, String>> =
        serde_json::from_slice(repositories).context(|| "repositories")?;
    let mut images: BTreeMap<String, Found> = BTreeMap::new();
    for (repository, tags) in names {
        for (tag, top) in tags {
            let name = name(&format!("{repository}:{tag}"))?;
            if let Some(known) = images.get_mut(&top) {
                known.names.push(name);
            } else {
                let found = image(store, archive, &top, name)?;
                images.insert(top, found);
            }
        }
    }
    Ok(images.into_values().collect())
}

fn image(store: &ImageStore, archive: &Archive, top: &str, name: String) -> Result<Found, Error> {
    let chain = chain(archive, top)?;
    let mut config = ImageConfig::default();
    let mut blobs = Vec::new();
    for (id, layer) in chain {
        let path = format!("{id}/layer.tar");
        let (blob, diff_id) = archive.layer(store, &path)?;
        blobs.push(blob);
        config.rootfs.diff_ids.push(diff_id.ok_or_else(|| missing(&path))?);
        let made_by = layer.container_config.and_then(|container| container.cmd);
        config.history.get_or_insert_default().push(History {
            created: layer.created.clone(),
            created_by: made_by.map(|words| words.join(" ")),
            author: layer.author.clone(),
            comment: layer.comment,
            ..History::default()
        });
        // The uppermost, which comes last, speaks for the image.
        config.created = layer.created;
        config.author = layer.author;
        config.architecture = layer.architecture.unwrap_or_else(|| "amd64".into());
        config.os = layer.os.unwrap_or_else(|| "linux".into());
        config.config = layer.config;
    }
    let bytes = serde_json::to_vec(&config).context(|| "image configuration")?;
    let (mut entry, manifest) = build::write(store, &bytes, blobs)?;
    entry.platform = Some(config.platform());
    Ok(Found { entry, manifest, names: vec![name] })
}

/// The layers' descriptions, lowest first.
fn chain(archive: &Archive, top: &str) -> Result<Vec<(String, Layer)>, Error> {
    let mut chain = Vec::new();
    let mut next = Some(top.to_owned());
    while let Some(id) = next.take() {
        if chain.len() == MAX_LAYERS {
            return Err(Error::new(format!("more than {MAX_LAYERS} layers, or one that lies upon itself")));
        }
        let path = format!("{id}/json");
        let bytes = archive.small(&path).ok_or_else(|| missing(&path))?;
        // An object: a struct is read from a list, too, an empty one in this case.
        let members: Map<String, Value> = serde_json::from_slice(bytes).context(|| escape(&path))?;
        let layer = Layer::deserialize(Value::Object(members)).context(|| escape(&path))?;
        next = layer.parent.clone().filter(|parent| !parent.is_empty());
        chain.push((id, layer));
    }
    chain.reverse();
    Ok(chain)
}

fn missing(path: &str) -> Error {
    Error::new(format!("the archive has no {}", escape(path)))
}
