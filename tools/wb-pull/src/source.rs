//! Where images come from: one small interface over registries, layouts and archives.

use std::io::Read;
use std::path::PathBuf;
use wb_doc::Error;
use wb_registry::Registry;
use wb_store::image::{Descriptor, Reference};

/// Something that has images.
pub trait Source: Sync {
    /// The manifest or index the reference names, with its verified bytes.
    fn root(&self) -> Result<(Descriptor, Vec<u8>), Error>;
    /// A manifest or index by its descriptor; the caller verifies the bytes.
    fn manifest(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Error>;
    /// A blob's content, at most `descriptor.size` bytes of it; the caller verifies.
    fn blob<'a>(&'a self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send + 'a>, Error>;
}

impl Source for Registry {
    fn root(&self) -> Result<(Descriptor, Vec<u8>), Error> {
        Self::root(self)
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        Self::manifest(self, descriptor)
    }

    fn blob<'a>(&'a self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send + 'a>, Error> {
        Ok(Box::new(Self::blob(self, descriptor)?))
    }
}

/// What was typed, by transport.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A registry.
    Registry(Reference),
    /// `oci:DIR[:TAG]`.
    OciLayout { directory: PathBuf, tag: Option<String> },
    /// `docker-archive:FILE[:NAME]`.
    DockerArchive { file: PathBuf, name: Option<String> },
}

impl Origin {
    /// Reads a reference with or without a transport.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let path = |rest: &str| {
            let (path, name) = match rest.split_once(':') {
                Some((path, name)) if !name.is_empty() => (path, Some(name.to_owned())),
                Some((path, _)) => (path, None),
                None => (rest, None),
            };
            if path.is_empty() {
                return Err(Error::usage(format!("{text}: a path is missing")));
            }
            Ok((PathBuf::from(path), name))
        };
        if let Some(rest) = text.strip_prefix("oci:") {
            let (directory, tag) = path(rest)?;
            return Ok(Self::OciLayout { directory, tag });
        }
        if let Some(rest) = text.strip_prefix("docker-archive:") {
            let (file, name) = path(rest)?;
            return Ok(Self::DockerArchive { file, name });
        }
        Reference::parse(text.strip_prefix("docker://").unwrap_or(text)).map(Self::Registry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_transports_from_names() {
        assert_eq!(
            Origin::parse("oci:/a/b:docker.io/library/x:1").unwrap(),
            Origin::OciLayout { directory: "/a/b".into(), tag: Some("docker.io/library/x:1".into()) }
        );
        assert_eq!(
            Origin::parse("docker-archive:x.tar").unwrap(),
            Origin::DockerArchive { file: "x.tar".into(), name: None }
        );
        assert!(matches!(Origin::parse("oci/x:1").unwrap(), Origin::Registry(_)));
        assert!(Origin::parse("oci:").is_err());
    }
}
