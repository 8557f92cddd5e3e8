//! `tmpcopyup`: a tmpfs that starts with what lies at its destination.

use std::os::fd::AsFd;
use wb_doc::{Context, Error};

/// Copies the tree `from` (as it was before it was covered) into the mount `to`.
pub fn copy(from: impl AsFd, to: impl AsFd) -> Result<(), Error> {
    crate::copy::tree(from, to, None).context(|| "tmpcopyup")
}
