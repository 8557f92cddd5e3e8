//! Files as far as the kernel's own interfaces are files: control files, paths resolved under a root.

use crate::trace::{call, quoted};
use crate::{Errno, Result};
use nix::fcntl::{OFlag, OpenHow, ResolveFlag};
use nix::sys::stat::Mode;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

/// Writes `content` to a control file in one write(2), as cgroupfs, procfs and sysfs want it.
pub fn write_control(path: &Path, content: &str, why: &str) -> Result<()> {
    call(
        why,
        || format!("write({}, {})", quoted(path), quoted(content)),
        || {
            let fd = nix::fcntl::open(path, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?;
            nix::unistd::write(fd, content.as_bytes())
        },
    )
    .map(drop)
}

/// Opens `path` below `root`, every link and `..` on the way resolved inside it (openat2(2), `RESOLVE_IN_ROOT`).
///
/// Magic links (`/proc/*/fd/*`) are refused with `ELOOP`.
pub fn open_in_root(root: impl AsFd, path: &Path, flags: OFlag, mode: Mode) -> Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC)
        .mode(mode)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    call(
        "a path that stays inside the root",
        || {
            let names = shown_flags(flags | OFlag::O_CLOEXEC);
            format!(
                "openat2({}, {}, {{flags={names}, resolve=RESOLVE_NO_MAGICLINKS|RESOLVE_IN_ROOT}}, 24)",
                root.as_fd().as_raw_fd(),
                quoted(path)
            )
        },
        || nix::fcntl::openat2(&root, path, how),
    )
}

/// syncfs(2): all of the file system that `file` is on.
pub fn syncfs(file: impl AsFd, why: &str) -> Result<()> {
    call(why, || format!("syncfs({})", file.as_fd().as_raw_fd()), || nix::unistd::syncfs(&file))
}

/// mkdir(2) of one directory; an existing one is `EEXIST`.
pub fn mkdir(path: &Path, mode: u32, why: &str) -> Result<()> {
    call(
        why,
        || format!("mkdir({}, 0{mode:o})", quoted(path)),
        || nix::unistd::mkdir(path, Mode::from_bits_truncate(mode)),
    )
}

/// rmdir(2).
pub fn rmdir(path: &Path, why: &str) -> Result<()> {
    call(
        why,
        || format!("rmdir({})", quoted(path)),
        || {
            std::fs::remove_dir(path)
                .map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
        },
    )
}

/// Flags of open(2) as strace shows them: the access mode first, which has no bit of its own when it is reading.
pub(crate) fn shown_flags(flags: OFlag) -> String {
    let reading = (flags & OFlag::O_ACCMODE).is_empty().then_some("O_RDONLY");
    // The same bit has two names.
    let usual = |name| if name == "O_NDELAY" { "O_NONBLOCK" } else { name };
    crate::trace::flags(reading.into_iter().chain(flags.iter_names().map(|(name, _)| usual(name))))
}
