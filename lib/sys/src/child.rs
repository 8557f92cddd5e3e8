//! Children: fork(2), sessions, and the ends of processes that were left to us.

use crate::process;
use crate::trace::{before, call, quoted};
use crate::{Errno, Result};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid};
use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, RawFd};

/// fork(2): a child that runs `child`, which should become another program, and ends with the status it returns.
///
/// The caller must have no other threads: of those the child would have the locks and not the runners.
pub fn fork(why: &str, child: impl FnOnce() -> i32) -> Result<Pid> {
    call(
        why,
        || "fork()".into(),
        || {
            // SAFETY: the tools are single-threaded, so the child's memory is whole and no lock is held in it.
            match unsafe { nix::unistd::fork() }? {
                ForkResult::Parent { child } => Ok(child),
                ForkResult::Child => {
                    let status = child();
                    // SAFETY: ends this process at once, without the parent's exit handlers.
                    unsafe { nix::libc::_exit(status) }
                }
            }
        },
    )
}

/// setsid(2): a session of our own, without a controlling terminal.
pub fn new_session() -> Result<Pid> {
    call("a session of its own, with no terminal", || "setsid()".into(), nix::unistd::setsid)
}

/// PR_SET_CHILD_SUBREAPER (prctl(2)): orphans among our descendants become our children.
pub fn become_subreaper() -> Result<()> {
    call(
        "orphans of the container become our children",
        || "prctl(PR_SET_CHILD_SUBREAPER, 1)".into(),
        || nix::sys::prctl::set_child_subreaper(true),
    )
}

/// The next child that has ended, without waiting for one; `None` where none has, or there are no children.
pub fn reap() -> Option<WaitStatus> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Err(Errno::EINTR) => {}
            Err(_) | Ok(WaitStatus::StillAlive) => return None,
            Ok(status) => return Some(status),
        }
    }
}

/// dup2(2): `fd` under the number `number` too, kept over an exec. Whatever had that number is closed.
pub fn place(fd: impl AsFd, number: RawFd) -> Result<()> {
    let from = fd.as_fd().as_raw_fd();
    if from == number {
        return crate::fd::set_cloexec(fd, false);
    }
    call(
        "a descriptor the next program expects under this number",
        || format!("dup2({from}, {number})"),
        || {
            // SAFETY: no memory is passed; what owned `number` before is given up by this function's contract.
            Errno::result(unsafe { nix::libc::dup2(from, number) }).map(drop)
        },
    )
}

/// close_range(2): closes every descriptor from `first` to `last`. Nothing in the program may own one of them.
pub fn close_range(first: u32, last: u32) -> Result<()> {
    call(
        "nothing that was left open for us stays open",
        || format!("close_range({first}, {last}, 0)"),
        || {
            // SAFETY: no memory is passed; by this function's contract no owner of these numbers is left.
            let result = unsafe { nix::libc::syscall(nix::libc::SYS_close_range, first, last, 0) };
            Errno::result(result).map(drop)
        },
    )
}

/// Becomes the program `argv[0]`, looked up in our `PATH` if it has no slash, with `environment` (`NAME=value` each) and
/// nothing else. Returns only on failure.
pub fn exec_with<S: AsRef<OsStr>>(argv: &[S], environment: &[S], why: &str) -> Errno {
    let (Ok(argv), Ok(environment)) = (process::c_strings(argv), process::c_strings(environment)) else {
        return Errno::EINVAL;
    };
    let Some(program) = argv.first() else { return Errno::EINVAL };
    if let Err(errno) = process::reset_signals() {
        return errno;
    }
    before(why, || {
        format!("execvpe({}, {}, …)", quoted(process::lossy(program)), process::shown_argv(&argv))
    });
    match nix::unistd::execvpe(program, &argv, &environment) {
        Ok(never) => match never {},
        Err(errno) => errno,
    }
}

/// kill(2) of a child of ours that has not been waited for: until then its number is its own.
pub fn kill(pid: i32, signal: i32, why: &str) -> Result<()> {
    call(
        why,
        || format!("kill({pid}, {})", process::signal_name(signal)),
        || {
            // SAFETY: no memory is passed.
            Errno::result(unsafe { nix::libc::kill(pid, signal) }).map(drop)
        },
    )
}
