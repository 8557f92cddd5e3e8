//! Being told of changes to files instead of looking again and again: inotify(7).

use crate::Result;
use crate::trace::{call, quoted};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
pub use nix::sys::inotify::{InotifyEvent, WatchDescriptor};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::Duration;

/// Files and directories being watched.
#[derive(Debug)]
pub struct Watch(Inotify);

impl Watch {
    /// Watches nothing yet.
    pub fn new() -> Result<Self> {
        Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).map(Self)
    }

    /// Watches `path` for being written to; for a directory, for names that come, go and move too.
    pub fn add(&self, path: &Path) -> Result<()> {
        self.watch(path).map(drop)
    }

    /// As [`Watch::add`], and says by which descriptor the events of `path` are known.
    pub fn watch(&self, path: &Path) -> Result<WatchDescriptor> {
        let mut descriptor = None;
        let events = AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MOVE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_DELETE_SELF;
        call(
            "the kernel says when there is more",
            || {
                format!(
                    "inotify_add_watch(…, {}, IN_MODIFY|IN_CREATE|IN_MOVE|IN_DELETE|IN_DELETE_SELF)",
                    quoted(path)
                )
            },
            || self.0.add_watch(path, events).map(|added| descriptor = Some(added)),
        )?;
        descriptor.ok_or(crate::Errno::EBADF)
    }

    /// Waits for events and returns them in their order.
    pub fn wait(&self) -> Result<Vec<InotifyEvent>> {
        loop {
            let events = self.wait_for(None)?;
            if !events.is_empty() {
                return Ok(events);
            }
        }
    }

    /// As [`Watch::wait`], for about so long at most: then, and where a signal came, there are none.
    pub fn wait_for(&self, limit: Option<Duration>) -> Result<Vec<InotifyEvent>> {
        match self.0.read_events() {
            Err(crate::Errno::EAGAIN | crate::Errno::EINTR) => {}
            other => return other,
        }
        let timeout = limit.map_or(PollTimeout::NONE, |limit| {
            // What is longer than the kernel counts (24 days) is asked for again.
            PollTimeout::try_from(limit + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
        });
        match poll(&mut [PollFd::new(self.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) | Err(crate::Errno::EINTR) => return Ok(Vec::new()),
            Ok(_) => {}
            Err(errno) => return Err(errno),
        }
        match self.0.read_events() {
            Err(crate::Errno::EAGAIN | crate::Errno::EINTR) => Ok(Vec::new()),
            other => other,
        }
    }

    /// Forgets the events that have come; what they were about is looked at anyway.
    pub fn clear(&self) {
        while self.0.read_events().is_ok_and(|events| !events.is_empty()) {}
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
