//! Joining a cgroup, the fast way.

use crate::file::write_control;
use crate::{Result, namespace, trace};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Puts this process, which has one thread, into the cgroup `directory`; `unified` says that it is one of v2.
///
/// v1 `tasks` moves one thread and needs no grace period of the whole machine, unlike `cgroup.procs`: 30 µs
/// instead of some milliseconds.
pub fn join(directory: &Path, unified: bool) -> Result<()> {
    let control = directory.join(if unified { "cgroup.procs" } else { "tasks" });
    write_control(&control, "0", "0 means the writing process itself")
}

/// As [`join`], by a control file that was opened before; `path` is its name.
pub fn join_by(control: impl AsFd, path: &Path) -> Result<()> {
    trace::call(
        "0 means the writing process itself",
        || format!("write({}, \"0\")", trace::quoted(path)),
        || nix::unistd::write(&control, b"0"),
    )
    .map(drop)
}

/// The cgroup directory as clone3(2) takes it for `CLONE_INTO_CGROUP`.
pub fn open(directory: &Path) -> Result<OwnedFd> {
    use nix::fcntl::OFlag;
    trace::call(
        "the cgroup to be born in",
        || format!("openat(AT_FDCWD, {}, O_RDONLY|O_DIRECTORY|O_CLOEXEC)", trace::quoted(directory)),
        || {
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            nix::fcntl::open(directory, flags, nix::sys::stat::Mode::empty())
        },
    )
}

/// Makes the cgroup this process is in the root of what it sees (cgroup_namespaces(7)).
pub fn unshare() -> Result<()> {
    namespace::unshare(nix::sched::CloneFlags::CLONE_NEWCGROUP, "its own cgroup is the root of what it sees")
}
