//! Who uses an image: the containers made from it.

use wb_doc::Error;
use wb_store::image::{Digest, Reference};
use wb_store::{Place, record};

/// A container, as far as images care.
#[derive(Debug, Clone)]
pub struct User {
    pub id: String,
    pub name: String,
    /// The image's id, if the record says one.
    pub image: Option<String>,
    /// The digest of the image's manifest.
    pub manifest: Option<String>,
    /// The image's name as it was typed, which is all a container has until its image is looked up.
    pub reference: Option<String>,
    /// The layers its root is made of.
    pub layers: Vec<Digest>,
}

impl User {
    /// The container as it is called in a message.
    pub fn shown(&self) -> String {
        let short = wb_doc::names::short(&self.id);
        if self.name.is_empty() { short.to_owned() } else { format!("{} ({short})", self.name) }
    }
}

/// All containers there are. A record that cannot be read is an error: its layers are not known to be free.
pub fn all(place: &Place) -> Result<Vec<User>, Error> {
    let mut users = Vec::new();
    for id in record::list(place)? {
        match record::read(place, &id) {
            Ok(document) => {
                let text = |pointer: &str| document.str_at(pointer).map(str::to_owned);
                let mut layers: Vec<String> = document.read("/wb/image/layers")?.unwrap_or_default();
                for lower in document.read::<Vec<String>>("/wb/rootfs/lower")?.unwrap_or_default() {
                    layers.extend(lower.rsplit('/').next().map(|hex| format!("sha256:{hex}")));
                }
                users.push(User {
                    name: text("/wb/name").unwrap_or_default(),
                    image: text("/wb/image/id"),
                    manifest: text("/wb/image/digest"),
                    reference: text("/wb/image/ref"),
                    layers: layers.iter().filter_map(|layer| Digest::parse(layer).ok()).collect(),
                    id,
                });
            }
            // Removed in between, or claimed and not written yet: it has no layers.
            Err(_) if !record::exists(place, &id) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(users)
}

impl User {
    /// Whether it was made, or is being made, from this image.
    pub fn uses(&self, id: Option<&Digest>, manifest: &Digest, names: &[String]) -> bool {
        let is = |value: &Option<String>, digest: &Digest| value.as_deref() == Some(digest.as_str());
        if self.image.is_some() || self.manifest.is_some() {
            return id.is_some_and(|id| is(&self.image, id)) || is(&self.manifest, manifest);
        }
        let wanted = self.reference.as_deref().and_then(|text| Reference::parse(text).ok());
        wanted.is_some_and(|reference| names.contains(&reference.normalized()))
    }
}
