//! Where bridges and rules are made: in the host's network namespace, or in the one kept for an ordinary user
//! (`wb-unshare keep`), which stands for it.

use nix::sched::CloneFlags;
use std::sync::OnceLock;
use wb_doc::{Context, Error};
use wb_store::kept;
use wb_sys::namespace;

/// Set once this program has left the host's network namespace: an ordinary user cannot go back.
static INSIDE: OnceLock<()> = OnceLock::new();

/// Whether bridges are in a namespace kept for the user: what comes from outside does not reach them by itself.
pub fn is_kept() -> bool {
    kept::network().is_some()
}

/// Whether what is done from here on cannot be seen outside.
pub fn is_inside() -> bool {
    INSIDE.get().is_some()
}

/// Goes into the network namespace kept for the user, where there is one; being there is fine.
pub fn enter() -> Result<(), Error> {
    let Some(path) = kept::network().filter(|_| !is_inside()) else { return Ok(()) };
    let what = || format!("the network namespace kept for the user, {}", path.display());
    let network = namespace::open(&path).context(what)?;
    namespace::setns(&network, CloneFlags::CLONE_NEWNET, "here the user may make links and rules")
        .context(what)?;
    INSIDE.get_or_init(|| ());
    Ok(())
}
