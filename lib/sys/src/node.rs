//! Directory entries made and looked at below a directory descriptor, never through a link.

use crate::trace::{call, quoted};
use crate::{Errno, Result};
use nix::fcntl::{AtFlags, OFlag};
use nix::libc::dev_t;
use nix::sys::stat::{FileStat, Mode, SFlag};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// mkdirat(2). The mode is masked by the umask.
pub fn mkdir(dir: impl AsFd, name: &Path, mode: u32, why: &str) -> Result<()> {
    call(
        why,
        || format!("mkdirat({}, {}, 0{mode:o})", number(&dir), quoted(name)),
        || nix::sys::stat::mkdirat(&dir, name, Mode::from_bits_truncate(mode)),
    )
}

/// Kinds of files by name: numbers, not sets of bits.
const KINDS: [(SFlag, &str); 6] = [
    (SFlag::S_IFREG, "S_IFREG"),
    (SFlag::S_IFCHR, "S_IFCHR"),
    (SFlag::S_IFBLK, "S_IFBLK"),
    (SFlag::S_IFIFO, "S_IFIFO"),
    (SFlag::S_IFSOCK, "S_IFSOCK"),
    (SFlag::S_IFDIR, "S_IFDIR"),
];

/// mknodat(2). The mode is masked by the umask.
pub fn mknod(
    dir: impl AsFd,
    name: &Path,
    kind: SFlag,
    mode: u32,
    (major, minor): (u32, u32),
    why: &str,
) -> Result<()> {
    call(
        why,
        || {
            let kind_name = KINDS.iter().find(|(one, _)| *one == kind).map_or("0", |(_, name)| name);
            format!(
                "mknodat({}, {}, {kind_name}|0{mode:o}, makedev({major:#x}, {minor:#x}))",
                number(&dir),
                quoted(name)
            )
        },
        || {
            let device = nix::sys::stat::makedev(major.into(), minor.into());
            nix::sys::stat::mknodat(&dir, name, kind, Mode::from_bits_truncate(mode), device)
        },
    )
}

/// symlinkat(2).
pub fn symlink(target: &Path, dir: impl AsFd, name: &Path, why: &str) -> Result<()> {
    call(
        why,
        || format!("symlinkat({}, {}, {})", quoted(target), number(&dir), quoted(name)),
        || nix::unistd::symlinkat(target, &dir, name),
    )
}

/// openat(2) of the entry `name` itself with `O_NOFOLLOW`; `name` should be a single component.
pub fn open(dir: impl AsFd, name: &Path, flags: OFlag, mode: u32, why: &str) -> Result<OwnedFd> {
    let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    call(
        why,
        || {
            let mode = if flags.contains(OFlag::O_CREAT) { format!(", 0{mode:o}") } else { String::new() };
            format!("openat({}, {}, {}{mode})", number(&dir), quoted(name), crate::file::shown_flags(flags))
        },
        || nix::fcntl::openat(&dir, name, flags, Mode::from_bits_truncate(mode)),
    )
}

/// readlinkat(2) of the link that `link` is a path descriptor (`O_PATH|O_NOFOLLOW`) of.
pub fn readlink(link: impl AsFd) -> Result<PathBuf> {
    nix::fcntl::readlinkat(&link, "").map(PathBuf::from)
}

/// unlinkat(2); with `directory`, of an empty directory.
pub fn unlink(dir: impl AsFd, name: &Path, directory: bool, why: &str) -> Result<()> {
    use nix::unistd::UnlinkatFlags;
    let (flags, shown) = if directory {
        (UnlinkatFlags::RemoveDir, "AT_REMOVEDIR")
    } else {
        (UnlinkatFlags::NoRemoveDir, "0")
    };
    call(
        why,
        || format!("unlinkat({}, {}, {shown})", number(&dir), quoted(name)),
        || nix::unistd::unlinkat(&dir, name, flags),
    )
}

/// fstat(2).
pub fn status(fd: impl AsFd) -> Result<FileStat> {
    nix::sys::stat::fstat(fd)
}

/// fstatat(2) of the entry itself, a link included.
pub fn status_at(dir: impl AsFd, name: &Path) -> Result<FileStat> {
    nix::sys::stat::fstatat(&dir, name, AtFlags::AT_SYMLINK_NOFOLLOW)
}

/// The kind of a file: directory, regular file, link, device…
pub fn kind(status: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(status.st_mode & SFlag::S_IFMT.bits())
}

/// Major and minor number of a device node.
pub fn device(status: &FileStat) -> (u64, u64) {
    let device: dev_t = status.st_rdev;
    (nix::sys::stat::major(device), nix::sys::stat::minor(device))
}

/// The type of the file system a descriptor lies on, the `f_type` of fstatfs(2).
pub fn filesystem(fd: impl AsFd) -> Result<nix::sys::statfs::FsType> {
    nix::sys::statfs::fstatfs(fd).map(|stat| stat.filesystem_type())
}

/// chmod(2) of what a path descriptor (`O_PATH`) refers to, by its link in `/proc/self/fd`.
pub fn chmod(fd: impl AsFd, mode: u32, why: &str) -> Result<()> {
    let path = format!("/proc/self/fd/{}", number(&fd));
    call(
        why,
        || format!("fchmodat(AT_FDCWD, {path:?}, 0{mode:o})"),
        || {
            let flags = nix::sys::stat::FchmodatFlags::FollowSymlink;
            nix::sys::stat::fchmodat(
                nix::fcntl::AT_FDCWD,
                path.as_str(),
                Mode::from_bits_truncate(mode),
                flags,
            )
        },
    )
}

/// fchownat(2) with `AT_EMPTY_PATH`: the owner of exactly what the descriptor refers to.
pub fn chown(fd: impl AsFd, uid: Option<u32>, gid: Option<u32>, why: &str) -> Result<()> {
    let shown = |id: Option<u32>| id.map_or("-1".into(), |id| id.to_string());
    call(
        why,
        || format!("fchownat({}, \"\", {}, {}, AT_EMPTY_PATH)", number(&fd), shown(uid), shown(gid)),
        || {
            let (uid, gid) = (uid.map(nix::unistd::Uid::from_raw), gid.map(nix::unistd::Gid::from_raw));
            nix::unistd::fchownat(&fd, "", uid, gid, AtFlags::AT_EMPTY_PATH)
        },
    )
}

fn number(fd: impl AsFd) -> i32 {
    fd.as_fd().as_raw_fd()
}

/// `EEXIST` is no failure for what only has to be there.
pub fn allow_existing(result: Result<()>) -> Result<()> {
    match result {
        Err(Errno::EEXIST) => Ok(()),
        other => other,
    }
}
