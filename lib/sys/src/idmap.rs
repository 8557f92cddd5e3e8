//! User namespaces as mere maps: what an idmapped mount shows ids through (mount_setattr(2), `MOUNT_ATTR_IDMAP`).

use crate::clone::{Clone3, Cloned, clone3, exit_now};
use crate::mount_fd::{self, Attributes};
use crate::trace::{call, quoted};
use crate::{Errno, Result, process};
use nix::fcntl::OFlag;
use nix::sched::CloneFlags;
use nix::sys::stat::Mode;
use std::os::fd::{AsRawFd, OwnedFd};

/// A user namespace with these maps (lines of `inside outside size`, user_namespaces(7)) and nobody in it.
///
/// A child makes it and ends as soon as it has been opened. The child is found through a procfs of our own pid
/// namespace, since `/proc` may show another one's.
pub fn user_namespace(uid_map: &str, gid_map: &str) -> Result<OwnedFd> {
    let (wait, go) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    let what = Clone3 { namespaces: CloneFlags::CLONE_NEWUSER, sibling: false, cgroup: None };
    match clone3(what, "a child that holds a user namespace while it is opened")? {
        Cloned::Child => {
            drop(go);
            // Until the parent is done, or dead: both close the pipe.
            while nix::unistd::read(&wait, &mut [0; 1]) == Err(Errno::EINTR) {}
            exit_now(0)
        }
        Cloned::Parent(pid) => {
            let opened = map_and_open(pid.as_raw(), uid_map, gid_map);
            drop(go);
            process::wait(pid)?;
            opened
        }
    }
}

fn map_and_open(pid: i32, uid_map: &str, gid_map: &str) -> Result<OwnedFd> {
    let fs = mount_fd::fsopen("proc", "to find the child by our own numbers")?;
    mount_fd::fsconfig_create(&fs, "it comes to be")?;
    let proc = mount_fd::fsmount(&fs, Attributes::empty(), "never attached")?;
    let open = |file: &str, flags| {
        nix::fcntl::openat(&proc, format!("{pid}/{file}").as_str(), flags | OFlag::O_CLOEXEC, Mode::empty())
    };
    for (file, map) in [("gid_map", gid_map), ("uid_map", uid_map)] {
        call(
            "ids inside and outside",
            || format!("write(\"/proc/{pid}/{file}\", {})", quoted(map)),
            || nix::unistd::write(open(file, OFlag::O_WRONLY)?, map.as_bytes()),
        )
        .map(drop)?;
    }
    call(
        "the namespace, by which mounts are mapped",
        || format!("openat({}, \"{pid}/ns/user\", O_RDONLY|O_CLOEXEC)", proc.as_raw_fd()),
        || open("ns/user", OFlag::O_RDONLY),
    )
}

/// Runs `act` with these ids for access to files (setfsuid(2)), and all capabilities kept.
///
/// overlayfs makes its own files as whoever mounted it; on an idmapped upper directory that must be an id of the map.
pub fn with_file_ids<T>(uid: u32, gid: u32, act: impl FnOnce() -> T) -> Result<T> {
    const NO_SETUID_FIXUP: i64 = 1 << 2;
    let before = secure_bits()?;
    set_secure_bits(before | NO_SETUID_FIXUP)?;
    let owners = (set_file_user(uid)?, set_file_group(gid)?);
    let done = act();
    set_file_user(owners.0)?;
    set_file_group(owners.1)?;
    set_secure_bits(before)?;
    Ok(done)
}

fn secure_bits() -> Result<i64> {
    call(
        "what set*id(2) does to capabilities as yet",
        || "prctl(PR_GET_SECUREBITS)".into(),
        || {
            // SAFETY: takes no memory.
            Errno::result(unsafe { nix::libc::prctl(nix::libc::PR_GET_SECUREBITS, 0, 0, 0, 0) })
        },
    )
    .map(i64::from)
}

fn set_secure_bits(bits: i64) -> Result<()> {
    call(
        "capabilities do not go with a change of ids",
        || format!("prctl(PR_SET_SECUREBITS, {})", shown_secure_bits(bits)),
        || {
            // SAFETY: takes no memory.
            let result = unsafe { nix::libc::prctl(nix::libc::PR_SET_SECUREBITS, bits, 0, 0, 0) };
            Errno::result(result).map(drop)
        },
    )
}

/// The bits as <linux/securebits.h> names them, in its order.
fn shown_secure_bits(bits: i64) -> String {
    let names = [
        "SECBIT_NOROOT",
        "SECBIT_NOROOT_LOCKED",
        "SECBIT_NO_SETUID_FIXUP",
        "SECBIT_NO_SETUID_FIXUP_LOCKED",
        "SECBIT_KEEP_CAPS",
        "SECBIT_KEEP_CAPS_LOCKED",
        "SECBIT_NO_CAP_AMBIENT_RAISE",
        "SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED",
    ];
    let set = names.iter().enumerate().filter(|(bit, _)| bits & (1 << bit) != 0);
    crate::trace::flags(set.map(|(_, name)| name))
}

/// Gives the id that was in force. setfsuid(2) reports no failure; a second call with no valid id tells.
fn set_file_user(uid: u32) -> Result<u32> {
    use nix::unistd::{Uid, setfsuid};
    let show = || format!("setfsuid({uid})");
    call("files are made as this user", show, || {
        let before = setfsuid(Uid::from_raw(uid));
        let now = setfsuid(Uid::from_raw(u32::MAX));
        if now.as_raw() == uid { Ok(((), before.as_raw())) } else { Err(Errno::EINVAL) }
    })
    .map(|((), before)| before)
}

/// As [`set_file_user`], of the group.
fn set_file_group(gid: u32) -> Result<u32> {
    use nix::unistd::{Gid, setfsgid};
    let show = || format!("setfsgid({gid})");
    call("files are made as this group", show, || {
        let before = setfsgid(Gid::from_raw(gid));
        let now = setfsgid(Gid::from_raw(u32::MAX));
        if now.as_raw() == gid { Ok(((), before.as_raw())) } else { Err(Errno::EINVAL) }
    })
    .map(|((), before)| before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secure_bits_have_the_headers_names() {
        assert_eq!(shown_secure_bits(0), "0");
        assert_eq!(shown_secure_bits(1 << 2), "SECBIT_NO_SETUID_FIXUP");
        assert_eq!(shown_secure_bits(0x11), "SECBIT_NOROOT|SECBIT_KEEP_CAPS");
    }

    #[test]
    fn makes_a_namespace_of_its_own() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let made = user_namespace("0 100000 65536\n", "0 100000 65536\n").unwrap();
        let own = std::fs::metadata("/proc/self/ns/user").unwrap();
        assert_ne!(nix::sys::stat::fstat(&made).unwrap().st_ino, std::os::unix::fs::MetadataExt::ino(&own));
    }
}
