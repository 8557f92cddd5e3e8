//! Joining a cgroup, the fast way.

use crate::file::write_control;
use crate::{Result, namespace, trace};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
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

/// A descriptor that is readable whenever the v1 memory cgroup `directory` has something to say by its `file`, such as
/// `memory.oom_control` (cgroup-v1/memory.rst, 9 to 11); `argument` is the file's own. Removing the cgroup counts too.
pub fn announced(directory: &Path, file: &str, argument: &str) -> Result<OwnedFd> {
    use nix::fcntl::OFlag;
    use nix::sys::eventfd::{EfdFlags, EventFd};
    let event = trace::call(
        "the kernel counts here what it announces",
        || "eventfd2(0, EFD_CLOEXEC|EFD_NONBLOCK)".to_owned(),
        || {
            let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
            EventFd::from_value_and_flags(0, flags).map(OwnedFd::from)
        },
    )?;
    let path = directory.join(file);
    let source = trace::call(
        "what the announcements are about",
        || format!("openat(AT_FDCWD, {}, O_RDONLY|O_CLOEXEC)", trace::quoted(&path)),
        || nix::fcntl::open(&path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, nix::sys::stat::Mode::empty()),
    )?;
    let line = format!("{} {} {argument}", event.as_raw_fd(), source.as_raw_fd());
    write_control(&directory.join("cgroup.event_control"), line.trim_end(), "v1 announces to an eventfd")?;
    Ok(event)
}

/// How often something was announced since the last look; 0 for not at all.
pub fn announcements(event: impl AsFd) -> u64 {
    let mut count = [0; 8];
    match nix::unistd::read(&event, &mut count) {
        Ok(8) => u64::from_ne_bytes(count),
        _ => 0,
    }
}

/// Makes the cgroup this process is in the root of what it sees (cgroup_namespaces(7)).
pub fn unshare() -> Result<()> {
    namespace::unshare(nix::sched::CloneFlags::CLONE_NEWCGROUP, "its own cgroup is the root of what it sees")
}
