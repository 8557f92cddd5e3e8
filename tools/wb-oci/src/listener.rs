//! `SCMP_ACT_NOTIFY`: the connection to the program that decides about system calls (config-linux.md, "Seccomp").
//!
//! The filter is put in force inside, where neither the listener's socket nor the pid on the host is known. So both
//! are sent in beforehand, as one message on a pair of sockets.

use serde_json::{Value, json};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use wb_doc::{Context, Document, Error, hooks};
use wb_sys::socket;

/// A connection, and the pair on which it is sent in.
#[derive(Debug)]
pub struct Listener {
    connection: OwnedFd,
    ours: OwnedFd,
    /// The chain's end of the pair.
    pub theirs: OwnedFd,
}

impl Listener {
    /// Connects to the listener that the document names, if some call is for it to decide.
    pub fn of(document: &Document) -> Result<Option<Self>, Error> {
        let rules = document.at("/linux/seccomp/syscalls").and_then(Value::as_array);
        let notifies =
            rules.is_some_and(|rules| rules.iter().any(|rule| rule["action"] == "SCMP_ACT_NOTIFY"));
        let path = document.str_at("/linux/seccomp/listenerPath").filter(|_| notifies);
        let Some(path) = path else { return Ok(None) };
        let connection = socket::connect_stream(Path::new(path))
            .context(|| format!("linux.seccomp.listenerPath {path}"))?;
        let (ours, theirs) = socket::pair().context(|| "socket pair")?;
        Ok(Some(Self { connection, ours, theirs }))
    }

    /// Sends the connection in, with the state that goes to the listener: that of the process `pid`.
    pub fn prepare(self, document: &Document, status: &str, pid: i32) -> Result<(), Error> {
        let first = document.read::<i32>("/wb/state/pid")?.unwrap_or(pid);
        let state: Value = serde_json::from_slice(&hooks::state(document, status, Some(first)))
            .context(|| "the state for the listener")?;
        let mut message = json!({"ociVersion": "1.2.0", "fds": ["seccompFd"], "pid": pid, "state": state});
        if let Some(metadata) = document.str_at("/linux/seccomp/listenerMetadata") {
            message["metadata"] = json!(metadata);
        }
        let message = message.to_string();
        socket::send(&self.ours, message.as_bytes(), &[self.connection.as_raw_fd()])
            .context(|| "the state for the listener")
    }
}
