//! The acts both forms share: the next program held open, the child, what it does before it becomes the program.

use nix::fcntl::OFlag;
use nix::sched::CloneFlags;
use nix::sys::stat::Mode;
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use wb_doc::{Context, Error};
use wb_sys::clone::{Clone3, Cloned, clone3};
use wb_sys::{Errno, cgroup, child, credentials, process, program, tty};

/// The next program, opened before anything is joined.
#[derive(Debug)]
pub struct Next<'a> {
    words: &'a [OsString],
    /// One of our own tools, from the host's file system.
    opened: Option<OwnedFd>,
}

impl<'a> Next<'a> {
    /// Opens the next program where it is one of our own: inside, the host's file system is out of reach, and what is
    /// there must not be able to write to the tool (CVE-2019-5736).
    pub fn open(words: &'a [OsString]) -> Result<Self, Error> {
        let first = words.first().ok_or_else(|| Error::usage("no next program"))?;
        if !program::is_tool(first) {
            return Ok(Self { words, opened: None });
        }
        let name = || format!("exec {}", first.to_string_lossy());
        let path = program::find(first).context(name).map_err(|error| error.code(127))?;
        let opened = program::open_unwritable(&path).context(name).map_err(|error| error.code(126))?;
        Ok(Self { words, opened: Some(opened) })
    }

    /// Becomes it; returns only the failure.
    pub fn become_it(&self) -> Error {
        let why = "the next program";
        let errno = match &self.opened {
            // Whoever is inside may see its environment: nothing of the caller's but what our tools read.
            Some(program) => program::exec_fd_keeping(program, self.words, is_ours, why),
            None => process::exec(self.words, why),
        };
        let name = self.words.first().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
        let code = if errno == Errno::ENOENT { 127 } else { 126 };
        Error::errno(format!("exec {name}"), errno).code(code)
    }
}

fn is_ours(variable: &OsStr) -> bool {
    variable == "PATH" || variable.as_bytes().starts_with(b"WB_")
}

/// The container's cgroups, opened while the host's file system is there.
#[derive(Debug, Default)]
pub struct Cgroups {
    /// The v2 directory, for `CLONE_INTO_CGROUP`.
    unified: Option<(PathBuf, OwnedFd)>,
    /// Control files that move whoever writes 0 to them.
    control: Vec<(PathBuf, OwnedFd)>,
}

impl Cgroups {
    /// Opens everything that is written to later.
    pub fn open(paths: &BTreeMap<String, PathBuf>) -> Result<Self, Error> {
        let mut opened = Self::default();
        for (controller, directory) in paths {
            let name = || format!("cgroup {}", directory.display());
            if controller == "unified" {
                opened.unified = Some((directory.clone(), cgroup::open(directory).context(name)?));
                continue;
            }
            // v1 `tasks` moves one thread, and needs no grace period of the whole machine.
            let tasks = directory.join("tasks");
            // Controllers that share a hierarchy share a directory.
            if !opened.control.iter().any(|(path, _)| *path == tasks) {
                let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
                let fd = nix::fcntl::open(&tasks, flags, Mode::empty()).context(name)?;
                opened.control.push((tasks, fd));
            }
        }
        Ok(opened)
    }

    /// Moves this process; the one that opened them stays outside, and counts for nothing inside.
    pub fn join(self, born_inside: bool) -> Result<(), Error> {
        let mut control = self.control;
        if let (Some((path, directory)), false) = (self.unified, born_inside) {
            let procs = path.join("cgroup.procs");
            let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
            let fd = nix::fcntl::openat(&directory, "cgroup.procs", flags, Mode::empty());
            let fd = fd.context(|| procs.display().to_string())?;
            control.push((procs, fd));
        }
        for (path, fd) in control {
            cgroup::join_by(&fd, &path).context(|| format!("join cgroup {}", path.display()))?;
        }
        Ok(())
    }
}

/// This tool's own file out of the reach of whoever is inside: a container with CAP_SYS_PTRACE may open
/// `/proc/PID/exe` of the child, non-dumpable or not (CVE-2019-5736).
pub fn shield() -> Result<(), Error> {
    program::shield_self().context(|| "/proc/self/exe, to be executed from where nobody can write to it")
}

/// What [`make_child`] has become.
#[derive(Debug)]
pub enum Made {
    /// The caller; the pid is the child's.
    Parent(Pid),
    /// The child; whether it was born inside the v2 cgroup.
    Child(bool),
}

/// Makes the process that is born in the pid namespace joined before. A `sibling` is the child of the caller's parent.
pub fn make_child(cgroups: &Cgroups, sibling: bool) -> Result<Made, Error> {
    let why = "born in the pid namespace that was joined";
    let plain = Clone3 { namespaces: CloneFlags::empty(), sibling, cgroup: None };
    let mut born_inside = true;
    let cloned = match &cgroups.unified {
        Some((_, directory)) => match clone3(Clone3 { cgroup: Some(directory.as_fd()), ..plain }, why) {
            // An old kernel: the child joins by itself, or says why not.
            Err(Errno::EINVAL | Errno::E2BIG | Errno::EACCES | Errno::EOPNOTSUPP | Errno::EBUSY) => {
                born_inside = false;
                clone3(plain, why)
            }
            other => other,
        },
        None => clone3(plain, why),
    };
    match cloned {
        Ok(Cloned::Parent(pid)) => Ok(Made::Parent(pid)),
        Ok(Cloned::Child) => Ok(Made::Child(born_inside)),
        // The pid namespace of a process that has ended takes no new ones.
        Err(Errno::ENOMEM) => {
            Err(Error::errno("clone3", Errno::ENOMEM).hint("its first process may just have ended"))
        }
        Err(errno) => Err(Error::errno("clone3", errno)),
    }
}

/// A session of its own, so that nothing inside can type into the caller's terminal (TIOCSTI), with standard input
/// as its terminal if it was made for it.
pub fn session(terminal: bool) -> Result<(), Error> {
    child::new_session().context(|| "setsid")?;
    if !terminal {
        return Ok(());
    }
    match tty::set_controlling(std::io::stdin()) {
        // By hand, without wb-monitor, the terminal is the caller's and stays so.
        Ok(()) | Err(Errno::EPERM) => Ok(()),
        Err(errno) => Err(Error::errno("process.terminal: standard input", errno)
            .hint("wb-monitor gives the process a terminal")),
    }
}

/// Root of the user namespace that was joined, where it has a root. The capabilities it gives are lost at the next
/// execve(2) by everybody else.
pub fn become_root() -> Result<(), Error> {
    match credentials::setgroups(&[]) {
        // Given up when the maps were written without privileges.
        Ok(()) | Err(Errno::EPERM) => {}
        Err(errno) => return Err(Error::errno("groups of the user namespace", errno)),
    }
    for (id, result) in [("group", credentials::setgid(0)), ("user", credentials::setuid(0))] {
        match result {
            // EINVAL: 0 is not in its map.
            Ok(()) | Err(Errno::EINVAL) => {}
            Err(errno) => return Err(Error::errno(format!("{id} 0 of the user namespace"), errno)),
        }
    }
    Ok(())
}
