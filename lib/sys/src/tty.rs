//! Terminals: a pty pair (pty(7)), its window size, raw mode (termios(3)), the controlling terminal.

use crate::trace::call;
use crate::{Errno, Result};
use nix::fcntl::OFlag;
use nix::libc;
use nix::sys::termios::{self, SetArg, Termios};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

mod ioctl {
    use nix::libc;
    nix::ioctl_read_bad!(tiocgwinsz, libc::TIOCGWINSZ, libc::winsize);
    nix::ioctl_write_ptr_bad!(tiocswinsz, libc::TIOCSWINSZ, libc::winsize);
    nix::ioctl_write_int_bad!(tiocsctty, libc::TIOCSCTTY);
    nix::ioctl_write_int_bad!(tiocgptpeer, libc::TIOCGPTPEER);
}

/// A terminal's size in characters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    /// Height.
    pub rows: u16,
    /// Width.
    pub columns: u16,
}

/// Opens a new pty and gives its master and its slave, both close-on-exec.
///
/// The slave is opened from the master (`TIOCGPTPEER`, Linux 4.13) and not by its name: a name below `/dev/pts` may
/// mean another file system by then (CVE-2025-52565 is of that kind).
pub fn open_pty() -> Result<(OwnedFd, OwnedFd)> {
    let master = call(
        "a terminal for the container: this end is ours",
        || "openat(AT_FDCWD, \"/dev/ptmx\", O_RDWR|O_NOCTTY|O_CLOEXEC)".into(),
        || {
            let master = nix::pty::posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC)?;
            nix::pty::unlockpt(&master)?;
            Ok(OwnedFd::from(master))
        },
    )?;
    let raw = master.as_raw_fd();
    let slave = call(
        "and this end is the container's",
        || format!("ioctl({raw}, TIOCGPTPEER, O_RDWR|O_NOCTTY|O_CLOEXEC)"),
        || {
            let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
            // SAFETY: the descriptor is open for the call; the argument is a number, no memory is passed.
            let fd = unsafe { ioctl::tiocgptpeer(raw, flags.bits()) }?;
            // SAFETY: the kernel has just made this descriptor for us.
            Ok(unsafe { OwnedFd::from_raw_fd(fd) })
        },
    )?;
    Ok((master, slave))
}

/// Makes the terminal `fd` the controlling one of this session, which the caller leads (setsid(2)).
///
/// Whoever becomes the user's program calls this, and no parent of it: when the leader of a session ends, its
/// terminal is taken from all its members.
pub fn set_controlling(fd: impl AsFd) -> Result<()> {
    let raw = fd.as_fd().as_raw_fd();
    call(
        "the terminal sends this session its signals: ^C, ^Z, hang-up",
        || format!("ioctl({raw}, TIOCSCTTY, 0)"),
        // SAFETY: the descriptor is borrowed for the call; the argument is a number, no memory is passed.
        || unsafe { ioctl::tiocsctty(raw, 0) }.map(drop),
    )
}

/// The size of the terminal `fd`; `ENOTTY` where it is none.
pub fn size(fd: impl AsFd) -> Result<Size> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the descriptor is borrowed for the call, and the kernel fills the struct it is given.
    unsafe { ioctl::tiocgwinsz(fd.as_fd().as_raw_fd(), &raw mut size) }?;
    Ok(Size { rows: size.ws_row, columns: size.ws_col })
}

/// Sets the size of the terminal `fd`; its foreground process group gets SIGWINCH if that is a change.
pub fn set_size(fd: impl AsFd, size: Size) -> Result<()> {
    let raw = fd.as_fd().as_raw_fd();
    let winsize = libc::winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    call(
        "the container's terminal is as large as the user's",
        || format!("ioctl({raw}, TIOCSWINSZ, {{ws_row={}, ws_col={}}})", size.rows, size.columns),
        // SAFETY: the descriptor is borrowed for the call, and the kernel only reads the struct.
        || unsafe { ioctl::tiocswinsz(raw, &raw const winsize) }.map(drop),
    )
}

/// A terminal in raw mode: every key goes to the program that reads. Dropped, it is as before.
#[derive(Debug)]
pub struct Raw {
    tty: File,
    before: Termios,
}

impl Raw {
    /// Puts the terminal `fd` into raw mode (cfmakeraw(3)); `ENOTTY` where it is none.
    pub fn enter(fd: impl AsFd) -> Result<Self> {
        let tty = fd.as_fd().try_clone_to_owned().map_err(|_| Errno::EMFILE)?;
        let before = termios::tcgetattr(&tty)?;
        let raw = Self { tty: File::from(tty), before };
        raw.again()?;
        Ok(raw)
    }

    /// Raw mode again, after [`Raw::restore`].
    pub fn again(&self) -> Result<()> {
        let mut raw = self.before.clone();
        termios::cfmakeraw(&mut raw);
        set(&self.tty, &raw, "every key goes to the container")
    }

    /// The mode from before.
    pub fn restore(&self) -> Result<()> {
        set(&self.tty, &self.before, "the terminal as it was")
    }

    /// The mode from before, by way of `fd`, which is the same terminal; unless somebody else has set another meanwhile.
    pub fn restore_through(&self, fd: impl AsFd) -> Result<()> {
        let tty = File::from(fd.as_fd().try_clone_to_owned().map_err(|_| Errno::EMFILE)?);
        let present = termios::tcgetattr(&tty)?;
        let mut raw = self.before.clone();
        termios::cfmakeraw(&mut raw);
        let same = present.local_flags == raw.local_flags && present.input_flags == raw.input_flags;
        if same { set(&tty, &self.before, "the terminal as it was") } else { Ok(()) }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that is gone needs no mode.
        self.restore().ok();
    }
}

/// A terminal that does not show what is typed. Dropped, it is as before.
#[derive(Debug)]
pub struct Hushed {
    tty: File,
    before: Termios,
}

impl Hushed {
    /// Turns the echo of the terminal `fd` off; `ENOTTY` where it is none.
    pub fn enter(fd: impl AsFd) -> Result<Self> {
        let tty = File::from(fd.as_fd().try_clone_to_owned().map_err(|_| Errno::EMFILE)?);
        let before = termios::tcgetattr(&tty)?;
        let mut hushed = before.clone();
        hushed.local_flags.remove(termios::LocalFlags::ECHO);
        set(&tty, &hushed, "nobody reads a password over a shoulder")?;
        Ok(Self { tty, before })
    }
}

impl Drop for Hushed {
    fn drop(&mut self) {
        // A terminal that is gone needs no mode.
        set(&self.tty, &self.before, "the terminal as it was").ok();
    }
}

fn set(tty: &File, to: &Termios, why: &str) -> Result<()> {
    let raw = tty.as_raw_fd();
    call(
        why,
        || format!("tcsetattr({raw}, TCSADRAIN, …)"),
        || {
            loop {
                match termios::tcsetattr(tty, SetArg::TCSADRAIN, to) {
                    Err(Errno::EINTR) => {}
                    other => return other,
                }
            }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pty_has_a_size_and_a_mode_that_comes_back() {
        let (master, slave) = open_pty().unwrap();
        let wanted = Size { rows: 33, columns: 101 };
        set_size(&master, wanted).unwrap();
        assert_eq!(size(&slave).unwrap(), wanted);
        let before = termios::tcgetattr(&slave).unwrap();
        let raw = Raw::enter(&slave).unwrap();
        assert_ne!(termios::tcgetattr(&slave).unwrap().local_flags, before.local_flags);
        raw.restore_through(&slave).unwrap();
        assert_eq!(termios::tcgetattr(&slave).unwrap().local_flags, before.local_flags);
        let mut other = before.clone();
        other.local_flags.remove(termios::LocalFlags::ECHO);
        termios::tcsetattr(&slave, SetArg::TCSANOW, &other).unwrap();
        raw.restore_through(&slave).unwrap();
        assert_eq!(termios::tcgetattr(&slave).unwrap().local_flags, other.local_flags);
        drop(raw);
        assert_eq!(termios::tcgetattr(&slave).unwrap().local_flags, before.local_flags);
    }

    #[test]
    fn a_pipe_is_no_terminal() {
        let (reader, _writer) = nix::unistd::pipe().unwrap();
        assert_eq!(size(&reader), Err(Errno::ENOTTY));
        assert!(Raw::enter(&reader).is_err());
    }
}
