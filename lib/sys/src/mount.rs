//! Mounts: mount(2), umount2(2), pivot_root(2), and the calls on mount descriptors.

use crate::Result;
use crate::trace::{call, quoted};
use nix::mount::{MntFlags, MsFlags};
use std::path::Path;

/// mount(2).
pub fn mount(
    source: Option<&str>,
    target: &Path,
    fstype: Option<&str>,
    flags: MsFlags,
    data: Option<&str>,
    why: &str,
) -> Result<()> {
    let shown = |text: Option<&str>| text.map_or("NULL".into(), quoted);
    call(
        why,
        || {
            let names = crate::trace::flags(flags.iter_names().map(|(name, _)| name));
            format!(
                "mount({}, {}, {}, {names}, {})",
                shown(source),
                quoted(target),
                shown(fstype),
                shown(data)
            )
        },
        || nix::mount::mount(source, target, fstype, flags, data),
    )
}

/// umount2(2).
pub fn umount(target: &Path, flags: MntFlags, why: &str) -> Result<()> {
    call(
        why,
        || {
            let names = crate::trace::flags(flags.iter_names().map(|(name, _)| name));
            format!("umount2({}, {names})", quoted(target))
        },
        || nix::mount::umount2(target, flags),
    )
}

/// pivot_root(2): `new_root` becomes this mount namespace's root, the old root moves to `put_old`.
///
/// `EINVAL` where `new_root` is no mount point, or its parent mount or itself is shared. With `"."` for both, the
/// old root lies on top of the new one and is gone after `umount(".", MNT_DETACH)`.
pub fn pivot_root(new_root: &Path, put_old: &Path, why: &str) -> Result<()> {
    call(
        why,
        || format!("pivot_root({}, {})", quoted(new_root), quoted(put_old)),
        || nix::unistd::pivot_root(new_root, put_old),
    )
}
