//! Images by what people type, and their names as people see them.

use wb_doc::Error;
pub use wb_store::image::familiar;
use wb_store::image::{Descriptor, Image, ImageStore, Reference};

/// The index entry `text` names; `no such image` where there is none.
pub fn find(store: &ImageStore, text: &str) -> Result<Descriptor, Error> {
    store.find(text)?.ok_or_else(|| store.unknown(text))
}

/// The image `text` names, read and verified.
pub fn load(store: &ImageStore, text: &str) -> Result<Image, Error> {
    let descriptor = find(store, text)?;
    store.load(&descriptor).map_err(|error| error.within(text))
}

/// A stored name as people see it: `busybox:latest`.
pub fn shown(name: &str) -> String {
    Reference::parse(name).map_or_else(|_| name.to_owned(), |reference| reference.familiar())
}

/// A name to give to an image: with a tag or none, never with a digest.
pub fn target(text: &str) -> Result<Reference, Error> {
    let reference = Reference::parse(text)?;
    if reference.digest.is_some() {
        return Err(Error::usage(format!("invalid name {text:?}: a digest follows from the content")));
    }
    Ok(reference)
}

/// The names of an image, normalized.
pub fn of_image(store: &ImageStore, image: &Image) -> Result<Vec<String>, Error> {
    let index = store.index()?;
    let same = index.manifests.iter().filter(|entry| entry.digest == image.descriptor.digest);
    Ok(same.filter_map(|entry| entry.name().map(str::to_owned)).collect())
}
