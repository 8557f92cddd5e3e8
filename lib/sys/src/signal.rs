//! Signals read from a descriptor (signalfd(2)), so that a loop sees them in order with everything else.

use crate::trace::call;
use crate::{Errno, Result};
use nix::libc;
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::os::fd::{AsFd, BorrowedFd};

/// A set of signals, blocked and read one by one.
#[derive(Debug)]
pub struct Signals(SignalFd);

impl Signals {
    /// Blocks the signals `numbers` and takes them from now on. Forked children inherit the block.
    pub fn take(numbers: &[i32]) -> Result<Self> {
        let set = set_of(numbers)?;
        call(
            "these signals arrive as data",
            || {
                let names = numbers.iter().map(|&number| crate::process::signal_name(number));
                format!("signalfd4(-1, [{}], SFD_CLOEXEC|SFD_NONBLOCK)", names.collect::<Vec<_>>().join(" "))
            },
            || {
                nix::sys::signal::sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None)?;
                SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            },
        )
        .map(Self)
    }

    /// The next signal's number, `None` where none is waiting.
    pub fn next(&self) -> Option<i32> {
        // EAGAIN is none; any other failure cannot happen to an open signalfd.
        let info = self.0.read_signal().ok().flatten()?;
        i32::try_from(info.ssi_signo).ok()
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl crate::trace::Returned for SignalFd {
    fn shown(&self) -> String {
        use std::os::fd::AsRawFd;
        self.as_raw_fd().to_string()
    }
}

fn set_of(numbers: &[i32]) -> Result<SigSet> {
    // SAFETY: a sigset_t is plain bits, for which zero is a value.
    let mut set = unsafe { std::mem::zeroed::<libc::sigset_t>() };
    for &number in numbers {
        // SAFETY: the set is initialised; a number that is no signal fails with EINVAL.
        Errno::result(unsafe { libc::sigaddset(&raw mut set, number) })?;
    }
    // SAFETY: it was filled by sigaddset(3) above.
    Ok(unsafe { SigSet::from_sigset_t_unchecked(set) })
}

/// Sends this very process a signal, with the default action in force: to stop or end as the signal says.
pub fn raise_default(signal: Signal) -> Result<()> {
    let default = nix::sys::signal::SigAction::new(
        nix::sys::signal::SigHandler::SigDfl,
        nix::sys::signal::SaFlags::empty(),
        SigSet::empty(),
    );
    if signal != Signal::SIGSTOP && signal != Signal::SIGKILL {
        // SAFETY: the default action runs no code of this program.
        unsafe { nix::sys::signal::sigaction(signal, &default) }?;
    }
    crate::child::kill(
        nix::unistd::getpid().as_raw(),
        signal as i32,
        "this process does as the signal says",
    )?;
    let mut only = SigSet::empty();
    only.add(signal);
    nix::sys::signal::sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&only), None)
}

/// A signal's number from a person's word: `TERM`, `SIGTERM`, `15`, `RTMIN+3`.
pub fn parse(word: &str) -> Result<i32> {
    let upper = word.trim().to_ascii_uppercase();
    if let Ok(number) = upper.parse::<i32>() {
        return if (1..=64).contains(&number) { Ok(number) } else { Err(Errno::EINVAL) };
    }
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let real_time = |base: i32, rest: &str, sign: i32| -> Result<i32> {
        let offset = if rest.is_empty() { 0 } else { rest[1..].parse::<i32>().map_err(|_| Errno::EINVAL)? };
        let number = base + sign * offset;
        if (34..=64).contains(&number) { Ok(number) } else { Err(Errno::EINVAL) }
    };
    match name {
        "CLD" => return Ok(libc::SIGCHLD),
        "POLL" => return Ok(libc::SIGIO),
        _ => {}
    }
    if let Some(rest) = name.strip_prefix("RTMIN") {
        return if rest.is_empty() || rest.starts_with('+') {
            real_time(34, rest, 1)
        } else {
            Err(Errno::EINVAL)
        };
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        return if rest.is_empty() || rest.starts_with('-') {
            real_time(64, rest, -1)
        } else {
            Err(Errno::EINVAL)
        };
    }
    format!("SIG{name}").parse::<Signal>().map(|signal| signal as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_words_people_use() {
        let words =
            [("TERM", 15), ("sigterm", 15), ("9", 9), ("RTMIN", 34), ("SIGRTMIN+3", 37), ("RTMAX-1", 63)];
        for (word, number) in words {
            assert_eq!(parse(word), Ok(number), "{word}");
        }
        for word in ["", "0", "65", "SIG", "FOO", "RTMIN-1", "RTMIN+99", "RTMAX+1", "-1"] {
            assert!(parse(word).is_err(), "{word}");
        }
    }
}
