//! `freeze -- COMMAND`: a cgroup that stands still while a command runs, and no longer.

use crate::end;
use crate::group::{Group, UNIFIED};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use wb_doc::{Context, Error, Filter};
use wb_store::lock::Lock;
use wb_sys::attend::Attendant;
use wb_sys::{Errno, child, pipe, process};

/// Freezes the cgroup and becomes `command`. Whatever ends that, SIGKILL too, the cgroup goes on afterwards, unless
/// `is_paused` says that somebody else wants it to stand still by then. Returns only on failure.
///
/// A watcher, made before anything is frozen, waits for the command's end. It holds a shared lock on the cgroup's
/// directory, so that of several commands at once the last to end lets it go on. Standard output stays open in it:
/// whoever reads that to its end, as a shell's `$(…)` does, finds the cgroup thawed. No handle of the kernel's thaws
/// a cgroup by being closed; so a second watcher waits for the end of the first, and does what that has not done.
pub fn freeze(group: &Group, is_paused: &dyn Fn() -> bool, command: &[OsString]) -> Result<(), Error> {
    let directory =
        group.paths.get("freezer").or_else(|| group.paths.get(UNIFIED)).ok_or_else(end::no_group)?;
    let lock = Lock::directory_shared(directory)?;
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let pidfd = process::pidfd_open(own).context(|| "pidfd")?;
    let (first_is_done, done) = pipe::pipe().context(|| "pipe")?;
    let thaw = || {
        watch(&pidfd)?;
        let goes_on = lock.try_upgrade()? && !is_paused() && directory.exists();
        if goes_on { end::freeze(group, false) } else { Ok(()) }
    };
    let status = |thawed: Result<(), Error>| {
        thawed.map_or_else(|error| Filter::doing(crate::TOOL, "thaw").report(&error).into(), |()| 0)
    };
    child::fork("lets the cgroup go on when the command has ended, whatever ends it", || {
        let status = status(stay().and_then(|()| thaw()));
        // If the other one is not there any more nobody has to be told.
        pipe::write(&done, b"!").ok();
        status
    })
    .context(|| "fork")?;
    child::fork("does so where the first watcher is killed", move || {
        drop(done);
        let is_done = stay().and_then(|()| pipe::read(&first_is_done, &mut [0]).context(|| "pipe"));
        status(is_done.and_then(|told| if told == 0 { thaw() } else { Ok(()) }))
    })
    .context(|| "fork")?;
    end::freeze(group, true)?;
    Err(run(command))
}

/// Becomes the command; returns only the failure.
pub fn run(command: &[OsString]) -> Error {
    let errno = process::exec(command, "the command runs while the cgroup stands still");
    let code = if errno == Errno::ENOENT { 127 } else { 126 };
    Error::errno(command[0].to_string_lossy(), errno).code(code)
}

/// What is meant for the command, from a terminal or from whoever ends a service, must not end its watcher.
fn stay() -> Result<(), Error> {
    Attendant::prepare().context(|| "sigprocmask")?;
    child::new_session().map(drop).context(|| "setsid")
}

/// Waits for the command's end.
fn watch(command: &OwnedFd) -> Result<(), Error> {
    loop {
        match poll(&mut [PollFd::new(command.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::errno("poll", errno)),
        }
    }
}
