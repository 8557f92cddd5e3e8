//! The namespaces kept for an ordinary user's containers, and what stands in them for the host.
//!
//! `wb-unshare keep` makes them and tells the tools by `WB_NETNS`: the network namespace in which bridges and rules
//! are made. It is set and empty where there are none, as for root.

use crate::Place;
use crate::atomic::{self, Durability};
use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use wb_doc::{Context, Error};
use wb_sys::{proc, process};

/// The variable that names the network namespace kept for the user.
pub const NETNS: &str = "WB_NETNS";

/// The file below [`directory`] of the process that leads the kept network namespace out, to the host's networks.
pub const WAY_OUT: &str = "way-out";

/// The network namespace that stands for the host's, where there is one.
pub fn network() -> Option<PathBuf> {
    std::env::var_os(NETNS).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// The directory in which containers' network namespaces are bound: where ip-netns(8) looks, or, since that is
/// root's, in the user's own.
pub fn netns_directory() -> PathBuf {
    let own = network().and_then(|path| Some(path.parent()?.parent()?.join("netns")));
    own.unwrap_or_else(|| PathBuf::from("/run/netns"))
}

/// The directory of what is kept: one file for the process that keeps it, one for each that serves it.
pub fn directory(place: &Place) -> PathBuf {
    place.run().join("kept")
}

/// A process that was left running, as it is written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    /// Its pid.
    pub pid: i32,
    /// When it started; with the pid this names one process of a boot.
    pub start_time: u64,
    /// The boot.
    pub boot_id: String,
}

impl Process {
    /// The process with this pid.
    pub fn of(pid: i32) -> Result<Self, Error> {
        let start_time = proc::start_time(pid).context(|| format!("process {pid}"))?;
        Ok(Self { pid, start_time, boot_id: proc::boot_id().context(|| "boot id")? })
    }

    /// The process written down at `path`; `None` where nobody is, or in a file that is not whole.
    pub fn read(path: &Path) -> Result<Option<Self>, Error> {
        match fs::read(path) {
            Ok(text) => Ok(serde_json::from_slice(&text).ok()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).context(|| path.display().to_string()),
        }
    }

    /// Writes it down.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let text = serde_json::to_vec(self).context(|| path.display().to_string())?;
        atomic::write(path, &text, Durability::Visible)
    }

    /// A handle on it; `None` where it has ended. The handle first, then the question: the number may be another's.
    pub fn hold(&self) -> Result<Option<OwnedFd>, Error> {
        let handle = match process::pidfd_open(self.pid) {
            Err(Errno::ESRCH | Errno::EINVAL) => return Ok(None),
            other => other.context(|| format!("process {}", self.pid))?,
        };
        Ok(proc::is_alive(self.pid, self.start_time, &self.boot_id).then_some(handle))
    }

    /// Ends it; one that has ended is fine.
    pub fn end(&self, why: &str) -> Result<(), Error> {
        let Some(handle) = self.hold()? else { return Ok(()) };
        match process::pidfd_send_signal(&handle, nix::libc::SIGKILL, why) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(errno) => Err(Error::errno(format!("process {}", self.pid), errno)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_found_again_and_no_other() {
        let path = std::env::temp_dir().join(format!("wb-kept-{}", std::process::id()));
        assert_eq!(Process::read(&path).unwrap(), None);
        let own = Process::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        own.write(&path).unwrap();
        assert_eq!(Process::read(&path).unwrap(), Some(own.clone()));
        assert!(own.hold().unwrap().is_some());
        assert!(Process { start_time: own.start_time + 1, ..own.clone() }.hold().unwrap().is_none());
        assert!(Process { boot_id: "another".into(), ..own }.hold().unwrap().is_none());
        fs::write(&path, "{").unwrap();
        assert_eq!(Process::read(&path).unwrap(), None);
        fs::remove_file(path).unwrap();
    }
}
