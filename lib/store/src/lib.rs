//! Where things lie on disk, and how they are changed safely.
//!
//! Everything is below two directories: `WB_ROOT` (`/var/lib/wb`) for what a reboot keeps and `WB_RUN` (`/run/wb`)
//! for what it forgets; an ordinary user's lie in that user's own directories. Two different pairs never disturb each other.
#![deny(missing_docs)]

pub mod atomic;
pub mod cni;
pub mod image;
pub mod kept;
pub mod layer;
pub mod leftover;
pub mod lock;
pub mod membership;
pub mod near;
pub mod network;
pub mod passwd;
mod place;
pub mod record;
pub mod tree;
mod user;
mod words;

pub use place::Place;
