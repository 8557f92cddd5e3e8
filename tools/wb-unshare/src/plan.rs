//! What a document asks of this tool, as a plain value.

use crate::maps::Maps;
use nix::sched::CloneFlags;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use wb_doc::hooks::{self, Hook};
use wb_doc::oci::{IdMapping, Namespace};
use wb_doc::{Document, Error};
use wb_sys::namespace::{self, CLONE_NEWTIME, Kind};

/// Everything that is to happen between this tool and the next program.
#[derive(Debug, PartialEq)]
pub struct Plan {
    /// Namespaces that exist already.
    pub join: Vec<(Kind, PathBuf)>,
    /// Namespaces to make.
    pub new: CloneFlags,
    /// Cgroup directories by controller, `unified` for v2.
    pub cgroups: BTreeMap<String, PathBuf>,
    /// The name of the host inside.
    pub hostname: Option<String>,
    /// The NIS domain name inside.
    pub domainname: Option<String>,
    /// Ids of a new user namespace.
    pub maps: Option<Maps>,
    /// Offsets of a new time namespace, lines of `timens_offsets`.
    pub time_offsets: Vec<String>,
    /// `/proc/self/oom_score_adj`.
    pub oom_score_adj: Option<i32>,
    /// Hooks run by the parent while the child waits, in its namespaces but with the host's root.
    pub parent_hooks: Vec<Hook>,
    /// Hooks run by the child before the next program.
    pub child_hooks: Vec<Hook>,
    /// What hooks are told, but for the pid.
    pub told: Document,
    /// Whether the child has a session of its own, with standard input as its terminal where `terminal`.
    pub session: bool,
    /// Whether standard input is a terminal of the container's own.
    pub terminal: bool,
    /// Whether a fresh procfs is mounted over `/proc`.
    pub mount_proc: bool,
    /// Whether changes of mounts go no further than the new mount namespace.
    pub private: bool,
}

/// `wb.cgroup`.
#[derive(Debug, Deserialize)]
struct Cgroup {
    #[serde(default)]
    paths: BTreeMap<String, PathBuf>,
}

/// One of `linux.timeOffsets`.
#[derive(Debug, Deserialize)]
struct TimeOffset {
    #[serde(default)]
    secs: i64,
    #[serde(default)]
    nanosecs: u32,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            join: Vec::new(),
            new: CloneFlags::empty(),
            cgroups: BTreeMap::new(),
            hostname: None,
            domainname: None,
            maps: None,
            time_offsets: Vec::new(),
            oom_score_adj: None,
            parent_hooks: Vec::new(),
            child_hooks: Vec::new(),
            told: Document::default(),
            session: false,
            terminal: false,
            mount_proc: false,
            private: false,
        }
    }
}

impl Plan {
    /// Reads the members this tool acts on; refuses what makes no sense before anything is made.
    pub fn of(document: &Document) -> Result<Self, Error> {
        let mut plan = Self { session: true, ..Self::default() };
        for entry in document.read::<Vec<Namespace>>("/linux/namespaces")?.unwrap_or_default() {
            plan.add_namespace(&entry)?;
        }
        if let Some(cgroup) = document.read::<Cgroup>("/wb/cgroup")? {
            plan.cgroups = cgroup.paths;
        }
        plan.hostname = document.read("/hostname")?;
        plan.domainname = document.read("/domainname")?;
        if (plan.hostname.is_some() || plan.domainname.is_some()) && !plan.has("uts") {
            return Err(wrong("hostname and domainname need a uts namespace: the host would be renamed"));
        }
        plan.maps = user_maps(document, plan.new.contains(CloneFlags::CLONE_NEWUSER))?;
        plan.time_offsets = time_offsets(document, plan.new.contains(CLONE_NEWTIME))?;
        plan.oom_score_adj = document.read("/process/oomScoreAdj")?;
        plan.terminal = document.read("/process/terminal")?.unwrap_or(false);
        // wb-rootfs writes them; here is known whose they would be.
        for name in document.read::<BTreeMap<String, String>>("/linux/sysctl")?.unwrap_or_default().keys() {
            plan.check_sysctl(name)?;
        }
        plan.read_hooks(document)?;
        Ok(plan)
    }

    fn read_hooks(&mut self, document: &Document) -> Result<(), Error> {
        if document.at("/hooks").is_none() {
            return Ok(());
        }
        self.parent_hooks = hooks::of(document, "prestart")?;
        self.parent_hooks.extend(hooks::of(document, "createRuntime")?);
        self.child_hooks = hooks::of(document, "createContainer")?;
        for kind in ["startContainer", "poststart", "poststop"] {
            hooks::of(document, kind)?;
        }
        for pointer in ["/ociVersion", "/annotations", "/wb/id", "/wb/bundle"] {
            if let Some(value) = document.at(pointer) {
                self.told.set(pointer, value)?;
            }
        }
        Ok(())
    }

    fn add_namespace(&mut self, entry: &Namespace) -> Result<(), Error> {
        let kind = namespace::kind(&entry.kind)
            .ok_or_else(|| wrong(format!("linux.namespaces: unknown type {:?}", entry.kind)))?;
        if self.has(kind.oci) {
            return Err(wrong(format!("linux.namespaces: {} is there twice", kind.oci)));
        }
        match entry.path.as_deref().filter(|path| !path.is_empty()) {
            None => self.new |= kind.flag,
            Some(path) if path.starts_with('/') => self.join.push((kind, path.into())),
            Some(path) => {
                return Err(wrong(format!("linux.namespaces: {}: path {path:?} is not absolute", kind.oci)));
            }
        }
        Ok(())
    }

    /// Whether the child is in a namespace of this kind that is not the caller's.
    pub fn has(&self, oci: &str) -> bool {
        self.join.iter().any(|(kind, _)| kind.oci == oci)
            || namespace::kind(oci).is_some_and(|kind| self.new.contains(kind.flag))
    }

    /// Whether the child lives in a user namespace that is not the caller's.
    pub fn enters_user_namespace(&self) -> bool {
        self.maps.is_some() || self.join.iter().any(|(kind, _)| kind.oci == "user")
    }

    /// Refuses a sysctl that belongs to no namespace of the container's own: it would be the whole machine's.
    fn check_sysctl(&self, name: &str) -> Result<(), Error> {
        const IPC: [&str; 8] = [
            "kernel/msgmax",
            "kernel/msgmnb",
            "kernel/msgmni",
            "kernel/sem",
            "kernel/shmall",
            "kernel/shmmax",
            "kernel/shmmni",
            "kernel/shm_rmid_forced",
        ];
        // sysctl(8): with a slash as the first separator, dots stand for themselves (interface names have them).
        let slashes = name.find(['/', '.']).is_some_and(|at| name.as_bytes()[at] == b'/');
        let path = if slashes { name.to_owned() } else { name.replace('.', "/") };
        if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(wrong(format!("linux.sysctl: {name:?} is no name of a sysctl")));
        }
        let kind = match path.as_str() {
            path if path.starts_with("net/") => "network",
            path if IPC.contains(&path) || path.starts_with("fs/mqueue/") => "ipc",
            "kernel/domainname" => "uts",
            _ => {
                return Err(wrong(format!("linux.sysctl: {name} is the whole machine's, not a namespace's")));
            }
        };
        if !self.has(kind) {
            return Err(wrong(format!(
                "linux.sysctl: {name} needs a {kind} namespace of the container's own"
            )));
        }
        Ok(())
    }
}

fn user_maps(document: &Document, new_user: bool) -> Result<Option<Maps>, Error> {
    let uids = document.read::<Vec<IdMapping>>("/linux/uidMappings")?.unwrap_or_default();
    let gids = document.read::<Vec<IdMapping>>("/linux/gidMappings")?.unwrap_or_default();
    match (new_user, uids.is_empty() && gids.is_empty()) {
        (true, false) => Ok(Some(Maps { uids, gids })),
        (true, true) => Err(wrong("a new user namespace needs linux.uidMappings and linux.gidMappings")),
        // With a path the namespace has its maps already; wb-rootfs reads these for idmapped mounts.
        (false, _) => Ok(None),
    }
}

fn time_offsets(document: &Document, new_time: bool) -> Result<Vec<String>, Error> {
    let offsets = document.read::<BTreeMap<String, TimeOffset>>("/linux/timeOffsets")?.unwrap_or_default();
    if !offsets.is_empty() && !new_time {
        return Err(wrong("linux.timeOffsets needs a new time namespace"));
    }
    let line = |(clock, offset): (String, TimeOffset)| match clock.as_str() {
        "monotonic" | "boottime" => Ok(format!("{clock} {} {}\n", offset.secs, offset.nanosecs)),
        _ => Err(wrong(format!("linux.timeOffsets: {clock:?} is neither monotonic nor boottime"))),
    };
    offsets.into_iter().map(line).collect()
}

fn wrong(message: impl std::fmt::Display) -> Error {
    Error::new(format!("document: {message}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(text: &str) -> Result<Plan, Error> {
        Plan::of(&Document::parse(text.as_bytes()).unwrap())
    }

    #[test]
    fn joins_what_has_a_path_and_makes_the_rest() {
        let plan = plan(
            r#"{"hostname":"h","linux":{"namespaces":[{"type":"pid"},{"type":"uts"},{"type":"network","path":"/run/netns/a"}]},
                "wb":{"cgroup":{"version":1,"paths":{"cpu":"/sys/fs/cgroup/cpu/wb/a"}}}}"#,
        )
        .unwrap();
        assert_eq!(plan.new, CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWUTS);
        assert_eq!(plan.join.len(), 1);
        assert_eq!(plan.join[0].0.oci, "network");
        assert_eq!(plan.cgroups["cpu"], PathBuf::from("/sys/fs/cgroup/cpu/wb/a"));
        assert_eq!(plan.hostname.as_deref(), Some("h"));
    }

    #[test]
    fn refuses_what_it_cannot_do() {
        for text in [
            r#"{"linux":{"namespaces":[{"type":"nosuch"}]}}"#,
            r#"{"linux":{"namespaces":[{"type":"pid"},{"type":"pid"}]}}"#,
            r#"{"linux":{"namespaces":[{"type":"network","path":"run/x"}]}}"#,
            r#"{"hostname":"h"}"#,
            r#"{"linux":{"namespaces":[{"type":"user"}]}}"#,
            r#"{"linux":{"timeOffsets":{"monotonic":{"secs":1}}}}"#,
            r#"{"linux":{"namespaces":[{"type":"time"}],"timeOffsets":{"realtime":{"secs":1}}}}"#,
            r#"{"linux":{"sysctl":{"net.ipv4.ip_forward":"1"}}}"#,
            r#"{"linux":{"namespaces":[{"type":"network"}],"sysctl":{"kernel.panic":"1"}}}"#,
            r#"{"linux":{"namespaces":[{"type":"network"}],"sysctl":{"net/../kernel/panic":"1"}}}"#,
        ] {
            assert!(plan(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sysctls_of_its_own_namespaces_are_allowed() {
        let text = r#"{"linux":{"namespaces":[{"type":"network"},{"type":"ipc"}],
            "sysctl":{"net.ipv4.ping_group_range":"0 0","kernel.shmmax":"1","net/ipv4/conf/eth0.1/forwarding":"1"}}}"#;
        assert!(plan(text).is_ok());
    }

    #[test]
    fn hooks_run_where_the_specification_has_them() {
        let text = r#"{"hooks":{"prestart":[{"path":"/a"}],"createRuntime":[{"path":"/b"}],
            "createContainer":[{"path":"/c"}]},"wb":{"id":"x"}}"#;
        let plan = plan(text).unwrap();
        assert_eq!(plan.parent_hooks.iter().map(|hook| hook.path.as_str()).collect::<Vec<_>>(), ["/a", "/b"]);
        assert_eq!(plan.child_hooks[0].path, "/c");
        assert_eq!(plan.told.str_at("/wb/id"), Some("x"));
    }

    #[test]
    fn time_offsets_are_lines_of_the_kernels_file() {
        let text = r#"{"linux":{"namespaces":[{"type":"time"}],"timeOffsets":{"boottime":{"secs":-5,"nanosecs":7}}}}"#;
        assert_eq!(plan(text).unwrap().time_offsets, ["boottime -5 7\n"]);
    }
}
