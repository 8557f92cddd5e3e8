//! clone3(2) as a fork with new namespaces.

use crate::namespace::flag_names;
use crate::trace::{Returned, call};
use crate::{Errno, Result};
use nix::sched::CloneFlags;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use std::os::fd::{AsRawFd, BorrowedFd};

/// What a clone is to be made of.
#[derive(Debug, Clone, Copy)]
pub struct Clone3<'a> {
    /// The new namespaces; other flags of clone(2) may be among them.
    pub namespaces: CloneFlags,
    /// Whether the new process is a sibling, a child of the caller's parent (`CLONE_PARENT`).
    pub sibling: bool,
    /// The cgroup v2 directory the new process starts in (`CLONE_INTO_CGROUP`, Linux 5.7).
    pub cgroup: Option<BorrowedFd<'a>>,
}

/// Which of the two processes that return from [`clone3`] this one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cloned {
    /// The caller; the pid is the new process's.
    Parent(Pid),
    /// The new process.
    Child,
}

impl Returned for Cloned {
    fn shown(&self) -> String {
        match self {
            Self::Parent(pid) => pid.to_string(),
            Self::Child => "0".into(),
        }
    }

    fn is_shown(&self) -> bool {
        // The call was made once, by the parent.
        matches!(self, Self::Parent(_))
    }
}

/// `struct clone_args` of clone3(2), first version plus `cgroup`.
#[repr(C, align(8))]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// clone3(2) without shared memory: both processes return from here, the child with a copy of everything.
///
/// The child must become another program or `_exit`. Only a program without threads may call this, as no tool
/// here has any: another thread's locks would stay locked in the child for ever.
pub fn clone3(what: Clone3<'_>, why: &str) -> Result<Cloned> {
    let mut flags = bits(what.namespaces);
    let mut args = CloneArgs::default();
    if what.sibling {
        // With CLONE_PARENT the exit signal must be 0: it is then the caller's own.
        flags |= bits(CloneFlags::CLONE_PARENT);
    } else {
        args.exit_signal = Signal::SIGCHLD as u64;
    }
    if let Some(cgroup) = what.cgroup {
        flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::try_from(cgroup.as_raw_fd()).map_err(|_| Errno::EBADF)?;
    }
    args.flags = flags;
    let show = || {
        let mut names = vec![flag_names(what.namespaces)];
        names.retain(|name| name != "0");
        if what.sibling {
            names.push("CLONE_PARENT".into());
        }
        if what.cgroup.is_some() {
            names.push("CLONE_INTO_CGROUP".into());
        }
        let signal = if what.sibling { "0" } else { "SIGCHLD" };
        let cgroup = what.cgroup.map_or(String::new(), |fd| format!(", cgroup={}", fd.as_raw_fd()));
        format!(
            "clone3({{flags={}, exit_signal={signal}, stack=NULL, stack_size=0{cgroup}}}, {})",
            crate::trace::flags(names),
            size_of::<CloneArgs>()
        )
    };
    call(why, show, || {
        let pointer = std::ptr::from_ref(&args);
        // SAFETY: the structure lives through the call and its size is given; without CLONE_VM the child runs on
        // a copy of this stack, and no tool has a thread whose locks the copy could hold.
        let pid = unsafe { nix::libc::syscall(nix::libc::SYS_clone3, pointer, size_of::<CloneArgs>()) };
        let pid = i32::try_from(Errno::result(pid)?).map_err(|_| Errno::EOVERFLOW)?;
        Ok(if pid == 0 { Cloned::Child } else { Cloned::Parent(Pid::from_raw(pid)) })
    })
}

fn bits(flags: CloneFlags) -> u64 {
    // The bits of an int, not its value: CLONE_IO is the sign bit.
    u64::from(u32::from_ne_bytes(flags.bits().to_ne_bytes()))
}

/// Ends this process at once, running nothing: how the child of a clone gives up (_exit(2)).
pub fn exit_now(code: u8) -> ! {
    // SAFETY: ends the process; takes no memory.
    unsafe { nix::libc::_exit(i32::from(code)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_returns_and_ends_with_its_own_status() {
        let plain = Clone3 { namespaces: CloneFlags::empty(), sibling: false, cgroup: None };
        match clone3(plain, "test").unwrap() {
            Cloned::Child => exit_now(7),
            Cloned::Parent(pid) => {
                let status = crate::process::wait(pid).unwrap();
                assert_eq!(crate::process::exit_code(status), Some(7));
            }
        }
    }
}
