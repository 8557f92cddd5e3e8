//! `oci:DIR[:TAG]`: an image layout in a directory, as skopeo, umoci and buildah write it.

use crate::source::Source;
use std::io::Read;
use std::path::Path;
use wb_doc::Error;
use wb_store::image::{Descriptor, ImageStore, MAX_MANIFEST_BYTES, Reference};

/// An image in somebody's layout.
#[derive(Debug)]
pub struct OciLayout {
    layout: ImageStore,
    entry: Descriptor,
    name: Option<String>,
}

impl OciLayout {
    /// Finds the image `tag` names in the layout's index; without a tag there must be just one.
    pub fn open(directory: &Path, tag: Option<&str>) -> Result<Self, Error> {
        let shown = directory.display();
        if !directory.join("oci-layout").is_file() {
            return Err(Error::new(format!("{shown}: no OCI image layout (no file oci-layout)")));
        }
        let layout = ImageStore::at(directory.to_owned());
        let index = layout.index()?;
        let named = |entry: &&Descriptor| tag.is_none_or(|tag| entry.name() == Some(tag));
        let mut found = index.manifests.iter().filter(named);
        let entry = match (found.next(), found.next(), tag) {
            (Some(entry), None, _) | (Some(entry), Some(_), Some(_)) => entry.clone(),
            (None, _, Some(tag)) => return Err(Error::new(format!("{shown}: no image {tag:?} in it"))),
            (None, _, None) => return Err(Error::new(format!("{shown}: no image in it"))),
            (Some(_), Some(_), None) => {
                let tags: Vec<_> = index.manifests.iter().filter_map(Descriptor::name).collect();
                return Err(Error::new(format!("{shown}: several images: say which, oci:{shown}:TAG"))
                    .hint(tags.join(" ")));
            }
        };
        let tag = tag.or(entry.name()).map(str::to_owned);
        let name = tag.and_then(|tag| stored_name(directory, &tag));
        Ok(Self { layout, entry, name })
    }

    /// The name the image is stored under.
    pub fn name(&self) -> Option<String> {
        self.name.clone()
    }
}

/// A tag that is a whole name counts as such (`docker.io/library/x:1`, our own layouts); else the directory is the
/// repository, as podman has it.
fn stored_name(directory: &Path, tag: &str) -> Option<String> {
    let whole = |text: &str| Reference::parse(text).ok().map(|reference| reference.normalized());
    if tag.contains(['/', ':']) {
        return whole(tag);
    }
    let directory = directory.canonicalize().ok()?;
    let repository = directory.file_name()?.to_str()?.to_ascii_lowercase();
    whole(&format!("{repository}:{tag}"))
}

impl Source for OciLayout {
    fn root(&self) -> Result<(Descriptor, Vec<u8>), Error> {
        let bytes = self.manifest(&self.entry)?;
        Ok((self.entry.clone(), bytes))
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        self.layout.read_blob(descriptor, MAX_MANIFEST_BYTES)
    }

    fn blob<'a>(&'a self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send + 'a>, Error> {
        let (file, _) = self.layout.open_blob(&descriptor.digest)?;
        Ok(Box::new(file))
    }
}
