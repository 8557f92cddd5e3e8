//! The JSON objects of image-spec 1.1 (and docker's equal ones). Members not named here are kept for whoever rewrites.

use crate::image::{Digest, Platform};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use wb_doc::Error;

/// The annotation of an index entry that holds the image's name.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The annotation of an index entry that holds the digest its name had in the registry: that of the index the
/// manifest was chosen from, where there was one.
pub const SOURCE_DIGEST: &str = "io.whalebox.source.digest";

/// A reference to a blob (descriptor.md).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the blob is.
    pub media_type: String,
    /// The blob's digest.
    pub digest: Digest,
    /// The blob's size in bytes.
    pub size: u64,
    /// Where else it can be had; never followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub urls: Option<Vec<String>>,
    /// Free-form facts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    /// The platform the image is for, in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Other members.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Descriptor {
    /// A descriptor with nothing but the three members that every one has.
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest,
            size,
            urls: None,
            annotations: None,
            platform: None,
            other: Map::new(),
        }
    }

    /// The value of an annotation.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(key).map(String::as_str)
    }

    /// Sets an annotation; `None` removes it.
    pub fn annotate(&mut self, key: &str, value: Option<&str>) {
        let mut annotations = self.annotations.take().unwrap_or_default();
        match value {
            Some(value) => drop(annotations.insert(key.to_owned(), value.to_owned())),
            None => drop(annotations.remove(key)),
        }
        self.annotations = (!annotations.is_empty()).then_some(annotations);
    }

    /// Whether content of this digest and size is the blob.
    pub fn verify(&self, digest: &Digest, size: u64) -> Result<(), Error> {
        if size != self.size {
            return Err(Error::new(format!("blob {}: {size} bytes instead of {}", self.digest, self.size)));
        }
        if *digest != self.digest {
            return Err(Error::new(format!("blob {}: its content has digest {digest}", self.digest)));
        }
        Ok(())
    }

    /// The image's name, in an entry of the store's index.
    pub fn name(&self) -> Option<&str> {
        self.annotation(REF_NAME)
    }
}

/// An image index or docker manifest list (image-index.md).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// The index's own media type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// Manifests, or further indexes.
    #[serde(default)]
    pub manifests: Vec<Descriptor>,
    /// Other members.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Default for Index {
    fn default() -> Self {
        Self { schema_version: 2, media_type: None, manifests: Vec::new(), other: Map::new() }
    }
}

/// An image manifest (manifest.md).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// The manifest's own media type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The image's configuration.
    pub config: Descriptor,
    /// The layers, lowest first.
    pub layers: Vec<Descriptor>,
    /// Other members.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// An image configuration (config.md).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageConfig {
    /// When it was made, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Who made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// The processor, in Go's words.
    pub architecture: String,
    /// The processor's variant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// The operating system.
    pub os: String,
    /// How to run it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<ContainerConfig>,
    /// The layers' contents.
    pub rootfs: RootFs,
    /// How each layer came about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<Vec<History>>,
    /// Other members.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl ImageConfig {
    /// The platform the image says it is for.
    pub fn platform(&self) -> Platform {
        Platform {
            os: self.os.clone(),
            architecture: self.architecture.clone(),
            variant: self.variant.clone(),
            other: Map::new(),
        }
    }
}

/// `rootfs` of an image configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The digests of the uncompressed layers, lowest first.
    pub diff_ids: Vec<Digest>,
}

impl Default for RootFs {
    fn default() -> Self {
        Self { kind: "layers".into(), diff_ids: Vec::new() }
    }
}

/// One entry of `history`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// When, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// By which command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// By whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// A message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Whether the step made no layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub empty_layer: Option<bool>,
    /// Other members.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// `config` of an image configuration: what a container made from it runs. Each member may be null or absent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerConfig {
    /// `USER[:GROUP]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// `PORT/PROTOCOL` keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exposed_ports: Option<Map<String, Value>>,
    /// `NAME=value` each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<Vec<String>>,
    /// The program, with its first arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// The default arguments, or the program where there is no entrypoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// Paths that hold data of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volumes: Option<Map<String, Value>>,
    /// The working directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// Labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// The signal that asks it to stop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// docker's health check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Value>,
    /// Other members.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}
