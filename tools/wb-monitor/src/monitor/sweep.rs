//! What killed tools have left is given back in the background, by whoever starts a container next.

use super::finish::Pipeline;
use super::stdio;
use nix::unistd::Pid;
use std::os::fd::AsFd;
use wb_store::lock::Lock;
use wb_store::{Place, leftover};

/// The pipeline while it runs, and the lock that keeps it the only one.
#[derive(Debug)]
pub struct Sweep {
    running: Vec<Pid>,
    _lock: Lock,
}

impl Sweep {
    /// Starts it where there is something to do. Nobody has asked for it, so it says nothing: what it cannot do
    /// stays, and `wb gc` says why.
    pub fn start(pipeline: &Pipeline, place: &Place) -> Option<Self> {
        if !leftover::any(place) {
            return None;
        }
        let lock = Lock::try_exclusive(&place.run().join("gc.lock")).ok()??;
        let null = stdio::null().ok()?;
        let started = pipeline.start(null.as_fd()).ok()?;
        Some(Self { running: started.running, _lock: lock })
    }

    /// Whether it has ended, with the process `pid` as its last.
    pub fn is_over_with(&mut self, pid: Pid) -> bool {
        self.running.retain(|&running| running != pid);
        self.running.is_empty()
    }
}
