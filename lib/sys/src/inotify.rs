//! Being told of changes to files instead of looking again and again: inotify(7).

use crate::Result;
use crate::trace::{call, quoted};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

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
            || self.0.add_watch(path, events).map(drop),
        )
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
