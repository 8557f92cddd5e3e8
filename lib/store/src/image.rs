//! The image store: a standard OCI image layout (image-spec 1.1, image-layout.md) that skopeo and umoci read at any
//! moment, and the types of what lies in it.
//!
//! `images/oci-layout`, `images/index.json` and `images/blobs/sha256/<hex>` are the layout. An entry of `index.json` is one
//! name (annotation `org.opencontainers.image.ref.name`, the normalized name `docker.io/library/busybox:latest`) for
//! one image manifest, never for an index, so that every reader finds all the blobs it follows. An image without a
//! name is an entry without that annotation. `images/.wb/` holds what no reader of layouts looks at: locks and unfinished blobs.

mod blob;
mod digest;
mod layout;
mod lookup;
mod manifest;
mod platform;
mod reference;
mod types;

pub use blob::{BlobWriter, Copying, MAX_CONFIG_BYTES, MAX_MANIFEST_BYTES};
pub use digest::{Digest, Hasher};
pub use layout::{Alone, DigestLock, Hold, ImageStore};
pub use lookup::Image;
pub use manifest::{Body, MAX_LAYERS, media, parse_body, resolve};
pub use platform::Platform;
pub use reference::{Reference, familiar};
pub use types::{
    ContainerConfig, Descriptor, History, ImageConfig, Index, Manifest, REF_NAME, RootFs, SOURCE_DIGEST,
};
