//! Mounts: mount(2), umount2(2), pivot_root(2), and the calls on mount descriptors.

use crate::trace::{call, quoted};
use crate::{Errno, Result};
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

/// chroot(2): `path` becomes this process's root. What is mounted outside it stays mounted, and whoever may call
/// chroot(2) can get there.
pub fn chroot(path: &Path, why: &str) -> Result<()> {
    call(why, || format!("chroot({})", quoted(path)), || nix::unistd::chroot(path))
}

/// Whether something is mounted right at `path` (statx(2), `STATX_ATTR_MOUNT_ROOT`, Linux 5.8). A link at its end is
/// not followed; nothing there is an error.
pub fn is_mount_point(path: &Path) -> Result<bool> {
    use std::os::unix::ffi::OsStrExt;
    let c_path = std::ffi::CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)?;
    call(
        "whether something is mounted there",
        || format!("statx(AT_FDCWD, {}, AT_SYMLINK_NOFOLLOW|AT_NO_AUTOMOUNT, 0)", quoted(path)),
        || {
            let flags = nix::libc::AT_SYMLINK_NOFOLLOW | nix::libc::AT_NO_AUTOMOUNT;
            let mut status = std::mem::MaybeUninit::<nix::libc::statx>::zeroed();
            let (dir, at) = (nix::libc::AT_FDCWD, status.as_mut_ptr());
            // SAFETY: the path is a C string, `status` has room for one struct statx; both outlive the call.
            Errno::result(unsafe { nix::libc::statx(dir, c_path.as_ptr(), flags, 0, at) })?;
            // SAFETY: zeroed plain data is initialised, and the call has filled it.
            let status = unsafe { status.assume_init() };
            let bit = u64::try_from(nix::libc::STATX_ATTR_MOUNT_ROOT).map_err(|_| Errno::EOVERFLOW)?;
            Ok(((), status.stx_attributes & bit != 0))
        },
    )
    .map(|((), mounted)| mounted)
}
