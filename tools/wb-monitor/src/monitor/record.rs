//! What the monitor writes into the container's record: that it runs, that it ended and how.

use crate::clock;
use std::cell::RefCell;
use std::path::Path;
use wb_doc::{Context, Document, Error};
use wb_store::atomic::Durability;
use wb_store::{Place, record};
use wb_sys::proc;

/// The container whose record it is.
#[derive(Debug)]
pub struct Record {
    place: Place,
    id: String,
    /// A record that goes with the container need not survive a power cut.
    transient: bool,
    /// The document that a pipeline has made, until it is stored: with the first change, in one write.
    made: RefCell<Option<Document>>,
}

/// How a container ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// Its exit status, 128 + N if signal N killed it.
    pub code: u8,
    /// Whether the kernel killed it for want of memory.
    pub oom_killed: bool,
}

impl Record {
    /// The record of `id`; `made` is what it becomes, where that is not stored yet.
    pub fn new(place: Place, id: String, transient: bool, made: Option<Document>) -> Self {
        Self { place, id, transient, made: RefCell::new(made) }
    }

    /// The document, if it is not stored.
    pub fn made(&self) -> Option<Document> {
        self.made.borrow().clone()
    }

    /// Whether the document is stored.
    pub fn is_stored(&self) -> bool {
        self.made.borrow().is_none()
    }

    /// The first process exists. Written before it becomes the user's program, so that no process of ours is ever
    /// unknown; a birth that fails takes it back.
    pub fn started(&self, pid: i32, start_time: u64, restarts: u64) -> Result<(), Error> {
        let (me, my_start) = myself()?;
        let boot_id = proc::boot_id().map_err(|errno| Error::errno("boot_id", errno))?;
        self.update(Durability::Visible, |document| {
            for (member, value) in [
                ("status", "running".into()),
                ("pid", pid.into()),
                ("startTime", start_time.into()),
                ("bootId", boot_id.into()),
                ("oomKilled", false.into()),
                ("startedAt", clock::now_text().into()),
                ("restartCount", restarts.into()),
                ("monitor", serde_json::json!({ "pid": me, "startTime": my_start })),
            ] {
                set(document, member, value)?;
            }
            for member in ["exitCode", "stopped", "error", "logFailure", "health"] {
                document.remove(&format!("/wb/state/{member}"));
            }
            Ok(())
        })
        .map(drop)
    }

    /// The chain failed: the container is as it was before, but for the reason.
    pub fn failed(&self, code: u8, message: &str) -> Result<Document, Error> {
        self.update(Durability::Visible, |document| {
            without_process(document);
            set(document, "status", "created".into())?;
            set(document, "exitCode", code.into())?;
            set(document, "error", message.into())
        })
    }

    /// It ended, and will be started again. `error` says why it could not be, the last time.
    pub fn restarting(&self, end: End, error: Option<&str>) -> Result<(), Error> {
        self.update(Durability::Visible, |document| {
            let monitor = document.remove("/wb/state/monitor");
            without_process(document);
            document.set("/wb/state/monitor", monitor)?;
            if let Some(error) = error {
                set(document, "error", error.into())?;
            }
            ended(document, "restarting", end)
        })
        .map(drop)
    }

    /// It ended. `stopped` says that somebody wanted it to, which a restart policy respects after a reboot.
    pub fn exited(&self, end: End, stopped: bool, log_failure: Option<String>) -> Result<Document, Error> {
        let durability = if self.transient { Durability::Visible } else { Durability::Durable };
        self.update(durability, |document| {
            without_process(document);
            ended(document, "exited", end)?;
            if stopped {
                set(document, "stopped", true.into())?;
            }
            if let Some(failure) = log_failure {
                set(document, "logFailure", failure.into())?;
            }
            Ok(())
        })
    }

    /// What the checks say, while it runs.
    pub fn health(&self, health: &serde_json::Value) -> Result<(), Error> {
        self.update(Durability::Visible, |document| set(document, "health", health.clone())).map(drop)
    }

    /// The record as it is now.
    pub fn read(&self) -> Result<Document, Error> {
        record::read(&self.place, &self.id)
    }

    fn update(
        &self,
        durability: Durability,
        change: impl FnOnce(&mut Document) -> Result<(), Error>,
    ) -> Result<Document, Error> {
        let Some(made) = self.made.take() else {
            return record::update(&self.place, &self.id, durability, change);
        };
        record::put_changed(&self.place, &made, record::durability(&made), change)
            .inspect_err(|_| drop(self.made.replace(Some(made))))
    }
}

fn ended(document: &mut Document, status: &str, end: End) -> Result<(), Error> {
    set(document, "status", status.into())?;
    set(document, "exitCode", end.code.into())?;
    set(document, "oomKilled", end.oom_killed.into())?;
    set(document, "finishedAt", clock::now_text().into())
}

fn set(document: &mut Document, member: &str, value: serde_json::Value) -> Result<(), Error> {
    document.set(&format!("/wb/state/{member}"), value)
}

fn without_process(document: &mut Document) {
    for member in ["pid", "startTime", "monitor"] {
        document.remove(&format!("/wb/state/{member}"));
    }
}

/// Makes the document the container's record, of a container that does not run.
pub fn keep(place: &Place, document: &Document) -> Result<Document, Error> {
    record::put(place, document, record::durability(document), &[nix::unistd::getpid().as_raw()])
}

/// Writes into a monitor's lock file whose it is.
pub fn sign(path: &Path) -> Result<(), Error> {
    let (pid, start) = myself()?;
    std::fs::write(path, format!("{pid} {start}\n")).context(|| path.display().to_string())
}

/// This process's pid and start time.
fn myself() -> Result<(i32, u64), Error> {
    let pid = nix::unistd::getpid().as_raw();
    let start = proc::start_time(pid).map_err(|errno| Error::errno("/proc/self/stat", errno))?;
    Ok((pid, start))
}
