//! A program that stays in front of a child: it hands signals on to it, and ends as the child ends.

use crate::process::signal_name;
use crate::trace::call;
use crate::{Errno, Result};
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Signals held back from the moment before the child is made, so that none is lost between.
#[derive(Debug)]
pub struct Attendant {
    before: SigSet,
}

impl Attendant {
    /// Blocks every signal that can be handed on. Call it before the child is made.
    pub fn prepare() -> Result<Self> {
        let mut before = SigSet::empty();
        nix::sys::signal::sigprocmask(SigmaskHow::SIG_SETMASK, Some(&handed_on()), Some(&mut before))?;
        Ok(Self { before })
    }

    /// Takes the mask back: for the child.
    pub fn release(self) -> Result<()> {
        nix::sys::signal::sigprocmask(SigmaskHow::SIG_SETMASK, Some(&self.before), None)
    }

    /// Waits for the child and hands signals on to it; gives its exit status as a shell reports it.
    ///
    /// What a terminal sends (Ctrl-C) has reached the child already, as it is in the same group, unless the child
    /// has a session of its own (`own_session`). When the child stops, this process stops too, so that a shell's
    /// job control sees it.
    pub fn attend(self, child: Pid, own_session: bool) -> Result<u8> {
        let signals = handed_on();
        loop {
            let info = wait_for_signal(&signals)?;
            if info.si_signo == nix::libc::SIGCHLD {
                if let Some(code) = reap(child)? {
                    return Ok(code);
                }
                continue;
            }
            if info.si_code == nix::libc::SI_KERNEL && !own_session {
                continue;
            }
            let forwarded = call(
                "a signal for the child",
                || format!("kill({child}, {})", signal_name(info.si_signo)),
                || {
                    // SAFETY: no memory is passed.
                    Errno::result(unsafe { nix::libc::kill(child.as_raw(), info.si_signo) }).map(drop)
                },
            );
            match forwarded {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}

/// Everything but what the kernel raises for a program's own mistakes, and what no program can hold back.
fn handed_on() -> SigSet {
    let mut set = SigSet::all();
    for own in
        [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGILL, Signal::SIGFPE, Signal::SIGTRAP, Signal::SIGSYS]
    {
        set.remove(own);
    }
    for job_control in [Signal::SIGTTIN, Signal::SIGTTOU, Signal::SIGTSTP] {
        set.remove(job_control);
    }
    set
}

fn wait_for_signal(signals: &SigSet) -> Result<nix::libc::siginfo_t> {
    loop {
        let mut info = std::mem::MaybeUninit::<nix::libc::siginfo_t>::zeroed();
        // SAFETY: both pointers live through the call, and the kernel writes at most one siginfo_t.
        let result = unsafe { nix::libc::sigwaitinfo(signals.as_ref(), info.as_mut_ptr()) };
        match Errno::result(result) {
            // SAFETY: the call succeeded and has filled it; all-zero bytes are valid anyway.
            Ok(_) => return Ok(unsafe { info.assume_init() }),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Takes every child's news; the exit status if `child` has ended.
fn reap(child: Pid) -> Result<Option<u8>> {
    let mut ended = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(ended),
            Ok(WaitStatus::Stopped(pid, _)) if pid == child => {
                let own = nix::unistd::getpid();
                crate::child::kill(own.as_raw(), Signal::SIGSTOP as i32, "stopped as the child is")?;
                crate::child::kill(
                    child.as_raw(),
                    Signal::SIGCONT as i32,
                    "somebody has let this process go on",
                )?;
            }
            Ok(status) if status.pid() == Some(child) => {
                ended = ended.or(crate::process::exit_code(status));
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}
