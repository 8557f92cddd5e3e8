//! Who this process is: ids, groups, `no_new_privs`, dumpability, the session keyring.

use crate::trace::call;
use crate::{Errno, Result};
use nix::unistd::{Gid, Uid};

/// setgroups(2).
pub fn setgroups(groups: &[u32]) -> Result<()> {
    call(
        "no group of the caller's stays",
        || format!("setgroups({}, {groups:?})", groups.len()),
        || {
            // SAFETY: the list lives through the call and its length is given. The system call itself, since
            // glibc's wrapper synchronises threads this program has not.
            let result =
                unsafe { nix::libc::syscall(nix::libc::SYS_setgroups, groups.len(), groups.as_ptr()) };
            Errno::result(result).map(drop)
        },
    )
}

/// setresgid(2): real, effective and saved group id.
pub fn setgid(gid: u32) -> Result<()> {
    let id = Gid::from_raw(gid);
    call(
        "the group of the next program",
        || format!("setresgid({gid}, {gid}, {gid})"),
        || nix::unistd::setresgid(id, id, id),
    )
}

/// setresuid(2): real, effective and saved user id.
pub fn setuid(uid: u32) -> Result<()> {
    let id = Uid::from_raw(uid);
    call(
        "the user of the next program",
        || format!("setresuid({uid}, {uid}, {uid})"),
        || nix::unistd::setresuid(id, id, id),
    )
}

/// `PR_SET_NO_NEW_PRIVS`: execve(2) gives no privilege any more, setuid programs and file capabilities included.
pub fn no_new_privs() -> Result<()> {
    call(
        "setuid programs give nothing",
        || "prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)".into(),
        nix::sys::prctl::set_no_new_privs,
    )
}

/// `PR_SET_DUMPABLE`: whether other processes of the same user may ptrace this one or look into its `/proc`
/// directory. execve(2) switches it back on.
pub fn set_dumpable(on: bool) -> Result<()> {
    call(
        "nobody inside may look into this process",
        || format!("prctl(PR_SET_DUMPABLE, {})", if on { "SUID_DUMP_USER" } else { "SUID_DUMP_DISABLE" }),
        || nix::sys::prctl::set_dumpable(on),
    )
}

/// `PR_SET_PDEATHSIG`: the signal this process gets when its parent ends.
pub fn set_parent_death_signal(signal: nix::sys::signal::Signal) -> Result<()> {
    call(
        "does not outlive its parent",
        || format!("prctl(PR_SET_PDEATHSIG, {signal})"),
        || nix::sys::prctl::set_pdeathsig(signal),
    )
}

/// Joins a new, empty session keyring (keyctl(2)): the caller's keys are out of reach.
///
/// `ENOSYS` on a kernel without keys.
pub fn new_session_keyring() -> Result<()> {
    call(
        "the caller's keys stay behind",
        || "keyctl(KEYCTL_JOIN_SESSION_KEYRING, NULL)".into(),
        || {
            let name = std::ptr::null::<nix::libc::c_char>();
            // SAFETY: a null name asks for an anonymous keyring.
            let result = unsafe {
                nix::libc::syscall(nix::libc::SYS_keyctl, nix::libc::KEYCTL_JOIN_SESSION_KEYRING, name)
            };
            i32::try_from(Errno::result(result)?).map_err(|_| Errno::EOVERFLOW)
        },
    )
    .map(drop)
}
