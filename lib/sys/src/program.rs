//! Programs by descriptor: opened on the host, executed inside a container that must never write to them.

use crate::mount_fd::{self, Attributes, Change};
use crate::process::{c_strings, reset_signals, shown_argv};
use crate::trace::{self, before};
use crate::{Errno, Result};
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Whether `word` names one of our own tools, which a chain runs from the host's file system.
pub fn is_tool(word: &OsStr) -> bool {
    Path::new(word).file_name().is_some_and(|name| name.as_bytes().starts_with(b"wb-"))
}

/// Finds an executable regular file: `word` itself if it has a slash, else the first of that name in `PATH`.
pub fn find(word: &OsStr) -> Result<PathBuf> {
    let executable = |path: &Path| {
        nix::unistd::access(path, nix::unistd::AccessFlags::X_OK).is_ok()
            && std::fs::metadata(path).is_ok_and(|found| found.is_file())
    };
    if word.as_bytes().contains(&b'/') {
        let path = PathBuf::from(word);
        return if executable(&path) { Ok(path) } else { Err(Errno::ENOENT) };
    }
    let list = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&list).map(|dir| dir.join(word)).find(|path| executable(path)).ok_or(Errno::ENOENT)
}

/// Opens a program through a detached read-only bind mount of it alone (Linux 5.12).
///
/// Whoever reaches its file by `/proc/PID/exe` meets that mount, and can neither write to the file nor reach
/// another one from it (CVE-2019-5736). Needs CAP_SYS_ADMIN in the mount namespace.
pub fn open_detached(path: &Path) -> Result<OwnedFd> {
    let program = mount_fd::clone_path(path, false, "the next program, by a mount of its own")?;
    let change = Change { set: Attributes::MOUNT_ATTR_RDONLY, ..Change::default() };
    mount_fd::set_attributes(&program, change, "that nobody can write through")?;
    Ok(program)
}

/// As [`open_detached`], or a sealed copy in memory where the caller may not make mounts.
pub fn open_unwritable(path: &Path) -> Result<OwnedFd> {
    match open_detached(path) {
        Err(Errno::EPERM) => {
            let file = nix::fcntl::open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
            crate::memfd::sealed_copy("wb-tool", file)
        }
        other => other,
    }
}

/// Makes sure that nobody reaches this program's file by `/proc/PID/exe` and writes to it (CVE-2019-5736): it is
/// executed once more, with the same words, environment and descriptors, through [`open_detached`], or from a sealed
/// copy in memory where no mount can be made.
///
/// Returns at once where that has happened before. It comes first in a program, before descriptors are taken over.
pub fn shield_self() -> Result<()> {
    let own = open_self()?;
    if is_unwritable(&own)? {
        return Ok(());
    }
    let argv: Vec<_> = std::env::args_os().collect();
    let why = "itself again, from where nobody can write to it";
    let detached = open_detached(Path::new("/proc/self/exe"));
    // Without CAP_SYS_ADMIN, or where the file has been replaced meanwhile.
    let program = match detached {
        Ok(program) => program,
        Err(_) => crate::memfd::sealed_copy("wb-tool", own)?,
    };
    Err(exec_fd(program, &argv, why))
}

/// Whether [`shield_self`] has nothing to do.
pub fn is_shielded() -> Result<bool> {
    is_unwritable(&open_self()?)
}

fn open_self() -> Result<OwnedFd> {
    nix::fcntl::open("/proc/self/exe", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
}

/// Whether a file cannot be written to through this descriptor's mount, or at all.
fn is_unwritable(file: &OwnedFd) -> Result<bool> {
    if nix::sys::statvfs::fstatvfs(file)?.flags().contains(nix::sys::statvfs::FsFlags::ST_RDONLY) {
        return Ok(true);
    }
    // EINVAL: no file in memory.
    let seals = nix::fcntl::fcntl(file, nix::fcntl::FcntlArg::F_GET_SEALS).unwrap_or(0);
    Ok(nix::fcntl::SealFlag::from_bits_truncate(seals).contains(nix::fcntl::SealFlag::F_SEAL_WRITE))
}

/// Becomes the program behind `program` (execveat(2), `AT_EMPTY_PATH`) with the present environment.
///
/// Returns only on failure. `argv[0]` is what the program sees as its name.
pub fn exec_fd<S: AsRef<OsStr>>(program: impl AsFd, argv: &[S], why: &str) -> Errno {
    exec_fd_keeping(program, argv, |_| true, why)
}

/// As [`exec_fd`], with only those variables of the environment whose name `keeps`.
pub fn exec_fd_keeping<S: AsRef<OsStr>>(
    program: impl AsFd,
    argv: &[S],
    keeps: impl Fn(&OsStr) -> bool,
    why: &str,
) -> Errno {
    let (argv, environment) = match (c_strings(argv), environment(keeps, &[])) {
        (Ok(argv), Ok(environment)) if !argv.is_empty() => (argv, environment),
        _ => return Errno::EINVAL,
    };
    if let Err(errno) = reset_signals() {
        return errno;
    }
    let environment = trace::handed_on(OsStr::from_bytes(argv[0].as_bytes()), environment);
    let fd = program.as_fd().as_raw_fd();
    before(why, || format!("execveat({fd}, \"\", {}, environ, AT_EMPTY_PATH)", shown_argv(&argv)));
    let flags = nix::fcntl::AtFlags::AT_EMPTY_PATH;
    match nix::unistd::execveat(&program, c"", &argv, &environment, flags) {
        Ok(never) => match never {},
        Err(errno) => errno,
    }
}

/// Becomes the program `argv[0]`, looked up in `PATH`, with `more` in its environment. Returns only on failure.
pub fn exec_with<S: AsRef<OsStr>>(argv: &[S], more: &[(&str, &str)], why: &str) -> Errno {
    let prepared = c_strings(argv).and_then(|words| Ok((words, environment(|_| true, more)?)));
    let (words, environment) = match prepared {
        Ok((words, environment)) if !words.is_empty() => (words, environment),
        _ => return Errno::EINVAL,
    };
    let found = find(argv[0].as_ref()).and_then(|path| c_strings(&[path])).and_then(|path| {
        reset_signals()?;
        Ok(path)
    });
    match found {
        Ok(path) => {
            let environment = trace::handed_on(argv[0].as_ref(), environment);
            crate::process::execve(&path[0], &words, &environment, why)
        }
        Err(errno) => errno,
    }
}

/// Sets a variable of the environment that the programs this process starts or becomes inherit (setenv(3)).
pub fn set_variable(name: &str, value: &OsStr) {
    // SAFETY: the tools have no threads, so nobody else reads the environment meanwhile.
    unsafe { std::env::set_var(name, value) }
}

/// The variables of the present environment that `keeps`, with `more` in place of what has the same names.
pub(crate) fn environment(keeps: impl Fn(&OsStr) -> bool, more: &[(&str, &str)]) -> Result<Vec<CString>> {
    let kept =
        std::env::vars_os().filter(|(name, _)| keeps(name) && more.iter().all(|(other, _)| name != other));
    let added = more.iter().map(|&(name, value)| (name.into(), value.into()));
    let pair = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        let mut pair = name.into_encoded_bytes();
        pair.push(b'=');
        pair.extend_from_slice(value.as_bytes());
        CString::new(pair).map_err(|_| Errno::EINVAL)
    };
    kept.chain(added).map(pair).collect()
}
