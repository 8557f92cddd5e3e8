//! seccomp(2): a filter over the system calls of this process and its descendants.

use crate::clone::{Clone3, Cloned, clone3, exit_now};
use crate::trace::call;
use crate::{Errno, Result, socket};
use nix::libc;
use nix::sched::CloneFlags;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, Ordering};
use std::time::Duration;

/// One instruction of classic BPF: `struct sock_filter` of linux/filter.h.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// What it does.
    pub code: u16,
    /// How many instructions it skips if true.
    pub jt: u8,
    /// How many instructions it skips if false.
    pub jf: u8,
    /// A constant.
    pub k: u32,
}

/// `struct sock_fprog` of linux/filter.h.
#[repr(C)]
struct Program {
    length: u16,
    instructions: *const Instruction,
}

/// Puts a filter in force, for good (`SECCOMP_SET_MODE_FILTER`). It takes `no_new_privs` or CAP_SYS_ADMIN.
pub fn load(program: &[Instruction], flags: u32) -> Result<()> {
    set_mode(program, flags).map(drop)
}

fn set_mode(program: &[Instruction], flags: u32) -> Result<i32> {
    let length = u16::try_from(program.len()).map_err(|_| Errno::EINVAL)?;
    call(
        "only these system calls from here on",
        || format!("seccomp(SECCOMP_SET_MODE_FILTER, {flags:#x}, {{len={length}, filter=[...]}})"),
        || {
            let program = Program { length, instructions: program.as_ptr() };
            let (mode, pointer) = (libc::SECCOMP_SET_MODE_FILTER, std::ptr::from_ref(&program));
            // SAFETY: the kernel copies `length` instructions, which live through the call.
            let result = unsafe { libc::syscall(libc::SYS_seccomp, mode, flags, pointer) };
            i32::try_from(Errno::result(result)?).map_err(|_| Errno::EOVERFLOW)
        },
    )
}

/// linux/seccomp.h; the first makes no sense for a process of one thread, and not together with the second.
const FLAG_TSYNC: u32 = 1 << 0;
const FLAG_NEW_LISTENER: u32 = 1 << 3;

/// What two processes tell each other without a system call, since one of them may have none left to itself.
struct Told {
    /// The listener's descriptor plus one, -1 where there will be none.
    listener: AtomicI32,
    /// 1 when it has been handed over, else minus the errno.
    outcome: AtomicI32,
    /// Who hands it over, by its thread id. However it ends, the kernel adds [`OWNER_DIED`].
    helper: AtomicU32,
    robust: RobustList,
}

/// `struct robust_list_head` of linux/futex.h: an empty list, and `helper` as the one lock that is held.
#[repr(C)]
struct RobustList {
    next: AtomicPtr<RobustList>,
    offset: libc::c_long,
    pending: AtomicPtr<AtomicU32>,
}

/// `FUTEX_OWNER_DIED` of linux/futex.h.
const OWNER_DIED: u32 = 1 << 30;

/// As [`load`], and hands the listener for `SECCOMP_RET_USER_NOTIF` (Linux 5.0) to whoever is at the other end of
/// `connection`, with `message`.
///
/// From the moment the filter is in force any call of this process may wait for that listener. So another process,
/// which shares the descriptors and not the filter, sends it. Neither owns the connection, which both would close.
pub fn load_listened(
    program: &[Instruction],
    flags: u32,
    connection: BorrowedFd<'_>,
    message: &[u8],
) -> Result<()> {
    let told = shared()?;
    let what = Clone3 { namespaces: CloneFlags::CLONE_FILES, sibling: false, cgroup: None };
    let Cloned::Parent(helper) = clone3(what, "hands the listener over")? else {
        hand_over(told, connection, message);
        exit_now(0)
    };
    until_noticed(told, helper)?;
    let loaded = set_mode(program, (flags & !FLAG_TSYNC) | FLAG_NEW_LISTENER);
    told.listener.store(loaded.map_or(-1, |fd| fd + 1), Ordering::Release);
    let outcome = loop {
        // Asked in this order: it may have ended because it was done.
        let ended = told.helper.load(Ordering::Acquire) & OWNER_DIED != 0;
        match told.outcome.load(Ordering::Acquire) {
            0 if ended => break -(Errno::EOWNERDEAD as i32),
            0 => std::hint::spin_loop(),
            outcome => break outcome,
        }
    };
    if outcome == -(Errno::EOWNERDEAD as i32) {
        // Without a listener nobody is waited for: what the filter leaves to it fails (ENOSYS), and the rest works.
        if let Ok(listener) = loaded {
            nix::unistd::close(listener)?;
        }
        return Err(Errno::EOWNERDEAD);
    }
    crate::process::wait(helper)?;
    loaded?;
    if outcome == 1 { Ok(()) } else { Err(Errno::from_raw(-outcome)) }
}

/// Waits, while calls are free still, until the end of the helper would be noticed without one.
fn until_noticed(told: &Told, helper: Pid) -> Result<()> {
    while told.helper.load(Ordering::Acquire) == 0 {
        match waitpid(helper, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::EINTR) => std::thread::sleep(Duration::from_micros(50)),
            Ok(_) => return Err(Errno::EOWNERDEAD),
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Has the kernel mark `told.helper` when this process ends (set_robust_list(2)).
fn be_noticed(told: &'static Told) -> Result<()> {
    let address = std::ptr::from_ref(&told.robust);
    told.robust.next.store(address.cast_mut(), Ordering::Relaxed);
    told.robust.pending.store(std::ptr::from_ref(&told.helper).cast_mut(), Ordering::Relaxed);
    call(
        "the kernel tells of this process's end",
        || "set_robust_list({...})".to_owned(),
        || {
            // SAFETY: `told` is never unmapped; the kernel reads the head and writes the one word when this task ends.
            let result =
                unsafe { libc::syscall(libc::SYS_set_robust_list, address, size_of::<RobustList>()) };
            Errno::result(result).map(drop)
        },
    )?;
    let own = u32::try_from(nix::unistd::gettid().as_raw()).map_err(|_| Errno::EINVAL)?;
    told.helper.store(own, Ordering::Release);
    Ok(())
}

fn hand_over(told: &'static Told, connection: BorrowedFd<'_>, message: &[u8]) {
    // Whoever waits for the outcome does not die without being noticed, and neither does this process.
    crate::credentials::set_parent_death_signal(nix::sys::signal::Signal::SIGKILL).ok();
    if be_noticed(told).is_err() {
        return;
    }
    let listener = loop {
        match told.listener.load(Ordering::Acquire) {
            0 => std::thread::sleep(Duration::from_micros(50)),
            other => break other,
        }
    };
    let sent = if listener > 0 { socket::send(connection, message, &[listener - 1]) } else { Ok(()) };
    told.outcome.store(sent.map_or_else(|errno| -(errno as i32), |()| 1), Ordering::Release);
}

/// A page that stays shared over a clone; it goes with the process.
fn shared() -> Result<&'static Told> {
    use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};
    let length = std::num::NonZeroUsize::new(size_of::<Told>()).ok_or(Errno::EINVAL)?;
    let flags = MapFlags::MAP_SHARED;
    // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists.
    let page = unsafe { mmap_anonymous(None, length, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, flags) }?;
    // SAFETY: the mapping is page-aligned, as large as the structure, zeroed, which is a valid value of it, and is
    // never unmapped.
    Ok(unsafe { page.cast::<Told>().as_ref() })
}
