//! How a tool starts: the C library's `main`, without the preparations of Rust's own.
//!
//! Rust's takes a tenth of the time that a small tool runs, most of it for a message about an overflowing stack, for
//! which it reads `/proc/self/maps`. Here an overflowing stack ends the program by SIGSEGV, without a message.

use crate::{Result, trace};
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::stat::Mode;
use std::os::fd::BorrowedFd;

/// Makes a function of the crate, `fn() -> impl Into<i32>`, the program's start. The crate is `no_main`, except in its tests.
#[macro_export]
macro_rules! start {
    ($main:path) => {
        #[cfg(not(test))]
        #[unsafe(export_name = "main")]
        extern "C" fn start(_: i32, _: *const *const u8) -> i32 {
            $crate::start::run(|| $main().into())
        }
    };
}

/// Runs a tool's main function and ends with its status.
pub fn run(main: impl FnOnce() -> i32) -> ! {
    prepare();
    trace::begin();
    let status = main();
    trace::exit(status);
    // Not a return: what is left in the buffer of standard output is written.
    std::process::exit(status)
}

/// What a program of ours relies on: descriptors 0 to 2 are open, so that no file is ever opened as one of them, and
/// writing to a closed pipe is an error, not a signal.
///
/// A failure is left to the call that then fails.
fn prepare() {
    open_standard().ok();
    // SAFETY: ignoring a signal runs no code.
    unsafe { signal(Signal::SIGPIPE, SigHandler::SigIgn) }.ok();
}

fn open_standard() -> Result<()> {
    // SAFETY: a descriptor that is not open is what poll(2) is asked about.
    let mut standard =
        [0, 1, 2].map(|fd| PollFd::new(unsafe { BorrowedFd::borrow_raw(fd) }, PollFlags::empty()));
    poll(&mut standard, PollTimeout::ZERO)?;
    for one in standard {
        if one.revents().is_some_and(|events| events.contains(PollFlags::POLLNVAL)) {
            // The lowest free number is the one that was found closed.
            std::mem::forget(open("/dev/null", OFlag::O_RDWR, Mode::empty())?);
        }
    }
    Ok(())
}
