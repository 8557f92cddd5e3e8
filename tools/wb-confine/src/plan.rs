//! What is to be given up and set, as a plain value.

use crate::priority::{IoPriority, Scheduler};
use crate::seccomp::Filter;
use serde::Deserialize;
use std::ffi::OsString;
use std::path::PathBuf;
use wb_doc::hooks::{self, Hook};
use wb_doc::oci::{Capabilities, Rlimit};
use wb_doc::{Document, Error};
use wb_sys::capability::{DOCKER_DEFAULT, Set};
use wb_sys::limits::{Limit, Resource, Scheduling};

/// Everything between this tool and the next program.
#[derive(Debug)]
pub struct Plan {
    /// The next program and its arguments.
    pub args: Vec<OsString>,
    /// Its environment; `None` is the caller's.
    pub env: Option<Vec<String>>,
    /// Its working directory; `None` is the caller's.
    pub cwd: Option<PathBuf>,
    /// Who it is.
    pub user: User,
    /// Supplementary groups beyond those of `user`.
    pub additional_gids: Vec<u32>,
    /// The file mode creation mask.
    pub umask: u32,
    /// What it may do.
    pub capabilities: Sets,
    /// How much it may use.
    pub rlimits: Vec<(Resource, Limit)>,
    /// Whether a limit that cannot be set is an error, not set as near as possible.
    pub exact_rlimits: bool,
    /// `/proc/self/oom_score_adj`.
    pub oom_score_adj: Option<i32>,
    /// `no_new_privs`.
    pub no_new_privs: bool,
    /// Which system calls it may make; `None` is all.
    pub seccomp: Option<Filter>,
    /// A session keyring of its own.
    pub keyring: bool,
    /// Whether standard input is the container's own terminal.
    pub terminal: bool,
    /// How many descriptors after standard error it inherits.
    pub preserve_fds: u32,
    /// Whether this process stays as process 1, and the program is its child.
    pub init: bool,
    /// The scheduling policy.
    pub scheduling: Option<Scheduling>,
    /// Class and priority of its input and output.
    pub io_priority: Option<(u32, u32)>,
    /// The execution domain.
    pub personality: Option<u64>,
    /// The AppArmor profile.
    pub apparmor: Option<String>,
    /// The SELinux label.
    pub selinux: Option<String>,
    /// Hooks run inside when the container is started.
    pub hooks: Vec<Hook>,
    /// What hooks are told.
    pub told: Vec<u8>,
    /// Whether adjustments are said on standard error.
    pub verbose: bool,
}

/// Who the next program is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum User {
    /// As the caller.
    Unchanged,
    /// To be looked up inside the root.
    Named(String),
    /// By number.
    Ids {
        /// The user.
        uid: u32,
        /// The group.
        gid: u32,
    },
}

/// The five sets of capabilities(7).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sets {
    /// What it and its children can ever have.
    pub bounding: Set,
    /// In force.
    pub effective: Set,
    /// What may be put in force.
    pub permitted: Set,
    /// What an executed file may take over.
    pub inheritable: Set,
    /// What survives the execution of a file without file capabilities.
    pub ambient: Set,
}

impl Sets {
    /// docker's way: bounding, permitted and effective are one set; inheritable and ambient are empty, since an
    /// inheritable set would let a file's own inheritable bits give them (CVE-2022-24769).
    pub fn set_all(&mut self, set: Set) {
        *self = Self { bounding: set, effective: set, permitted: set, ..Self::default() };
    }

    /// The sets the document names. Names this program does not know are left out: what cannot be granted is not
    /// granted (config.md, "capabilities").
    fn of(capabilities: &Capabilities) -> Self {
        let set =
            |names: &[String]| names.iter().filter_map(|name| Set::of(name)).fold(Set::default(), Set::with);
        Self {
            bounding: set(&capabilities.bounding),
            effective: set(&capabilities.effective),
            permitted: set(&capabilities.permitted),
            inheritable: set(&capabilities.inheritable),
            ambient: set(&capabilities.ambient),
        }
    }
}

/// The members of `process` that this tool acts on beyond those of `wb_doc::oci::Process`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Extra {
    scheduler: Option<Scheduler>,
    io_priority: Option<IoPriority>,
}

/// `linux.personality`.
#[derive(Debug, Deserialize)]
struct Personality {
    domain: String,
    #[serde(default)]
    flags: Vec<String>,
}

impl Plan {
    /// Without a document: docker's capabilities, everything else as the caller has it.
    pub fn by_hand() -> Self {
        let mut plan = Self {
            args: Vec::new(),
            env: None,
            cwd: None,
            user: User::Unchanged,
            additional_gids: Vec::new(),
            umask: 0o022,
            capabilities: Sets::default(),
            rlimits: Vec::new(),
            exact_rlimits: false,
            oom_score_adj: None,
            no_new_privs: false,
            seccomp: None,
            keyring: true,
            terminal: false,
            preserve_fds: 0,
            init: false,
            scheduling: None,
            io_priority: None,
            personality: None,
            apparmor: None,
            selinux: None,
            hooks: Vec::new(),
            told: Vec::new(),
            verbose: false,
        };
        let docker = DOCKER_DEFAULT.iter().filter_map(|name| Set::of(name));
        plan.capabilities.set_all(docker.fold(Set::default(), Set::with));
        plan
    }

    /// What a document asks for; refuses what makes no sense before anything is changed.
    pub fn of(document: &Document) -> Result<Self, Error> {
        let process =
            document.read::<wb_doc::oci::Process>("/process")?.ok_or_else(|| wrong("there is no process"))?;
        let extra = document.read::<Extra>("/process")?.unwrap_or_default();
        if !process.cwd.starts_with('/') {
            return Err(wrong(format!("process.cwd: {:?} is not absolute", process.cwd)));
        }
        // A name that has been looked up already stays beside its numbers; root looked up again is root.
        let user = match process.user.username.filter(|name| !name.is_empty() && process.user.uid == 0) {
            Some(name) => User::Named(name),
            None => User::Ids { uid: process.user.uid, gid: process.user.gid },
        };
        let umask = process.user.umask.unwrap_or(0o022);
        if umask > 0o777 {
            return Err(wrong(format!("process.user.umask: {umask}")));
        }
        let hooks = hooks::of(document, "startContainer")?;
        let personality = document.read::<Personality>("/linux/personality")?;
        Ok(Self {
            args: process.args.into_iter().map(OsString::from).collect(),
            env: Some(process.env),
            cwd: Some(process.cwd.into()),
            user,
            additional_gids: process.user.additional_gids,
            umask,
            capabilities: process.capabilities.as_ref().map(Sets::of).unwrap_or_default(),
            rlimits: process.rlimits.iter().map(rlimit).collect::<Result<_, Error>>()?,
            exact_rlimits: document.read("/wb/run/exactRlimits")?.unwrap_or(false),
            oom_score_adj: process.oom_score_adj,
            no_new_privs: process.no_new_privileges,
            seccomp: seccomp(document, process.capabilities.as_ref())?,
            keyring: !document.read("/wb/run/noNewKeyring")?.unwrap_or(false),
            terminal: process.terminal,
            preserve_fds: document.read("/wb/run/preserveFds")?.unwrap_or(0),
            init: document.read("/wb/run/init")?.unwrap_or(false),
            scheduling: extra.scheduler.as_ref().map(Scheduler::plan).transpose()?,
            io_priority: extra.io_priority.as_ref().map(IoPriority::plan).transpose()?,
            personality: personality.as_ref().map(persona).transpose()?,
            apparmor: process.apparmor_profile.filter(|name| !name.is_empty()),
            selinux: process.selinux_label.filter(|label| !label.is_empty()),
            told: if hooks.is_empty() {
                Vec::new()
            } else {
                hooks::state(document, "created", i32::try_from(std::process::id()).ok())
            },
            hooks,
            verbose: false,
        })
    }
}

/// `linux.seccomp`. A document of ours that has none, and does not say that none is wanted, gets the default.
fn seccomp(document: &Document, capabilities: Option<&Capabilities>) -> Result<Option<Filter>, Error> {
    if let Some(profile) = document.at("/linux/seccomp") {
        return Filter::of(profile, document.at("/wb/seccompFilter")).map(Some);
    }
    if document.at("/wb").is_none() || document.str_at("/wb/seccomp") == Some("unconfined") {
        return Ok(None);
    }
    let bounding = capabilities.map(|sets| sets.bounding.as_slice()).unwrap_or_default();
    Filter::default_for(bounding).map(Some)
}

fn rlimit(rlimit: &Rlimit) -> Result<(Resource, Limit), Error> {
    let resource = Resource::of(&rlimit.kind).filter(|found| found.name() == rlimit.kind);
    let resource =
        resource.ok_or_else(|| wrong(format!("process.rlimits: unknown type {:?}", rlimit.kind)))?;
    if rlimit.soft > rlimit.hard {
        return Err(wrong(format!("process.rlimits: {}: soft is above hard", rlimit.kind)));
    }
    Ok((resource, Limit { soft: rlimit.soft, hard: rlimit.hard }))
}

/// The two domains of config-linux.md; it defines no flags yet.
fn persona(personality: &Personality) -> Result<u64, Error> {
    if let Some(flag) = personality.flags.first() {
        return Err(wrong(format!("linux.personality.flags: {flag:?} is unknown")));
    }
    match personality.domain.as_str() {
        "LINUX" => Ok(0),
        "LINUX32" => Ok(8),
        other => Err(wrong(format!("linux.personality.domain: {other:?} is unknown"))),
    }
}

/// A member of the document that makes no sense.
pub fn wrong(message: impl std::fmt::Display) -> Error {
    Error::new(format!("document: {message}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(text: &str) -> Result<Plan, Error> {
        Plan::of(&Document::parse(text.as_bytes()).unwrap())
    }

    #[test]
    fn reads_the_process() {
        let plan = plan(
            r#"{"process":{"args":["sh"],"cwd":"/","env":["A=b"],"user":{"uid":5,"gid":6,"username":"web"},
                "capabilities":{"bounding":["CAP_KILL","CAP_FUTURE"],"ambient":["CAP_KILL"]},
                "rlimits":[{"type":"RLIMIT_CORE","soft":0,"hard":1}]}}"#,
        )
        .unwrap();
        assert_eq!(plan.user, User::Ids { uid: 5, gid: 6 });
        assert_eq!(plan.capabilities.bounding, Set::of("KILL").unwrap());
        assert_eq!(plan.capabilities.effective, Set::default());
        assert_eq!(plan.rlimits[0].1, Limit { soft: 0, hard: 1 });
        assert_eq!(plan.umask, 0o022);
    }

    #[test]
    fn a_name_without_numbers_is_looked_up() {
        let text = r#"{"process":{"args":["sh"],"cwd":"/","user":{"username":"web:staff"}}}"#;
        assert_eq!(plan(text).unwrap().user, User::Named("web:staff".into()));
    }

    #[test]
    fn without_capabilities_there_are_none() {
        let text = r#"{"process":{"args":["sh"],"cwd":"/"}}"#;
        assert_eq!(plan(text).unwrap().capabilities, Sets::default());
    }

    #[test]
    fn refuses_nonsense() {
        for text in [
            "{}",
            r#"{"process":{"cwd":"x"}}"#,
            r#"{"process":{"cwd":"/","rlimits":[{"type":"RLIMIT_NOSUCH","soft":0,"hard":0}]}}"#,
            r#"{"process":{"cwd":"/","rlimits":[{"type":"RLIMIT_CORE","soft":2,"hard":1}]}}"#,
            r#"{"process":{"cwd":"/","user":{"umask":512}}}"#,
            r#"{"process":{"cwd":"/"},"linux":{"personality":{"domain":"BSD"}}}"#,
        ] {
            assert!(plan(text).is_err(), "{text}");
        }
    }
}
