//! Processes: becoming another program, signalling, waiting.

use crate::trace::{self, before, call, quoted};
use crate::{Errno, Result, program};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal};
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;
use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

/// Gives the next program the signal state a fresh program expects: nothing blocked, nothing ignored.
///
/// Rust's runtime ignores SIGPIPE, and execve(2) would hand that on.
pub fn reset_signals() -> Result<()> {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    for signal in Signal::iterator().filter(|signal| !matches!(signal, Signal::SIGKILL | Signal::SIGSTOP)) {
        // SAFETY: the default action runs no code of this program.
        unsafe { nix::sys::signal::sigaction(signal, &default) }?;
    }
    nix::sys::signal::sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
}

/// Becomes the program `file`, looked up in `PATH` if it has no slash, with the present environment (execvp(3)).
///
/// Returns only on failure: `ENOENT` where it does not exist, `EACCES` where it cannot be executed.
pub fn exec<S: AsRef<OsStr>>(argv: &[S], why: &str) -> Errno {
    let argv = match c_strings(argv) {
        Ok(argv) if !argv.is_empty() => argv,
        _ => return Errno::EINVAL,
    };
    if let Err(errno) = reset_signals() {
        return errno;
    }
    before(why, || format!("execvp({}, {})", quoted(lossy(&argv[0])), shown_argv(&argv)));
    if trace::is_on() {
        let Ok(environment) = program::environment(|_| true, &[]) else { return Errno::EINVAL };
        let environment = trace::handed_on(OsStr::from_bytes(argv[0].as_bytes()), environment);
        return nix::unistd::execvpe(&argv[0], &argv, &environment).err().unwrap_or(Errno::EINVAL);
    }
    match nix::unistd::execvp(&argv[0], &argv) {
        Ok(never) => match never {},
        Err(errno) => errno,
    }
}

/// Becomes the program at `path`, which is not looked up, with exactly this environment (execve(2)).
///
/// Returns only on failure. Signals are left as they are: call [`reset_signals`] before.
pub fn execve(path: &CStr, argv: &[CString], environment: &[CString], why: &str) -> Errno {
    before(why, || {
        let count = environment.len();
        format!("execve({}, {}, [/* {count} variables */])", quoted(lossy(path)), shown_argv(argv))
    });
    match nix::unistd::execve(path, argv, environment) {
        Ok(never) => match never {},
        Err(errno) => errno,
    }
}

/// Arguments or environment as C strings; `EINVAL` where one holds a NUL byte.
pub fn c_strings<S: AsRef<OsStr>>(words: &[S]) -> Result<Vec<CString>> {
    words.iter().map(|word| CString::new(word.as_ref().as_bytes()).map_err(|_| Errno::EINVAL)).collect()
}

pub(crate) fn lossy(text: &CStr) -> String {
    text.to_string_lossy().into_owned()
}

pub(crate) fn shown_argv(argv: &[CString]) -> String {
    format!("[{}]", argv.iter().map(|word| quoted(lossy(word))).collect::<Vec<_>>().join(", "))
}

/// pidfd_open(2): a handle on a process that stays with it, whatever becomes of the number.
pub fn pidfd_open(pid: i32) -> Result<OwnedFd> {
    call(
        "a handle that outlives the pid",
        || format!("pidfd_open({pid}, 0)"),
        || {
            // SAFETY: no memory is passed.
            let fd = unsafe { nix::libc::syscall(nix::libc::SYS_pidfd_open, pid, 0) };
            let fd = i32::try_from(Errno::result(fd)?).map_err(|_| Errno::EBADF)?;
            // SAFETY: the kernel has just made this descriptor for us.
            Ok(unsafe { OwnedFd::from_raw_fd(fd) })
        },
    )
}

/// pidfd_send_signal(2): a signal to the very process behind `pidfd`; `ESRCH` once it is gone. Signal 0 only asks.
pub fn pidfd_send_signal(pidfd: impl AsFd, signal: i32, why: &str) -> Result<()> {
    let fd = pidfd.as_fd().as_raw_fd();
    call(
        why,
        || format!("pidfd_send_signal({fd}, {}, NULL, 0)", signal_name(signal)),
        || {
            let info = std::ptr::null::<nix::libc::siginfo_t>();
            // SAFETY: the descriptor is borrowed for the call; a null siginfo means "as kill(2)".
            let result = unsafe { nix::libc::syscall(nix::libc::SYS_pidfd_send_signal, fd, signal, info, 0) };
            Errno::result(result).map(drop)
        },
    )
}

/// A signal's name, `SIGTERM`, or its number as `SIGRT_n` for the real-time ones.
pub fn signal_name(signal: i32) -> String {
    match Signal::try_from(signal) {
        Ok(known) => known.as_str().to_owned(),
        Err(_) if signal >= 34 => format!("SIGRT_{}", signal - 32),
        Err(_) => signal.to_string(),
    }
}

/// A child's end as a shell reports it: its exit status, or 128 plus the signal that killed it.
pub fn exit_code(status: WaitStatus) -> Option<u8> {
    match status {
        WaitStatus::Exited(_, code) => u8::try_from(code & 0xff).ok(),
        WaitStatus::Signaled(_, signal, _) => u8::try_from(128 + signal as i32).ok(),
        _ => None,
    }
}

/// Waits for a child to end; interrupted waits go on.
pub fn wait(pid: Pid) -> Result<WaitStatus> {
    loop {
        match nix::sys::wait::waitpid(pid, None) {
            Err(Errno::EINTR) => {}
            other => return other,
        }
    }
}
