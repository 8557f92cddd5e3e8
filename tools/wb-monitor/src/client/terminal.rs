//! The user's terminal in raw mode, and whoever puts it back when the client cannot do so itself.
//!
//! SIGKILL leaves no time for anything, and not every shell repairs a terminal. So a second process waits for the
//! client's end: a pipe tells it, which the client says a last word into where it has put the mode back itself.

use crate::monitor::stdio;
use std::os::fd::{AsFd, OwnedFd};
use wb_doc::{Context, Error};
use wb_sys::tty::Raw;
use wb_sys::{child, pipe};

/// A terminal in raw mode. Dropped, it is as before.
#[derive(Debug)]
pub struct Terminal {
    raw: Option<Raw>,
    guard: OwnedFd,
}

impl Terminal {
    /// Puts the terminal `fd` into raw mode, and a guard beside it.
    pub fn enter(fd: impl AsFd) -> Result<Self, Error> {
        let (reader, writer) = pipe::pipe().context(|| "pipe")?;
        let raw = Raw::enter(&fd).context(|| "raw mode")?;
        child::fork("it puts the terminal back, should the client be killed", || {
            match stand_by(&reader, fd) {
                // Not a word, but the end: the client was killed.
                Ok(0) => raw.restore_through(std::io::stdout()).map_or(1, |()| 0),
                _ => 0,
            }
        })
        .context(|| "fork")?;
        Ok(Self { raw: Some(raw), guard: writer })
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.raw = None;
        // A guard that is gone has nothing to do.
        pipe::write(&self.guard, b".").ok();
    }
}

/// Waits for the client's word or its end, with nothing of it but the terminal: in a session of its own, so that what
/// kills the client's process group does not kill this, and job control does not stop it.
fn stand_by(reader: &OwnedFd, terminal: impl AsFd) -> wb_sys::Result<usize> {
    child::new_session()?;
    child::place(&terminal, 1)?;
    child::place(reader, 0)?;
    child::place(stdio::null()?, 2)?;
    child::close_range(3, u32::MAX)?;
    pipe::read(std::io::stdin(), &mut [0; 1])
}
