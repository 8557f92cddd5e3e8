//! Manifests and indexes: told apart without doubt, and resolved to the image of a platform.

use crate::image::{Descriptor, Index, MAX_MANIFEST_BYTES, Manifest, Platform};
use serde_json::Value;
use wb_doc::{Context, Error};

/// The most layers an image may have.
pub const MAX_LAYERS: usize = 500;
/// The deepest nesting of indexes.
const MAX_NESTING: usize = 4;

/// Media types.
pub mod media {
    /// OCI image index.
    pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// OCI image manifest.
    pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// OCI image configuration.
    pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// OCI layer, gzip.
    pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    /// OCI layer, uncompressed.
    pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
    /// OCI layer, zstd.
    pub const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
    /// docker's manifest list.
    pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// docker's manifest, schema 2.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// docker's image configuration.
    pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    /// docker's layer, gzip.
    pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    /// docker's layer, uncompressed.
    pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";

    /// Whether it is an index.
    pub fn is_index(media_type: &str) -> bool {
        matches!(media_type, OCI_INDEX | DOCKER_LIST)
    }

    /// Whether it is an image manifest.
    pub fn is_manifest(media_type: &str) -> bool {
        matches!(media_type, OCI_MANIFEST | DOCKER_MANIFEST)
    }
}

/// What the bytes of a manifest turned out to be.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// An index or manifest list.
    Index(Index),
    /// An image manifest.
    Manifest(Box<Manifest>),
}

/// Reads a manifest or an index whose descriptor or `Content-Type` says it is `media_type`.
///
/// Refused: what says two things at once (`layers` and `manifests`, CVE-2021-41190), whose own `mediaType` is
/// another, schema 1, more than [`MAX_LAYERS`] layers, and layers that lie elsewhere.
pub fn parse_body(bytes: &[u8], media_type: &str) -> Result<Body, Error> {
    if bytes.len() as u64 > MAX_MANIFEST_BYTES {
        return Err(Error::new(format!("manifest: more than {MAX_MANIFEST_BYTES} bytes")));
    }
    let value: Value = serde_json::from_slice(bytes).context(|| "manifest")?;
    let has = |member: &str| value.get(member).is_some_and(|value| !value.is_null());
    let own = match value.get("mediaType") {
        Some(own) => Some(own.as_str().ok_or_else(|| Error::new("manifest: mediaType is no string"))?),
        None => None,
    };
    if value.get("schemaVersion").and_then(Value::as_u64) == Some(1) {
        return Err(Error::new("manifest: docker's schema 1 is not supported")
            .hint("the image must be pushed again by a present-day docker, podman or skopeo"));
    }
    let as_image = has("layers") || has("config") || has("fsLayers");
    if as_image == has("manifests") {
        return Err(Error::new(if as_image {
            "manifest: both an image (layers) and an index (manifests)"
        } else {
            "manifest: neither an image (layers) nor an index (manifests)"
        }));
    }
    let stated =
        if media::is_index(media_type) || media::is_manifest(media_type) { Some(media_type) } else { None };
    if let (Some(own), Some(stated)) = (own, stated) {
        if own != stated {
            return Err(Error::new(format!("manifest: its mediaType is {own:?}, announced was {stated:?}")));
        }
    }
    if let Some(known) = own.or(stated) {
        if media::is_index(known) == as_image || media::is_manifest(known) != as_image {
            return Err(Error::new(format!("manifest: its content is not what mediaType {known:?} says")));
        }
    }
    if !as_image {
        let index: Index = serde_json::from_value(value).context(|| "index")?;
        return Ok(Body::Index(index));
    }
    let manifest: Manifest = serde_json::from_value(value).context(|| "manifest")?;
    if manifest.layers.len() > MAX_LAYERS {
        let count = manifest.layers.len();
        return Err(Error::new(format!("manifest: {count} layers, at most {MAX_LAYERS} are allowed")));
    }
    Ok(Body::Manifest(Box::new(manifest)))
}

/// Follows an index, and indexes in it, to the image for `platform`.
///
/// `fetch` gets the verified bytes of a manifest; the result is the manifest's descriptor, bytes and content.
/// A manifest that stands in no index is taken as it is: only its configuration says its platform.
pub fn resolve(
    start: &Descriptor,
    platform: &Platform,
    fetch: &mut dyn FnMut(&Descriptor) -> Result<Vec<u8>, Error>,
) -> Result<(Descriptor, Vec<u8>, Manifest), Error> {
    walk(start, platform, fetch, MAX_NESTING)?
        .ok_or_else(|| Error::new(format!("no image for platform {platform} in the index {}", start.digest)))
}

type Found = Option<(Descriptor, Vec<u8>, Manifest)>;

fn walk(
    at: &Descriptor,
    platform: &Platform,
    fetch: &mut dyn FnMut(&Descriptor) -> Result<Vec<u8>, Error>,
    nesting: usize,
) -> Result<Found, Error> {
    let bytes = fetch(at)?;
    let index = match parse_body(&bytes, &at.media_type)? {
        Body::Manifest(manifest) => return Ok(Some((at.clone(), bytes, *manifest))),
        Body::Index(index) => index,
    };
    if nesting == 0 {
        return Err(Error::new(format!("indexes nested deeper than {MAX_NESTING}")));
    }
    let usable =
        |entry: &&Descriptor| media::is_manifest(&entry.media_type) || media::is_index(&entry.media_type);
    // The best match first; what states no platform comes last, since only looking inside would tell.
    let mut entries: Vec<(u8, &Descriptor)> = index
        .manifests
        .iter()
        .filter(usable)
        .filter_map(|entry| match &entry.platform {
            Some(offered) => Some((platform.accepts(offered), entry)).filter(|(score, _)| *score > 0),
            None => Some((1, entry)),
        })
        .collect();
    entries.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
    // One level down each entry costs a fetch: an index of a thousand indexes is no image.
    for (_, entry) in entries.into_iter().take(16) {
        if let Some(found) = walk(entry, platform, fetch, nesting - 1)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Digest;

    const HEX: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn refusal(text: &str, media_type: &str) -> String {
        parse_body(text.as_bytes(), media_type).unwrap_err().to_string()
    }

    #[test]
    fn refuses_what_is_two_things_or_none() {
        let config = format!(r#"{{"mediaType":"c","digest":"{HEX}","size":0}}"#);
        let both = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[],"manifests":[]}}"#);
        assert!(refusal(&both, media::OCI_MANIFEST).contains("both"));
        assert!(refusal("{}", "").contains("neither"));
        let image = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[]}}"#);
        assert!(parse_body(image.as_bytes(), media::OCI_MANIFEST).is_ok());
        assert!(parse_body(image.as_bytes(), "text/plain").is_ok());
        assert!(refusal(&image, media::OCI_INDEX).contains("not what mediaType"));
        let lying =
            image.replace("\"config\"", &format!("\"mediaType\":\"{}\",\"config\"", media::OCI_INDEX));
        assert!(refusal(&lying, media::OCI_MANIFEST).contains("announced"));
        assert!(refusal(r#"{"schemaVersion":1,"fsLayers":[]}"#, "").contains("schema 1"));
        let layers = vec![config.clone(); MAX_LAYERS + 1].join(",");
        let many = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layers}]}}"#);
        assert!(refusal(&many, "").contains("501 layers"));
        let escaping = image.replace(HEX, "sha256:../../etc/passwd");
        assert!(refusal(&escaping, "").contains("digest"));
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(refusal(&deep, "").contains("manifest"));
    }

    #[test]
    fn finds_the_platform_in_nested_indexes() {
        let store = std::cell::RefCell::new(std::collections::HashMap::new());
        let put = |media_type: &str, text: String| {
            let descriptor = Descriptor::new(media_type, Digest::of(text.as_bytes()), text.len() as u64);
            store.borrow_mut().insert(descriptor.digest.clone(), text.into_bytes());
            descriptor
        };
        let image = |name: &str, platform: Option<&str>| {
            let mut descriptor = put(
                media::OCI_MANIFEST,
                format!(
                    r#"{{"schemaVersion":2,"n":"{name}","config":{{"mediaType":"c","digest":"{HEX}","size":0}},"layers":[]}}"#
                ),
            );
            descriptor.platform = platform.map(|text| Platform::parse(text).unwrap());
            descriptor
        };
        let index = |entries: &[Descriptor]| {
            let entries = serde_json::to_string(entries).unwrap();
            put(media::OCI_INDEX, format!(r#"{{"schemaVersion":2,"manifests":{entries}}}"#))
        };
        let attestation = image("attestation", Some("unknown/unknown"));
        let inner = index(&[image("arm", Some("linux/arm/v6")), image("amd", Some("linux/amd64"))]);
        let outer = index(&[attestation, image("s390x", Some("linux/s390x")), inner]);
        let mut fetch = |at: &Descriptor| Ok(store.borrow()[&at.digest].clone());
        let mut name = |platform: &str| {
            resolve(&outer, &Platform::parse(platform).unwrap(), &mut fetch)
                .map(|(_, _, manifest)| manifest.other["n"].as_str().unwrap().to_owned())
        };
        assert_eq!(name("linux/amd64").unwrap(), "amd");
        assert_eq!(name("linux/arm/v7").unwrap(), "arm");
        assert_eq!(name("s390x").unwrap(), "s390x");
        assert!(name("riscv64").unwrap_err().to_string().contains("no image for platform linux/riscv64"));
    }
}
