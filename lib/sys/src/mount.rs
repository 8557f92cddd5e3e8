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
