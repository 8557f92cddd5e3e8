//! File trees by descriptor: every name is one component below an open directory, and the last component is never
//! followed. Calls on file content are not traced; there are too many, and they teach nothing.

use crate::{Errno, Result};
use nix::dir::{Dir, Type};
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, OpenHow, ResolveFlag};
use nix::libc;
use nix::sys::stat::{FileStat, Mode, SFlag, UtimensatFlags};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, LinkatFlags, Uid, UnlinkatFlags};
use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

/// A time of a file: seconds since 1970 and nanoseconds.
pub type Time = (i64, u32);

/// How many directories deep [`remove`] keeps descriptors open.
const REMOVE_DEPTH: usize = 64;

/// Opens a directory given by path, for the calls below.
pub fn open_directory(path: &std::path::Path) -> Result<OwnedFd> {
    nix::fcntl::open(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
}

/// Opens the directory `name`; fails with `ENOTDIR` or `ELOOP` where it is anything else, a link too.
pub fn child_directory(parent: impl AsFd, name: &OsStr) -> Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    nix::fcntl::openat(parent, name, flags, Mode::empty())
}

/// Opens the directory `path` below `root`, links on the way and at its end resolved inside `root`.
pub fn directory_in_root(root: impl AsFd, path: &OsStr) -> Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    nix::fcntl::openat2(root, path, how)
}

/// As [`directory_in_root`], but the last component may be no link.
pub fn real_directory_in_root(root: impl AsFd, path: &OsStr) -> Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    nix::fcntl::openat2(root, path, how)
}

/// Makes a regular file that does not exist yet (`EEXIST`), open for writing.
pub fn create(parent: impl AsFd, name: &OsStr, mode: u32) -> Result<OwnedFd> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    nix::fcntl::openat(parent, name, flags, Mode::from_bits_truncate(mode))
}

/// Opens a file for reading; a fifo does not block, a link is refused with `ELOOP`.
pub fn open_file(parent: impl AsFd, name: &OsStr) -> Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    nix::fcntl::openat(parent, name, flags, Mode::empty())
}

/// Opens whatever `name` is as a mere handle (`O_PATH`), a link itself included.
pub fn open_path(parent: impl AsFd, name: &OsStr) -> Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    nix::fcntl::openat(parent, name, flags, Mode::empty())
}

/// Opens for reading what a mere handle (`O_PATH`) names: that very file, whatever its name means by now.
pub fn reopen(handle: impl AsFd) -> Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    nix::fcntl::open(magic(handle.as_fd()).as_c_str(), flags, Mode::empty())
}

/// Writes all of `content`.
pub fn write_all(fd: impl AsFd, mut content: &[u8]) -> Result<()> {
    while !content.is_empty() {
        match nix::unistd::write(&fd, content) {
            Ok(0) => return Err(Errno::EIO),
            Ok(n) => content = &content[n..],
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// mkdirat(2).
pub fn mkdir(parent: impl AsFd, name: &OsStr, mode: u32) -> Result<()> {
    nix::sys::stat::mkdirat(parent, name, Mode::from_bits_truncate(mode))
}

/// mknodat(2); `kind` is a type as in `st_mode`.
pub fn mknod(parent: impl AsFd, name: &OsStr, kind: SFlag, mode: u32, device: u64) -> Result<()> {
    nix::sys::stat::mknodat(parent, name, kind, Mode::from_bits_truncate(mode), device)
}

/// symlinkat(2).
pub fn symlink(target: &OsStr, parent: impl AsFd, name: &OsStr) -> Result<()> {
    nix::unistd::symlinkat(target, parent, name)
}

/// linkat(2) without following: a link to a link is made to the link itself.
pub fn link(from: impl AsFd, from_name: &OsStr, parent: impl AsFd, name: &OsStr) -> Result<()> {
    nix::unistd::linkat(from, from_name, parent, name, LinkatFlags::empty())
}

/// readlinkat(2).
pub fn read_link(parent: impl AsFd, name: &OsStr) -> Result<std::ffi::OsString> {
    nix::fcntl::readlinkat(parent, name)
}

/// unlinkat(2) of anything but a directory.
pub fn unlink(parent: impl AsFd, name: &OsStr) -> Result<()> {
    nix::unistd::unlinkat(parent, name, UnlinkatFlags::NoRemoveDir)
}

/// fstatat(2), of a link itself.
pub fn stat(parent: impl AsFd, name: &OsStr) -> Result<FileStat> {
    nix::sys::stat::fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW)
}

/// fstat(2).
pub fn stat_fd(fd: impl AsFd) -> Result<FileStat> {
    nix::sys::stat::fstat(fd)
}

/// The type bits of a mode.
pub fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

/// Whether this is overlayfs's whiteout: a character device 0:0.
pub fn is_whiteout(stat: &FileStat) -> bool {
    kind(stat) == SFlag::S_IFCHR && stat.st_rdev == 0
}

/// fchown(2).
pub fn chown_fd(fd: impl AsFd, uid: u32, gid: u32) -> Result<()> {
    nix::unistd::fchown(fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
}

/// fchownat(2), of a link itself.
pub fn chown(parent: impl AsFd, name: &OsStr, uid: u32, gid: u32) -> Result<()> {
    let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    nix::unistd::fchownat(parent, name, uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW)
}

/// fchmod(2).
pub fn chmod_fd(fd: impl AsFd, mode: u32) -> Result<()> {
    nix::sys::stat::fchmod(fd, Mode::from_bits_truncate(mode))
}

/// chmod(2) of what an `O_PATH` descriptor names, which fchmod(2) refuses.
pub fn chmod_path(fd: impl AsFd, mode: u32) -> Result<()> {
    let path = magic(fd.as_fd());
    nix::sys::stat::fchmodat(
        AT_FDCWD,
        path.as_c_str(),
        Mode::from_bits_truncate(mode),
        nix::sys::stat::FchmodatFlags::FollowSymlink,
    )
}

/// futimens(2): access and modification time both become `time`.
pub fn set_time_fd(fd: impl AsFd, time: Time) -> Result<()> {
    let time = TimeSpec::new(time.0, i64::from(time.1));
    nix::sys::stat::futimens(fd, &time, &time)
}

/// utimensat(2), of a link itself.
pub fn set_time(parent: impl AsFd, name: &OsStr, time: Time) -> Result<()> {
    let time = TimeSpec::new(time.0, i64::from(time.1));
    nix::sys::stat::utimensat(parent, name, &time, &time, UtimensatFlags::NoFollowSymlink)
}

/// fsetxattr(2).
pub fn set_xattr(fd: impl AsFd, name: &[u8], value: &[u8]) -> Result<()> {
    let name = CString::new(name).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the descriptor is borrowed for the call; name is NUL-terminated, value has the length given.
    let result = unsafe {
        libc::fsetxattr(fd.as_fd().as_raw_fd(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0)
    };
    Errno::result(result).map(drop)
}

/// fremovexattr(2).
pub fn remove_xattr(fd: impl AsFd, name: &str) -> Result<()> {
    let name = CString::new(name).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the descriptor is borrowed for the call; name is NUL-terminated.
    let result = unsafe { libc::fremovexattr(fd.as_fd().as_raw_fd(), name.as_ptr()) };
    Errno::result(result).map(drop)
}

/// The extended attributes of what `fd` names (an `O_PATH` descriptor too, but of no link), sorted by name.
pub fn xattrs(fd: impl AsFd) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let path = magic(fd.as_fd());
    let list = grow(|buffer| {
        // SAFETY: path is NUL-terminated, the buffer has the length given.
        unsafe { libc::listxattr(path.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) }
    });
    let list = match list {
        Err(Errno::ENOTSUP) => return Ok(Vec::new()),
        list => list?,
    };
    let mut all = Vec::new();
    for name in list.split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        match xattr_at(&path, name) {
            Ok(value) => all.push((name.to_vec(), value)),
            // Removed in between.
            Err(Errno::ENODATA) => {}
            Err(errno) => return Err(errno),
        }
    }
    all.sort();
    Ok(all)
}

/// One extended attribute of what `fd` names (an `O_PATH` descriptor too); `None` where it has none of that name.
pub fn xattr(fd: impl AsFd, name: &str) -> Result<Option<Vec<u8>>> {
    match xattr_at(&magic(fd.as_fd()), name.as_bytes()) {
        Ok(value) => Ok(Some(value)),
        Err(Errno::ENODATA | Errno::ENOTSUP) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// One extended attribute of what `path` names; `None` where it has none of that name.
pub fn xattr_of(path: &std::path::Path, name: &str) -> Result<Option<Vec<u8>>> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)?;
    match xattr_at(&path, name.as_bytes()) {
        Ok(value) => Ok(Some(value)),
        Err(Errno::ENODATA | Errno::ENOTSUP) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn xattr_at(path: &CString, name: &[u8]) -> Result<Vec<u8>> {
    let name = CString::new(name).map_err(|_| Errno::EINVAL)?;
    grow(|buffer| {
        // SAFETY: path and name are NUL-terminated, the buffer has the length given.
        unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) }
    })
}

/// Calls `get` with a larger and larger buffer until the answer fits (64 KiB is the kernel's own limit).
fn grow(get: impl Fn(&mut [u8]) -> isize) -> Result<Vec<u8>> {
    for size in [256, 64 << 10] {
        let mut buffer = vec![0; size];
        match Errno::result(get(&mut buffer)) {
            Ok(length) => {
                buffer.truncate(usize::try_from(length).map_err(|_| Errno::EIO)?);
                return Ok(buffer);
            }
            Err(Errno::ERANGE) => {}
            Err(errno) => return Err(errno),
        }
    }
    Err(Errno::ERANGE)
}

/// The path by which a descriptor's file is reached again, an `O_PATH` one's too.
fn magic(fd: BorrowedFd<'_>) -> CString {
    // A number holds no NUL.
    CString::new(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap_or_default()
}

/// The names in a directory with their types, sorted by bytes; `.` and `..` left out.
pub fn names(directory: impl AsFd) -> Result<Vec<(std::ffi::OsString, Option<Type>)>> {
    // A descriptor of its own: reading moves the offset.
    let own = child_directory(directory, OsStr::new("."))?;
    let mut all = Vec::new();
    for entry in Dir::from_fd(own)?.iter() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            all.push((OsStr::from_bytes(name).to_owned(), entry.file_type()));
        }
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(all)
}

/// Removes `name` and, if it is a directory, everything in it. Nothing there is success.
///
/// Links are removed, never followed. A mount below is never entered: `EXDEV`, or `EBUSY` at its edge. However deep
/// the tree is, the number of descriptors is bounded: what lies deeper is first moved up into `name` itself.
pub fn remove(parent: impl AsFd, name: &OsStr) -> Result<()> {
    match unlink(&parent, name) {
        Ok(()) | Err(Errno::ENOENT) => return Ok(()),
        // What unlink(2) says of a directory, on Linux and by POSIX.
        Err(Errno::EISDIR | Errno::EPERM) => {}
        Err(errno) => return Err(errno),
    }
    let mut top = Dir::from_fd(own_directory(&parent, name)?)?;
    let mut moved = 0;
    loop {
        let anchor = nix::fcntl::openat(&top, ".", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
        empty(&mut top, &anchor, 1, &mut moved)?;
        match nix::unistd::unlinkat(&parent, name, UnlinkatFlags::RemoveDir) {
            // Something was moved up, or the directory changed while it was read: once more.
            Err(Errno::ENOTEMPTY | Errno::EEXIST) => top = Dir::from_fd(own_directory(&parent, name)?)?,
            Err(Errno::ENOENT) => return Ok(()),
            other => return other,
        }
    }
}

/// Removes what is in `directory`; directories deeper than [`REMOVE_DEPTH`] are moved to `top`.
fn empty(directory: &mut Dir, top: &OwnedFd, depth: usize, moved: &mut u64) -> Result<()> {
    let own = nix::fcntl::openat(&*directory, ".", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
    for entry in directory.iter() {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." {
            continue;
        }
        if entry.file_type().is_none_or(|kind| kind != Type::Directory) {
            match unlink(&own, name) {
                Ok(()) | Err(Errno::ENOENT) => continue,
                Err(Errno::EISDIR | Errno::EPERM) => {}
                Err(errno) => return Err(errno),
            }
        }
        if depth >= REMOVE_DEPTH {
            *moved += 1;
            let new = format!(".removing.{}.{moved}", std::process::id());
            nix::fcntl::renameat(&own, name, top, new.as_str())?;
            continue;
        }
        let mut child = Dir::from_fd(own_directory(&own, name)?)?;
        empty(&mut child, top, depth + 1, moved)?;
        match nix::unistd::unlinkat(&own, name, UnlinkatFlags::RemoveDir) {
            // Not empty: changed while it was read, met again on the next pass.
            Ok(()) | Err(Errno::ENOENT | Errno::ENOTEMPTY | Errno::EEXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Opens the directory `path`, with no link and no other mount on the way (`ELOOP`, `EXDEV`).
pub fn own_directory(parent: impl AsFd, path: &OsStr) -> Result<OwnedFd> {
    own(parent, path, OFlag::O_RDONLY | OFlag::O_DIRECTORY)
}

/// Opens the file `path` for reading, with no link and no other mount on the way; a fifo does not block.
pub fn own_file(parent: impl AsFd, path: &OsStr) -> Result<OwnedFd> {
    own(parent, path, OFlag::O_RDONLY | OFlag::O_NONBLOCK)
}

/// Opens whatever `path` is as a mere handle (`O_PATH`), with no link before its end and no other mount on the way.
pub fn own_path(parent: impl AsFd, path: &OsStr) -> Result<OwnedFd> {
    own(parent, path, OFlag::O_PATH)
}

fn own(parent: impl AsFd, path: &OsStr, flags: OFlag) -> Result<OwnedFd> {
    let how = OpenHow::new().flags(flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC).resolve(
        ResolveFlag::RESOLVE_NO_XDEV | ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS,
    );
    match nix::fcntl::openat2(&parent, path, how) {
        // A link as the last component is refused too, although O_PATH|O_NOFOLLOW asks for the link itself.
        Err(Errno::ELOOP) if flags.contains(OFlag::O_PATH) => {
            let how = OpenHow::new()
                .flags(flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
                .resolve(ResolveFlag::RESOLVE_NO_XDEV | ResolveFlag::RESOLVE_BENEATH);
            nix::fcntl::openat2(&parent, path, how)
        }
        other => other,
    }
}

/// Reads up to a buffer's length; 0 is the end of the file.
pub fn read(fd: impl AsFd, buffer: &mut [u8]) -> Result<usize> {
    loop {
        match nix::unistd::read(&fd, buffer) {
            Err(Errno::EINTR) => {}
            other => return other,
        }
    }
}

/// renameat2(2) with `RENAME_NOREPLACE`: `EEXIST` where the new name is taken.
pub fn rename_new(parent: impl AsFd, from: &OsStr, to: &OsStr) -> Result<()> {
    crate::trace::call(
        "whole, or not there at all",
        || {
            let fd = parent.as_fd().as_raw_fd();
            let (from, to) = (crate::trace::quoted(from), crate::trace::quoted(to));
            format!("renameat2({fd}, {from}, {fd}, {to}, RENAME_NOREPLACE)")
        },
        || nix::fcntl::renameat2(&parent, from, &parent, to, nix::fcntl::RenameFlags::RENAME_NOREPLACE),
    )
}

/// renameat2(2) with `RENAME_EXCHANGE`: each of the two gets the other's name, at once.
pub fn exchange(parent: impl AsFd, one: &OsStr, other: &OsStr) -> Result<()> {
    crate::trace::call(
        "the new in place of the old, without a moment in between",
        || {
            let fd = parent.as_fd().as_raw_fd();
            let (one, other) = (crate::trace::quoted(one), crate::trace::quoted(other));
            format!("renameat2({fd}, {one}, {fd}, {other}, RENAME_EXCHANGE)")
        },
        || nix::fcntl::renameat2(&parent, one, &parent, other, nix::fcntl::RenameFlags::RENAME_EXCHANGE),
    )
}

/// flock(2), exclusive, on a directory; waits. It lasts as long as the descriptor.
pub fn lock(directory: impl AsFd) -> Result<()> {
    flock(directory.as_fd(), libc::LOCK_EX)
}

/// As [`lock`], but fails with `EWOULDBLOCK` where somebody holds it.
pub fn try_lock(directory: impl AsFd) -> Result<()> {
    flock(directory.as_fd(), libc::LOCK_EX | libc::LOCK_NB)
}

fn flock(fd: BorrowedFd<'_>, operation: i32) -> Result<()> {
    loop {
        // SAFETY: the descriptor is borrowed for the call; no memory is passed.
        match Errno::result(unsafe { libc::flock(fd.as_raw_fd(), operation) }) {
            Err(Errno::EINTR) => {}
            other => return other.map(drop),
        }
    }
}

/// umask(2): the mode given to open, mkdir and mknod is the mode made. Process-wide.
pub fn clear_umask() {
    nix::sys::stat::umask(Mode::empty());
}

/// Sets ext4's hint that the directories made in this one are unrelated trees (`chattr +T`, `FS_TOPDIR_FL`).
///
/// They then start in block groups of their own, where creating files is fast even after a mass delete. File
/// systems that do not know the flag refuse it (`ENOTTY`, `EOPNOTSUPP`).
pub fn set_topdir(directory: impl AsFd) -> Result<()> {
    const FS_TOPDIR_FL: libc::c_long = 0x0002_0000;
    let fd = directory.as_fd().as_raw_fd();
    let mut flags: libc::c_long = 0;
    // SAFETY: the kernel writes at most a long (in truth an int) to `flags`.
    Errno::result(unsafe { libc::ioctl(fd, libc::FS_IOC_GETFLAGS, &raw mut flags) })?;
    if flags & FS_TOPDIR_FL != 0 {
        return Ok(());
    }
    flags |= FS_TOPDIR_FL;
    // SAFETY: the kernel reads at most a long (in truth an int) from `flags`.
    Errno::result(unsafe { libc::ioctl(fd, libc::FS_IOC_SETFLAGS, &raw const flags) }).map(drop)
}

/// Makes a pipe hold up to a mebibyte, so that its two ends switch less often; anything but a pipe is left alone.
pub fn widen_pipe(fd: impl AsFd) {
    // Not a pipe, or over the user's share: only slower.
    nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_SETPIPE_SZ(1 << 20)).ok();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("wb-sys-tree-{name}-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        path
    }

    #[test]
    fn removes_a_tree_deeper_than_the_descriptor_limit_and_follows_no_link() {
        let base = scratch("deep");
        std::fs::write(base.join("kept"), "x").unwrap();
        let base_fd = open_directory(&base).unwrap();
        mkdir(&base_fd, OsStr::new("tree"), 0o755).unwrap();
        let mut fd = child_directory(&base_fd, OsStr::new("tree")).unwrap();
        symlink(base.join("kept"), base.join("tree/link")).unwrap();
        symlink(&base, base.join("tree/dirlink")).unwrap();
        for _ in 0..3000 {
            mkdir(&fd, OsStr::new("d"), 0o755).unwrap();
            drop(create(&fd, OsStr::new("f"), 0o644).unwrap());
            fd = child_directory(&fd, OsStr::new("d")).unwrap();
        }
        drop(fd);
        remove(&base_fd, OsStr::new("tree")).unwrap();
        remove(&base_fd, OsStr::new("tree")).unwrap();
        assert!(base.join("kept").exists() && !base.join("tree").exists());
        std::fs::remove_file(base.join("kept")).unwrap();
        std::fs::remove_dir(base).unwrap();
    }
}
