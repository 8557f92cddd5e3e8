//! Which process to join, and what of it, as a plain value read from a document.

use nix::sched::CloneFlags;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use wb_doc::oci::Namespace;
use wb_doc::{Document, Error, names};
use wb_sys::namespace;

/// What a document says about a running container.
#[derive(Debug, PartialEq, Eq)]
pub struct Container {
    /// What people call it.
    pub name: String,
    /// Its first process.
    pub process: Identity,
    /// The namespaces it has of its own.
    pub namespaces: CloneFlags,
    /// Cgroup directories by controller, `unified` for v2.
    pub cgroups: BTreeMap<String, PathBuf>,
    /// Whether standard input is a terminal made for the new process.
    pub terminal: bool,
}

/// A process that can be told from a later one with the same pid.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// Its number in the caller's pid namespace.
    pub pid: i32,
    /// In clock ticks after boot.
    pub start_time: u64,
    /// Which boot.
    pub boot_id: String,
}

/// `wb.cgroup`.
#[derive(Debug, Default, Deserialize)]
struct Cgroup {
    #[serde(default)]
    paths: BTreeMap<String, PathBuf>,
}

impl Container {
    /// Reads what is joined; refuses a container that does not run.
    pub fn of(document: &Document) -> Result<Self, Error> {
        let name = document.str_at("/wb/name").or_else(|| document.str_at("/wb/id").map(names::short));
        let name = name.unwrap_or("container").to_owned();
        let status = document.str_at("/wb/state/status").unwrap_or_default();
        let not_running = || Error::new(format!("{name} is not running"));
        match status {
            "" | "running" | "created" => {}
            "paused" => return Err(Error::new(format!("{name} is paused: unpause it first"))),
            _ => return Err(not_running()),
        }
        if document.at("/wb/state/pid").and_then(serde_json::Value::as_i64).is_none_or(|pid| pid <= 0) {
            return Err(not_running());
        }
        let process = document.read::<Identity>("/wb/state")?.ok_or_else(not_running)?;
        let mut namespaces = CloneFlags::empty();
        for entry in document.read::<Vec<Namespace>>("/linux/namespaces")?.unwrap_or_default() {
            let unknown = || Error::new(format!("document: linux.namespaces: unknown type {:?}", entry.kind));
            namespaces |= namespace::kind(&entry.kind).ok_or_else(unknown)?.flag;
        }
        Ok(Self {
            name,
            process,
            namespaces,
            cgroups: document.read::<Cgroup>("/wb/cgroup")?.unwrap_or_default().paths,
            terminal: document.read("/process/terminal")?.unwrap_or(false),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(text: &str) -> Result<Container, Error> {
        Container::of(&Document::parse(text.as_bytes()).unwrap())
    }

    #[test]
    fn reads_who_and_what() {
        let text = r#"{"process":{"terminal":true},"linux":{"namespaces":[{"type":"pid"},{"type":"network","path":"/x"}]},
            "wb":{"id":"abc","state":{"status":"running","pid":7,"startTime":9,"bootId":"b"}}}"#;
        let found = container(text).unwrap();
        assert_eq!(found.process, Identity { pid: 7, start_time: 9, boot_id: "b".into() });
        assert_eq!(found.namespaces, CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNET);
        assert!(found.terminal);
    }

    #[test]
    fn refuses_what_does_not_run() {
        for state in [
            r#"{"status":"exited","pid":7,"startTime":9,"bootId":"b"}"#,
            r#"{"status":"paused","pid":7,"startTime":9,"bootId":"b"}"#,
            r#"{"status":"running","pid":0,"startTime":9,"bootId":"b"}"#,
            r#"{"status":"running","pid":-1,"startTime":9,"bootId":"b"}"#,
            r#"{"status":"running"}"#,
            r#"{"status":"running","pid":7}"#,
        ] {
            assert!(container(&format!(r#"{{"wb":{{"id":"abc","state":{state}}}}}"#)).is_err(), "{state}");
        }
        assert_eq!(container(r#"{"wb":{"name":"web"}}"#).unwrap_err().to_string(), "web is not running");
    }
}
