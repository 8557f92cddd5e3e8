//! Children: fork(2), sessions, and the ends of processes that were left to us.

use crate::process;
use crate::trace::{self, call, quoted};
use crate::{Errno, Result};
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags};
use nix::sys::signal::{SigHandler, SigSet, Signal, signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid};
use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

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

/// For a process that waits for no child: those that have ended leave no zombie, nor do those that will (wait(2), "Notes").
pub fn disown() -> Result<()> {
    // SAFETY: ignoring a signal runs no code.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigIgn) }?;
    while reap().is_some() {}
    Ok(())
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
            Errno::result(unsafe { nix::libc::dup2(from, number) })
        },
    )
    .map(drop)
}

/// close_range(2): closes every descriptor from `first` to `last`, except the trace's own. Nothing in the program may
/// own one of them.
pub fn close_range(first: u32, last: u32) -> Result<()> {
    match trace::descriptor()
        .and_then(|sink| u32::try_from(sink).ok())
        .filter(|sink| (first..=last).contains(sink))
    {
        None => close_all(first, last),
        Some(sink) => {
            if first < sink {
                close_all(first, sink - 1)?;
            }
            if sink < last { close_all(sink + 1, last) } else { Ok(()) }
        }
    }
}

/// Closes every descriptor but these and the trace's own, as far as that can be done. Nothing in the program may own
/// one of the others.
pub fn close_all_but(keep: &[BorrowedFd]) -> Result<()> {
    let mut keep: Vec<u32> = keep.iter().map(|fd| fd.as_raw_fd().unsigned_abs()).collect();
    keep.sort_unstable();
    let mut first = 0;
    let mut closed = Ok(());
    for fd in keep {
        if fd > first {
            closed = closed.and(close_range(first, fd - 1));
        }
        first = fd + 1;
    }
    closed.and(close_range(first, u32::MAX))
}

fn close_all(first: u32, last: u32) -> Result<()> {
    call(
        "nothing that was left open for us stays open",
        || format!("close_range({first}, {last}, 0)"),
        || {
            // SAFETY: no memory is passed; by the caller's contract no owner of these numbers is left.
            let result = unsafe { nix::libc::syscall(nix::libc::SYS_close_range, first, last, 0) };
            Errno::result(result).map(drop)
        },
    )
}

/// posix_spawn(3): starts the file `path`, or else the first word of `argv`, looked up in our `PATH` if that has no
/// slash, with `environment`
/// (`NAME=value` each), with `fds` as its descriptors 0, 1, 2 and so on, and with the signals of a fresh program.
/// Cheaper than a fork, since no memory is copied for it; and a program that is not there is an error here.
pub fn spawn_with<S: AsRef<OsStr>>(
    path: Option<&OsStr>,
    argv: &[S],
    environment: &[S],
    fds: &[BorrowedFd<'_>],
    why: &str,
) -> Result<Pid> {
    let (argv, environment) = (process::c_strings(argv)?, process::c_strings(environment)?);
    let name = argv.first().ok_or(Errno::EINVAL)?;
    let environment = trace::handed_on(OsStr::from_bytes(name.as_bytes()), environment);
    let path =
        path.map(|path| std::ffi::CString::new(path.as_bytes())).transpose().map_err(|_| Errno::EINVAL)?;
    let program = path.as_ref().unwrap_or(name);
    let mut actions = PosixSpawnFileActions::init()?;
    // One that stands where another has to go is moved out of the way first.
    let count = RawFd::try_from(fds.len()).map_err(|_| Errno::EMFILE)?;
    let mut moved = Vec::new();
    for (number, fd) in (0..).zip(fds) {
        let mut from = fd.as_raw_fd();
        if from < count {
            moved.push(crate::fd::duplicate(from, count)?);
            from = moved.last().map_or(from, AsRawFd::as_raw_fd);
        }
        actions.add_dup2(from, number)?;
    }
    let mut attributes = PosixSpawnAttr::init()?;
    attributes.set_flags(PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK | PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF)?;
    attributes.set_sigmask(&SigSet::empty())?;
    attributes.set_sigdefault(&SigSet::all())?;
    call(
        why,
        || format!("posix_spawn({}, {})", quoted(process::lossy(program)), process::shown_argv(&argv)),
        || nix::spawn::posix_spawnp(program, &actions, &attributes, &argv, &environment),
    )
}

/// Starts another program as `command` says: what posix_spawn(3) does, a clone and an execve in the child. One of our
/// own tools tells its trace where this one does, whatever its standard error is.
pub fn spawn(command: &mut std::process::Command, why: &str) -> std::io::Result<std::process::Child> {
    let program = if trace::is_on() { quoted(command.get_program()) } else { String::new() };
    let words = command
        .get_args()
        .filter(|_| trace::is_on())
        .fold(program.clone(), |all, word| all + ", " + &quoted(word));
    if trace::is_on() && crate::program::is_tool(command.get_program()) {
        for variable in trace::handed_on(command.get_program(), Vec::new()) {
            if let Some((name, value)) = variable.to_str().ok().and_then(|pair| pair.split_once('=')) {
                command.env(name, value);
            }
        }
    }
    let mut failure = None;
    let spawned = call(
        why,
        || format!("posix_spawn({program}, [{words}])"),
        || {
            command.spawn().map(Spawned).map_err(|error| {
                let errno = error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
                failure = Some(error);
                errno
            })
        },
    );
    spawned.map(|child| child.0).map_err(|errno| failure.unwrap_or_else(|| errno.into()))
}

struct Spawned(std::process::Child);

impl trace::Returned for Spawned {
    fn shown(&self) -> String {
        self.0.id().to_string()
    }
}

/// Writes `text` to the standard input of a child and closes that; in the trace it is readable.
pub fn tell(child: &mut std::process::Child, text: &str, why: &str) -> std::io::Result<()> {
    let Some(mut stdin) = child.stdin.take() else { return Ok(()) };
    let number = stdin.as_raw_fd();
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let shown = || {
            format!(
                "write({number}, \"\n    {}\n\")",
                String::from_utf8_lossy(rest).trim_end().replace('\n', "\n    ")
            )
        };
        let written = call(why, shown, || {
            let result = std::io::Write::write(&mut stdin, rest);
            result.map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
        })?;
        rest = &rest[written..];
    }
    Ok(())
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
