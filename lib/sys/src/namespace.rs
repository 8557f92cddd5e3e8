//! Namespaces: unshare(2), setns(2), clone3(2), and the one table of their kinds.

use crate::trace::{call, quoted};
use crate::{Errno, Result};
use nix::fcntl::OFlag;
use nix::sched::CloneFlags;
use nix::sys::stat::Mode;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

/// One kind of namespace, under each of the names it goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// The OCI runtime-spec's word in `linux.namespaces`.
    pub oci: &'static str,
    /// The file below `/proc/PID/ns`.
    pub proc: &'static str,
    /// The flag of clone(2), unshare(2) and setns(2).
    pub flag: CloneFlags,
    /// The flag as the kernel spells it.
    pub flag_name: &'static str,
}

/// CLONE_NEWTIME (time_namespaces(7)); nix has no name for it.
pub const CLONE_NEWTIME: CloneFlags = CloneFlags::from_bits_retain(nix::libc::CLONE_NEWTIME);

/// Every kind, in the order in which a process joins them: user first, since it grants the right to the rest;
/// mount and pid last, since they change what `/proc` shows.
pub const KINDS: [Kind; 8] = [
    Kind { oci: "user", proc: "user", flag: CloneFlags::CLONE_NEWUSER, flag_name: "CLONE_NEWUSER" },
    Kind { oci: "cgroup", proc: "cgroup", flag: CloneFlags::CLONE_NEWCGROUP, flag_name: "CLONE_NEWCGROUP" },
    Kind { oci: "ipc", proc: "ipc", flag: CloneFlags::CLONE_NEWIPC, flag_name: "CLONE_NEWIPC" },
    Kind { oci: "uts", proc: "uts", flag: CloneFlags::CLONE_NEWUTS, flag_name: "CLONE_NEWUTS" },
    Kind { oci: "network", proc: "net", flag: CloneFlags::CLONE_NEWNET, flag_name: "CLONE_NEWNET" },
    Kind { oci: "time", proc: "time", flag: CLONE_NEWTIME, flag_name: "CLONE_NEWTIME" },
    Kind { oci: "pid", proc: "pid", flag: CloneFlags::CLONE_NEWPID, flag_name: "CLONE_NEWPID" },
    Kind { oci: "mount", proc: "mnt", flag: CloneFlags::CLONE_NEWNS, flag_name: "CLONE_NEWNS" },
];

/// The kind the runtime-spec calls `oci`.
pub fn kind(oci: &str) -> Option<Kind> {
    KINDS.into_iter().find(|kind| kind.oci == oci)
}

/// The flags' names joined by `|`.
pub fn flag_names(flags: CloneFlags) -> String {
    crate::trace::flags(KINDS.iter().filter(|kind| flags.contains(kind.flag)).map(|kind| kind.flag_name))
}

/// unshare(2).
pub fn unshare(flags: CloneFlags, why: &str) -> Result<()> {
    call(why, || format!("unshare({})", flag_names(flags)), || nix::sched::unshare(flags))
}

/// setns(2): joins the namespace behind `fd`, which must be of the given kind (`EINVAL` otherwise).
pub fn setns(fd: impl AsFd, flags: CloneFlags, why: &str) -> Result<()> {
    call(
        why,
        || format!("setns({}, {})", fd.as_fd().as_raw_fd(), flag_names(flags)),
        || nix::sched::setns(&fd, flags),
    )
}

/// Opens a namespace file, `/proc/PID/ns/net` or one of its bind mounts.
pub fn open(path: &Path) -> Result<OwnedFd> {
    call(
        "a namespace to join",
        || format!("openat(AT_FDCWD, {}, O_RDONLY|O_CLOEXEC)", quoted(path)),
        || nix::fcntl::open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()),
    )
}

/// Joins every namespace given, all opened before.
///
/// Where a user namespace is among them, the others are tried first: a caller with privileges over them has none
/// any more once it is inside. What is refused then is tried again from inside, where a caller without privileges
/// gets them. On failure gives the kind that could not be joined.
pub fn join_all(namespaces: &[(Kind, OwnedFd)], why: &str) -> std::result::Result<(), (Kind, Errno)> {
    let user = CloneFlags::CLONE_NEWUSER;
    let with_user = namespaces.iter().any(|(kind, _)| kind.flag == user);
    let mut later = Vec::new();
    for (kind, fd) in KINDS.iter().flat_map(|kind| namespaces.iter().filter(move |(other, _)| other == kind))
    {
        if with_user && kind.flag == user {
            continue;
        }
        match setns(fd, kind.flag, why) {
            Ok(()) => {}
            Err(Errno::EPERM) if with_user => later.push((*kind, fd)),
            Err(errno) => return Err((*kind, errno)),
        }
    }
    let users = namespaces.iter().filter(|(kind, _)| kind.flag == user).map(|(kind, fd)| (*kind, fd));
    for (kind, fd) in users.chain(later) {
        setns(fd, kind.flag, why).map_err(|errno| (kind, errno))?;
    }
    Ok(())
}
