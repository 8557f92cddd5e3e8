//! Speaking to image registries (OCI distribution-spec 1.1) as they deserve: nothing they say is believed, passwords
//! go to nobody else, and what breaks goes on where it broke.
#![deny(missing_docs)]

mod access;
mod auth;
mod blob;
mod certs;
mod client;
pub mod credentials;
mod guard;
pub mod progress;
mod registry;
mod retry;
mod tls;
mod upload;
mod url;

pub use access::Access;
pub use auth::Login;
pub use registry::{Answer, Content, Registry, check_login, scope};
pub use upload::{Sent, Upload};
pub use url::Url;
