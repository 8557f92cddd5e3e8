//! Mounts as descriptors (Linux 5.2): made and changed while nobody can see them, then attached in one step.
//!
//! fsopen → fsconfig… → fsmount makes a mount of a new file system; open_tree with `OPEN_TREE_CLONE` a bind mount;
//! mount_setattr changes it; move_mount puts it onto a directory or file that is itself a descriptor, so that no
//! path is resolved a second time. The libraries have no wrappers for these calls yet.

use crate::trace::{call, flags as flag_list, quoted};
use crate::{Errno, Result};
use bitflags::bitflags;
use nix::libc::{AT_EMPTY_PATH, AT_FDCWD, AT_RECURSIVE, SYS_fsconfig, SYS_fsmount, SYS_fsopen};
use nix::libc::{SYS_mount_setattr, SYS_move_mount, SYS_open_tree, c_long, syscall};
use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const FSOPEN_CLOEXEC: u32 = 1;
const FSMOUNT_CLOEXEC: u32 = 1;
const OPEN_TREE_CLONE: u32 = 1;
const OPEN_TREE_CLOEXEC: u32 = nix::libc::O_CLOEXEC.unsigned_abs();
const MOVE_MOUNT_F_EMPTY_PATH: u32 = 0x4;
const MOVE_MOUNT_T_EMPTY_PATH: u32 = 0x40;
const FSCONFIG_SET_FLAG: u32 = 0;
const FSCONFIG_SET_STRING: u32 = 1;
const FSCONFIG_CMD_CREATE: u32 = 6;

bitflags! {
    /// What a mount allows (mount_setattr(2)).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct Attributes: u64 {
        /// Read-only.
        const MOUNT_ATTR_RDONLY = 0x1;
        /// No set-user-ID, no file capabilities.
        const MOUNT_ATTR_NOSUID = 0x2;
        /// No devices.
        const MOUNT_ATTR_NODEV = 0x4;
        /// No programs.
        const MOUNT_ATTR_NOEXEC = 0x8;
        /// Access times are not kept. With neither this nor `STRICTATIME`: relatime.
        const MOUNT_ATTR_NOATIME = 0x10;
        /// Access times are always kept.
        const MOUNT_ATTR_STRICTATIME = 0x20;
        /// No access times of directories.
        const MOUNT_ATTR_NODIRATIME = 0x80;
        /// Ids are shown through a user namespace's maps.
        const MOUNT_ATTR_IDMAP = 0x0010_0000;
        /// Symbolic links are not followed.
        const MOUNT_ATTR_NOSYMFOLLOW = 0x0020_0000;
    }
}

/// The bits that hold one of three ways to keep access times: to set one, all of them are cleared.
pub const ATIME_BITS: Attributes = Attributes::from_bits_retain(0x70);

/// How mount events travel (mount_namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// Neither sent nor received.
    Private,
    /// Received.
    Slave,
    /// Sent and received.
    Shared,
    /// Private, and not to be bind mounted.
    Unbindable,
}

impl Propagation {
    /// The flag of mount(2) and mount_setattr(2).
    pub fn flag(self) -> nix::mount::MsFlags {
        use nix::mount::MsFlags;
        match self {
            Self::Private => MsFlags::MS_PRIVATE,
            Self::Slave => MsFlags::MS_SLAVE,
            Self::Shared => MsFlags::MS_SHARED,
            Self::Unbindable => MsFlags::MS_UNBINDABLE,
        }
    }
}

/// A change of a mount, or of a tree of mounts (mount_setattr(2)).
#[derive(Debug, Clone, Copy, Default)]
pub struct Change<'a> {
    /// To be set. Where an access time mode is set, the others are cleared by themselves.
    pub set: Attributes,
    /// To be cleared.
    pub clear: Attributes,
    /// To be given to the mounts.
    pub propagation: Option<Propagation>,
    /// The user namespace whose maps ids are shown through; only while the mount is detached.
    pub userns: Option<BorrowedFd<'a>>,
    /// The mounts below as well.
    pub recursive: bool,
}

/// `struct mount_attr` of linux/mount.h.
#[repr(C)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

fn c_string(text: impl AsRef<OsStr>) -> Result<CString> {
    CString::new(text.as_ref().as_bytes()).map_err(|_| Errno::EINVAL)
}

fn new_fd(result: c_long) -> Result<OwnedFd> {
    let fd = i32::try_from(Errno::result(result)?).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has just made this descriptor for the caller; nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// fsopen(2): a file system to be configured. `ENODEV` where the kernel does not know the type.
pub fn fsopen(fstype: &str, why: &str) -> Result<OwnedFd> {
    let name = c_string(fstype)?;
    call(
        why,
        || format!("fsopen({}, FSOPEN_CLOEXEC)", quoted(fstype)),
        || {
            // SAFETY: `name` is a C string that outlives the call.
            new_fd(unsafe { syscall(SYS_fsopen, name.as_ptr(), FSOPEN_CLOEXEC) })
        },
    )
}

/// fsconfig(2), `FSCONFIG_SET_STRING`. A value is at most 255 bytes long.
pub fn fsconfig_string(fs: impl AsFd, key: &str, value: impl AsRef<OsStr>, why: &str) -> Result<()> {
    let fd = fs.as_fd().as_raw_fd();
    let (c_key, c_value) = (c_string(key)?, c_string(value.as_ref())?);
    call(
        why,
        || format!("fsconfig({fd}, FSCONFIG_SET_STRING, {}, {}, 0)", quoted(key), quoted(value.as_ref())),
        || {
            let (key, value) = (c_key.as_ptr(), c_value.as_ptr());
            // SAFETY: both are C strings that outlive the call.
            Errno::result(unsafe { syscall(SYS_fsconfig, fd, FSCONFIG_SET_STRING, key, value, 0) }).map(drop)
        },
    )
}

/// fsconfig(2), `FSCONFIG_SET_FLAG`.
pub fn fsconfig_flag(fs: impl AsFd, key: &str, why: &str) -> Result<()> {
    let fd = fs.as_fd().as_raw_fd();
    let c_key = c_string(key)?;
    call(
        why,
        || format!("fsconfig({fd}, FSCONFIG_SET_FLAG, {}, NULL, 0)", quoted(key)),
        || {
            let null = std::ptr::null::<u8>();
            // SAFETY: the key is a C string that outlives the call; a flag takes no value.
            Errno::result(unsafe { syscall(SYS_fsconfig, fd, FSCONFIG_SET_FLAG, c_key.as_ptr(), null, 0) })
                .map(drop)
        },
    )
}

/// fsconfig(2), `FSCONFIG_CMD_CREATE`: the file system comes to be.
pub fn fsconfig_create(fs: impl AsFd, why: &str) -> Result<()> {
    let fd = fs.as_fd().as_raw_fd();
    call(
        why,
        || format!("fsconfig({fd}, FSCONFIG_CMD_CREATE, NULL, NULL, 0)"),
        || {
            let null = std::ptr::null::<u8>();
            // SAFETY: the command takes neither key nor value.
            Errno::result(unsafe { syscall(SYS_fsconfig, fd, FSCONFIG_CMD_CREATE, null, null, 0) }).map(drop)
        },
    )
}

/// What a configured file system's log says about its last failure, without the leading `e `.
pub fn fs_message(fs: impl AsFd) -> Option<String> {
    let mut message = [0; 512];
    let mut last = None;
    // The log is a queue of lines; the last error is the cause. It ends with ENODATA.
    while let Ok(length) = nix::unistd::read(&fs, &mut message) {
        let line = String::from_utf8_lossy(&message[..length]).trim_end().to_owned();
        match line.strip_prefix("e ") {
            Some(text) => last = Some(text.to_owned()),
            None if length == 0 => break,
            None => {}
        }
    }
    last
}

/// fsmount(2): a detached mount of a file system that has been created.
pub fn fsmount(fs: impl AsFd, attributes: Attributes, why: &str) -> Result<OwnedFd> {
    let fd = fs.as_fd().as_raw_fd();
    let bits = u32::try_from(attributes.bits()).map_err(|_| Errno::EINVAL)?;
    call(
        why,
        || {
            let names = flag_list(attributes.iter_names().map(|(name, _)| name));
            format!("fsmount({fd}, FSMOUNT_CLOEXEC, {names})")
        },
        || {
            // SAFETY: no memory is passed.
            new_fd(unsafe { syscall(SYS_fsmount, fd, FSMOUNT_CLOEXEC, bits) })
        },
    )
}

/// open_tree(2) with `OPEN_TREE_CLONE`: a detached bind mount of the file or directory at `path` in this mount
/// namespace, with the mounts below it where `recursive`.
pub fn clone_path(path: &Path, recursive: bool, why: &str) -> Result<OwnedFd> {
    open_tree(AT_FDCWD, path, recursive, 0, why)
}

/// As [`clone_path`], of what the descriptor refers to. `EINVAL` where that is mounted in another namespace.
pub fn clone_fd(fd: impl AsFd, recursive: bool, why: &str) -> Result<OwnedFd> {
    open_tree(fd.as_fd().as_raw_fd(), Path::new(""), recursive, AT_EMPTY_PATH.unsigned_abs(), why)
}

fn open_tree(dir: i32, path: &Path, recursive: bool, at_flags: u32, why: &str) -> Result<OwnedFd> {
    let c_path = c_string(path)?;
    let recursive_bit = if recursive { AT_RECURSIVE.unsigned_abs() } else { 0 };
    let bits = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | at_flags | recursive_bit;
    call(
        why,
        || {
            let mut names = vec!["OPEN_TREE_CLONE", "OPEN_TREE_CLOEXEC"];
            names.extend((at_flags != 0).then_some("AT_EMPTY_PATH"));
            names.extend(recursive.then_some("AT_RECURSIVE"));
            format!("open_tree({}, {}, {})", shown_dir(dir), quoted(path), flag_list(names))
        },
        || {
            // SAFETY: the path is a C string that outlives the call.
            new_fd(unsafe { syscall(SYS_open_tree, dir, c_path.as_ptr(), bits) })
        },
    )
}

/// move_mount(2): attaches a detached mount on the directory or file behind `target`.
pub fn attach(mount: impl AsFd, target: impl AsFd, why: &str) -> Result<()> {
    let (from, to) = (mount.as_fd().as_raw_fd(), target.as_fd().as_raw_fd());
    call(
        why,
        || format!("move_mount({from}, \"\", {to}, \"\", MOVE_MOUNT_F_EMPTY_PATH|MOVE_MOUNT_T_EMPTY_PATH)"),
        || {
            let flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
            // SAFETY: the two empty paths are static C strings.
            let result = unsafe { syscall(SYS_move_mount, from, c"".as_ptr(), to, c"".as_ptr(), flags) };
            Errno::result(result).map(drop)
        },
    )
}

/// mount_setattr(2) on the mount behind `mount`.
pub fn set_attributes(mount: impl AsFd, change: Change<'_>, why: &str) -> Result<()> {
    let fd = mount.as_fd().as_raw_fd();
    let (mut set, mut clear) = (change.set, change.clear);
    if set.intersects(ATIME_BITS) || clear.intersects(ATIME_BITS) {
        clear |= ATIME_BITS;
    }
    if change.userns.is_some() {
        set |= Attributes::MOUNT_ATTR_IDMAP;
    }
    let attr = MountAttr {
        attr_set: set.bits(),
        attr_clr: clear.bits(),
        // The propagation flags are small positive numbers.
        propagation: change.propagation.map_or(0, |kind| kind.flag().bits()),
        userns_fd: change.userns.map_or(0, |fd| u64::from(fd.as_raw_fd().unsigned_abs())),
    };
    let flags = AT_EMPTY_PATH | if change.recursive { AT_RECURSIVE } else { 0 };
    call(
        why,
        || {
            let names = |bits: Attributes| flag_list(bits.iter_names().map(|(name, _)| name));
            let kind = change
                .propagation
                .map(|kind| kind.flag().iter_names().map(|(name, _)| name).collect::<Vec<_>>().join("|"));
            format!(
                "mount_setattr({fd}, \"\", {}, {{attr_set={}, attr_clr={}, propagation={}, userns_fd={}}}, {})",
                if change.recursive { "AT_EMPTY_PATH|AT_RECURSIVE" } else { "AT_EMPTY_PATH" },
                names(set),
                names(clear),
                kind.as_deref().unwrap_or("0"),
                attr.userns_fd,
                size_of::<MountAttr>(),
            )
        },
        || {
            let (path, attr) = (c"".as_ptr(), &raw const attr);
            // SAFETY: `attr` is a `struct mount_attr` of the size given, alive during the call.
            let result = unsafe { syscall(SYS_mount_setattr, fd, path, flags, attr, size_of::<MountAttr>()) };
            Errno::result(result).map(drop)
        },
    )
}

fn shown_dir(dir: i32) -> String {
    if dir == AT_FDCWD { "AT_FDCWD".into() } else { dir.to_string() }
}
