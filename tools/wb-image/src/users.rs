//! Who uses an image: the containers made from it.

use wb_doc::Error;
use wb_store::image::Digest;
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
                    layers: layers.iter().filter_map(|layer| Digest::parse(layer).ok()).collect(),
                    id,
                });
            }
            // Removed in between, or claimed and not written yet: it has no layers.
            Err(_) if !place.container(&id).join(record::FILE).exists() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(users)
}

/// The containers made from the image with this id or manifest digest.
pub fn of(place: &Place, id: &Digest, manifest: &Digest) -> Result<Vec<User>, Error> {
    let is = |value: &Option<String>, digest: &Digest| value.as_deref() == Some(digest.as_str());
    Ok(all(place)?.into_iter().filter(|user| is(&user.image, id) || is(&user.manifest, manifest)).collect())
}
