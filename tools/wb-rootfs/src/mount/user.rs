//! `process.user.username` becomes numbers, looked up in the container's own files.

use std::os::fd::AsFd;
use wb_doc::{Document, Error, oci};
use wb_store::passwd;

/// Fills `uid`, `gid`, `additionalGids` and `HOME`.
///
/// A document that names no user and comes from an image runs as root, with root's groups, as docker has it; one
/// that gives numbers itself is left alone.
pub fn resolve(root: impl AsFd, document: &mut Document) -> Result<(), Error> {
    if document.at("/process").is_none() {
        return Ok(());
    }
    let user: oci::User = document.read("/process/user")?.unwrap_or_default();
    let named = user.username.as_deref().filter(|name| !name.is_empty());
    let of_image = document.at("/wb/image").is_some();
    let word = match named {
        Some(name) => name,
        None if of_image && (user.uid, user.gid) == (0, 0) && user.additional_gids.is_empty() => "0",
        None => return Ok(()),
    };
    let identity = passwd::resolve(root, word)?;
    document.set("/process/user/uid", identity.uid)?;
    document.set("/process/user/gid", identity.gid)?;
    let mut groups = identity.additional_gids;
    // --group-add; a second run finds its own groups again.
    groups
        .extend(user.additional_gids.iter().copied().filter(|gid| !groups.contains(gid)).collect::<Vec<_>>());
    document.set("/process/user/additionalGids", groups)?;
    let env: Vec<String> = document.read("/process/env")?.unwrap_or_default();
    if !env.iter().any(|variable| variable.starts_with("HOME=")) {
        document.push("/process/env", format!("HOME={}", identity.home))?;
    }
    Ok(())
}
