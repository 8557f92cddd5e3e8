//! `freeze -- COMMAND`: a cgroup that stands still while a command runs, and no longer.

use crate::end;
use crate::group::{Group, UNIFIED};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use wb_doc::{Context, Error, Filter};
use wb_store::lock::Lock;
use wb_sys::attend::Attendant;
use wb_sys::{Errno, child, process};

/// Freezes the cgroup and becomes `command`. Whatever ends that, SIGKILL too, the cgroup goes on afterwards, unless
/// `is_paused` says that somebody else wants it to stand still by then. Returns only on failure.
///
/// A watcher, made before anything is frozen, waits for the command's end. It holds a shared lock on the cgroup's
/// directory, so that of several commands at once the last to end lets it go on. Standard output stays open in it:
/// whoever reads that to its end, as a shell's `$(…)` does, finds the cgroup thawed.
pub fn freeze(group: &Group, is_paused: &dyn Fn() -> bool, command: &[OsString]) -> Result<(), Error> {
    let directory =
        group.paths.get("freezer").or_else(|| group.paths.get(UNIFIED)).ok_or_else(end::no_group)?;
    let lock = Lock::directory_shared(directory)?;
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let pidfd = process::pidfd_open(own).context(|| "pidfd")?;
    child::fork("lets the cgroup go on when the command has ended, whatever ends it", || {
        let thawed = watch(&lock, &pidfd).and_then(|is_last| {
            let goes_on = is_last && !is_paused() && directory.exists();
            if goes_on { end::freeze(group, false) } else { Ok(()) }
        });
        thawed.map_or_else(|error| Filter::doing(crate::TOOL, "thaw").report(&error).into(), |()| 0)
    })
    .context(|| "fork")?;
    end::freeze(group, true)?;
    let errno = process::exec(command, "the command runs while the cgroup stands still");
    let code = if errno == Errno::ENOENT { 127 } else { 126 };
    Err(Error::errno(command[0].to_string_lossy(), errno).code(code))
}

/// Waits for the command's end; whether no other command wants the cgroup to stand still by then.
fn watch(lock: &Lock, command: &OwnedFd) -> Result<bool, Error> {
    // What is meant for the command, from a terminal or from whoever ends a service, must not end its watcher.
    let _blocked = Attendant::prepare().context(|| "sigprocmask")?;
    child::new_session().context(|| "setsid")?;
    loop {
        match poll(&mut [PollFd::new(command.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE) {
            Ok(_) => return lock.try_upgrade(),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::errno("poll", errno)),
        }
    }
}
