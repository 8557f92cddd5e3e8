//! Waiting for many descriptors at once: poll(2).
//!
//! Waiting and moving bytes ([`crate::pipe`]) are not traced: they are the container's traffic, not its making.

use crate::{Errno, Result};
use nix::libc;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Instant;

/// There is something to read, or the other end is gone.
pub const IN: i16 = libc::POLLIN;
/// There is room to write.
pub const OUT: i16 = libc::POLLOUT;
/// The other end is gone.
pub const HUP: i16 = libc::POLLHUP | libc::POLLERR;

/// The descriptors of one wait, each with a token that says what it is. Made once and filled again for each wait,
/// so that waiting allocates nothing.
#[derive(Debug)]
pub struct Set<T> {
    fds: Vec<libc::pollfd>,
    tokens: Vec<T>,
}

impl<T> Default for Set<T> {
    fn default() -> Self {
        Self { fds: Vec::new(), tokens: Vec::new() }
    }
}

impl<T: Copy> Set<T> {
    /// Forgets all descriptors.
    pub fn clear(&mut self) {
        self.fds.clear();
        self.tokens.clear();
    }

    /// Waits for `events` on `fd` too; [`HUP`] is reported always.
    pub fn add(&mut self, fd: impl AsFd, events: i16, token: T) {
        self.fds.push(libc::pollfd { fd: fd.as_fd().as_raw_fd(), events, revents: 0 });
        self.tokens.push(token);
    }

    /// Waits until something happens or `deadline` has passed. A signal counts as something.
    pub fn wait(&mut self, deadline: Option<Instant>) -> Result<()> {
        let timeout = deadline.map_or(-1, |deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            // Rounded up: a wait that ends early would spin until the deadline.
            i32::try_from(left.as_micros().div_ceil(1000)).unwrap_or(i32::MAX)
        });
        for fd in &mut self.fds {
            fd.revents = 0;
        }
        let count = libc::nfds_t::try_from(self.fds.len()).map_err(|_| Errno::EINVAL)?;
        // SAFETY: the pointer and the count are those of one live vector; a stale number only gives POLLNVAL.
        let result = unsafe { libc::poll(self.fds.as_mut_ptr(), count, timeout) };
        match Errno::result(result) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// How many descriptors there are.
    pub fn len(&self) -> usize {
        self.fds.len()
    }

    /// Whether there is no descriptor.
    pub fn is_empty(&self) -> bool {
        self.fds.is_empty()
    }

    /// The token and the events of the descriptor at `index`; no events where nothing happened.
    pub fn at(&self, index: usize) -> (T, i16) {
        (self.tokens[index], self.fds[index].revents)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_is_ready() {
        let (reader, writer) = nix::unistd::pipe().unwrap();
        let mut set = Set::default();
        set.add(&reader, IN, 'r');
        set.wait(Some(Instant::now())).unwrap();
        assert_eq!(set.at(0), ('r', 0));
        nix::unistd::write(&writer, b"x").unwrap();
        set.wait(None).unwrap();
        assert_eq!(set.at(0), ('r', IN));
        drop(writer);
        set.wait(None).unwrap();
        assert_ne!(set.at(0).1 & HUP, 0);
    }
}
