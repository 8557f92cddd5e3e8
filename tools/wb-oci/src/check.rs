//! What is refused before anything is made: members of config.json that are wrong by the specification, and those
//! that this runtime does not do. Unknown members are none of its business.

mod resources;
mod seccomp;

use crate::bundle::Extras;
use crate::log::Log;
use crate::systemd;
use serde_json::Value;
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use wb_doc::oci::{Device, IdMapping, Mount, Namespace, Process, Root};
use wb_doc::{Document, Error, hooks};
use wb_sys::capability::Set;
use wb_sys::limits::Resource;
use wb_sys::namespace;

type Check = fn(&Document) -> Result<(), Error>;

/// Every check but those that need more than the document, in the order of the specification.
const CHECKS: [Check; 11] = [
    version,
    root,
    mounts,
    process,
    rlimits,
    hook_lists,
    namespaces,
    mappings,
    devices,
    resources::check,
    not_done,
];

/// Checks the whole document.
pub fn all(document: &Document, extras: Extras, log: &Log) -> Result<(), Error> {
    CHECKS.iter().try_for_each(|check| check(document))?;
    capabilities(document, log)?;
    cgroups_path(document, extras.systemd_cgroup)
}

fn wrong(message: impl std::fmt::Display) -> Error {
    Error::new(format!("config.json: {message}"))
}

/// config.md, "Specification version": SemVer 2.0.0, and of the major version that is meant here.
fn version(document: &Document) -> Result<(), Error> {
    let version = document.str_at("/ociVersion").ok_or_else(|| wrong("ociVersion is missing"))?;
    let numbers: Vec<&str> = version.split(['-', '+']).next().unwrap_or_default().split('.').collect();
    let number = |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if numbers.len() != 3 || !numbers.iter().all(number) {
        return Err(wrong(format!("ociVersion: {version:?} is no version (SemVer 2.0.0)")));
    }
    if numbers[0] != "1" {
        return Err(wrong(format!("ociVersion: {version}: only 1 is known here")));
    }
    Ok(())
}

/// config.md, "Root".
fn root(document: &Document) -> Result<(), Error> {
    match document.read::<Root>("/root")? {
        None => Err(wrong("root is missing")),
        Some(root) if root.path.is_empty() => Err(wrong("root.path is empty")),
        Some(_) => Ok(()),
    }
}

/// config.md, "Mounts". What an option means is for the file system to say.
fn mounts(document: &Document) -> Result<(), Error> {
    for mount in document.read::<Vec<Mount>>("/mounts")?.unwrap_or_default() {
        let words = |wanted: [&str; 2]| mount.options.iter().any(|word| wanted.contains(&word.as_str()));
        let shown = &mount.destination;
        if shown.is_empty() {
            return Err(wrong("mounts: a destination is missing"));
        }
        let bind = mount.kind.as_deref() == Some("bind") || words(["bind", "rbind"]);
        if bind && mount.source.as_deref().unwrap_or_default().is_empty() {
            return Err(wrong(format!("mount {shown}: a bind mount needs a source")));
        }
        if mount.uid_mappings.is_empty() != mount.gid_mappings.is_empty() {
            return Err(wrong(format!("mount {shown}: uidMappings and gidMappings belong together")));
        }
        if (!mount.uid_mappings.is_empty() || words(["idmap", "ridmap"])) && !bind {
            return Err(wrong(format!("mount {shown}: ids can be mapped in bind mounts only")));
        }
    }
    Ok(())
}

/// config.md, "Process".
fn process(document: &Document) -> Result<(), Error> {
    let process = document.read::<Process>("/process")?.ok_or_else(|| wrong("process is missing"))?;
    process_is_sound(&process)?;
    known(document, "/process/scheduler/policy", &POLICIES)?;
    known(
        document,
        "/process/ioPriority/class",
        &["IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE"],
    )?;
    if let Some(score) = process.oom_score_adj.filter(|score| !(-1000..=1000).contains(score)) {
        return Err(wrong(format!("process.oomScoreAdj: {score} is not between -1000 and 1000")));
    }
    security_modules(&process)
}

const POLICIES: [&str; 7] =
    ["SCHED_OTHER", "SCHED_FIFO", "SCHED_RR", "SCHED_BATCH", "SCHED_ISO", "SCHED_IDLE", "SCHED_DEADLINE"];

/// What is the same for the process of a container and for one more in it.
pub fn process_is_sound(process: &Process) -> Result<(), Error> {
    if process.args.is_empty() {
        return Err(wrong("process.args is empty"));
    }
    if !process.cwd.starts_with('/') {
        return Err(wrong(format!("process.cwd: {:?} is not absolute", process.cwd)));
    }
    let words = process.args.iter().chain(&process.env).chain([&process.cwd]);
    if let Some(word) = words.into_iter().find(|word| word.contains('\0')) {
        return Err(wrong(format!("process: NUL in {word:?}")));
    }
    if let Some(umask) = process.user.umask.filter(|umask| *umask > 0o777) {
        return Err(wrong(format!("process.user.umask: {umask} is no mask")));
    }
    Ok(())
}

/// A label that the kernel could not apply is an error, as both members' sections want it.
fn security_modules(process: &Process) -> Result<(), Error> {
    let modules = std::fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    let has = |name: &str| modules.split(',').any(|module| module == name);
    let asked = |label: &Option<String>| label.as_deref().is_some_and(|label| !label.is_empty());
    if asked(&process.apparmor_profile)
        && process.apparmor_profile.as_deref() != Some("unconfined")
        && !has("apparmor")
    {
        return Err(wrong("process.apparmorProfile: this kernel has no AppArmor"));
    }
    if asked(&process.selinux_label) && !has("selinux") {
        return Err(wrong("process.selinuxLabel: this kernel has no SELinux"));
    }
    Ok(())
}

fn known(document: &Document, pointer: &str, words: &[&str]) -> Result<(), Error> {
    match document.str_at(pointer) {
        Some(word) if !words.contains(&word) => {
            Err(wrong(format!("{}: {word:?} is unknown", pointer[1..].replace('/', "."))))
        }
        _ => Ok(()),
    }
}

/// config.md, "POSIX process": no entry twice, none unknown.
fn rlimits(document: &Document) -> Result<(), Error> {
    let mut seen = BTreeSet::new();
    for limit in document.read::<Process>("/process")?.unwrap_or_default().rlimits {
        if Resource::of(&limit.kind).is_none_or(|found| found.name() != limit.kind) {
            return Err(wrong(format!("process.rlimits: {:?} is unknown", limit.kind)));
        }
        if limit.soft > limit.hard {
            return Err(wrong(format!("process.rlimits: {}: soft is above hard", limit.kind)));
        }
        if !seen.insert(limit.kind.clone()) {
            return Err(wrong(format!("process.rlimits: {} is there twice", limit.kind)));
        }
    }
    Ok(())
}

/// config.md, "Linux Process": what cannot be granted is said, and the container runs without it.
fn capabilities(document: &Document, log: &Log) -> Result<(), Error> {
    let Some(sets) = document.read::<Process>("/process")?.unwrap_or_default().capabilities else {
        return Ok(());
    };
    let all = [&sets.bounding, &sets.effective, &sets.inheritable, &sets.permitted, &sets.ambient];
    let unknown: BTreeSet<&String> =
        all.into_iter().flatten().filter(|name| Set::of(name).is_none()).collect();
    for name in unknown {
        log.warning(&format!("process.capabilities: {name:?} is unknown and left out"));
    }
    Ok(())
}

/// config.md, "POSIX-platform Hooks".
fn hook_lists(document: &Document) -> Result<(), Error> {
    hooks::KINDS.iter().try_for_each(|kind| hooks::of(document, kind).map(drop))
}

/// config-linux.md, "Namespaces".
fn namespaces(document: &Document) -> Result<(), Error> {
    let list = document.read::<Vec<Namespace>>("/linux/namespaces")?.unwrap_or_default();
    let mut seen = BTreeSet::new();
    for entry in &list {
        let kind = &entry.kind;
        if namespace::kind(kind).is_none() {
            return Err(wrong(format!("linux.namespaces: {kind:?} is unknown")));
        }
        if !seen.insert(kind.as_str()) {
            return Err(wrong(format!("linux.namespaces: {kind} is there twice")));
        }
        if entry.path.as_deref().is_some_and(|path| !path.is_empty() && !path.starts_with('/')) {
            return Err(wrong(format!("linux.namespaces: {kind}: the path is not absolute")));
        }
    }
    mount_namespace(&list)?;
    for member in ["hostname", "domainname"] {
        let asked = document.str_at(&format!("/{member}")).is_some_and(|name| !name.is_empty());
        if asked && !seen.contains("uts") {
            return Err(wrong(format!("{member} needs a uts namespace: the host would be renamed")));
        }
    }
    Ok(())
}

/// A new one, or one that exists and whose root may become the container's: not one that this program or the machine's
/// first process lives in.
fn mount_namespace(list: &[Namespace]) -> Result<(), Error> {
    let refused = || {
        wrong(
            "linux.namespaces: without a mount namespace of its own the container would take the root away from \
             whoever shares it, and leave its mounts there",
        )
    };
    let entry = list.iter().find(|entry| entry.kind == "mount").ok_or_else(refused)?;
    let Some(path) = entry.path.as_deref().filter(|path| !path.is_empty()) else { return Ok(()) };
    let identity = |path: &str| std::fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    // What cannot be looked at is not joined either: wb-unshare says why.
    let Some(joined) = identity(path) else { return Ok(()) };
    let taken = ["/proc/self/ns/mnt", "/proc/1/ns/mnt"].into_iter().any(|own| identity(own) == Some(joined));
    if taken { Err(refused()) } else { Ok(()) }
}

/// config-linux.md, "User namespace mappings": they belong to a user namespace.
fn mappings(document: &Document) -> Result<(), Error> {
    let list = document.read::<Vec<Namespace>>("/linux/namespaces")?.unwrap_or_default();
    let user = list.iter().find(|entry| entry.kind == "user");
    let uids = document.read::<Vec<IdMapping>>("/linux/uidMappings")?.unwrap_or_default();
    let gids = document.read::<Vec<IdMapping>>("/linux/gidMappings")?.unwrap_or_default();
    let joined = user.is_some_and(|entry| entry.path.as_deref().is_some_and(|path| !path.is_empty()));
    match (user, uids.is_empty(), gids.is_empty()) {
        (None, true, true) | (Some(_), false, false) => Ok(()),
        (None, ..) => Err(wrong("linux.uidMappings and gidMappings need a user namespace")),
        (Some(_), true, true) if joined => Ok(()),
        (Some(_), true, _) | (Some(_), _, true) => {
            Err(wrong("a new user namespace needs linux.uidMappings and linux.gidMappings"))
        }
    }
}

/// config-linux.md, "Devices".
fn devices(document: &Document) -> Result<(), Error> {
    let mut seen = BTreeSet::new();
    for device in document.read::<Vec<Device>>("/linux/devices")?.unwrap_or_default() {
        if !matches!(device.kind.as_str(), "c" | "u" | "b" | "p") {
            return Err(wrong(format!("linux.devices: {}: type {:?} is unknown", device.path, device.kind)));
        }
        if !device.path.starts_with('/') {
            return Err(wrong(format!("linux.devices: {:?} is not absolute", device.path)));
        }
        if !seen.insert(device.path.clone()) {
            return Err(wrong(format!("linux.devices: {} is there twice", device.path)));
        }
    }
    let list = document.at("/linux/devices").and_then(Value::as_array);
    let numbered = |one: &&Value| one["type"] == "p" || (one["major"].is_i64() && one["minor"].is_i64());
    if let Some(device) = list.into_iter().flatten().find(|one| !numbered(one)) {
        return Err(wrong(format!("linux.devices: {}: major and minor are missing", device["path"])));
    }
    Ok(())
}

/// Members of the specification that this runtime does not do. To ignore one would be to lie.
fn not_done(document: &Document) -> Result<(), Error> {
    let filled = |value: &Value| match value {
        Value::Object(members) => !members.is_empty(),
        Value::Array(list) => !list.is_empty(),
        _ => true,
    };
    for (pointer, why) in [
        ("/linux/intelRdt", "Intel RDT is not done here"),
        ("/linux/memoryPolicy", "memory policies are not done here"),
        ("/linux/netDevices", "network devices are not moved here"),
        ("/linux/resources/blockIO/throttleReadIopsDevice", "the member is spelled throttleReadIOPSDevice"),
    ] {
        if document.at(pointer).is_some_and(filled) {
            return Err(wrong(format!("{}: {why}", pointer[1..].replace('/', "."))));
        }
    }
    known(document, "/linux/personality/domain", &["LINUX", "LINUX32"])?;
    let words =
        ["", "shared", "slave", "private", "unbindable", "rshared", "rslave", "rprivate", "runbindable"];
    known(document, "/linux/rootfsPropagation", &words)?;
    seccomp::check(document)
}

/// config-linux.md, "Cgroups Path".
fn cgroups_path(document: &Document, systemd: bool) -> Result<(), Error> {
    let path = document.str_at("/linux/cgroupsPath").unwrap_or_default();
    if systemd {
        return Err(systemd::refuse(path));
    }
    if path.split('/').any(|part| part == "..") {
        return Err(wrong(format!("linux.cgroupsPath: {path:?} leads upwards")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(text: &str) -> Document {
        Document::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn versions_are_semver_of_the_first_major() {
        for good in ["1.0.0", "1.2.1", "1.0.2-dev", "1.3.0+x"] {
            assert!(version(&document(&format!(r#"{{"ociVersion":"{good}"}}"#))).is_ok(), "{good}");
        }
        for bad in ["", "1", "1.0", "1.0.x", "2.0.0", "v1.0.0"] {
            assert!(version(&document(&format!(r#"{{"ociVersion":"{bad}"}}"#))).is_err(), "{bad}");
        }
        assert!(version(&document("{}")).is_err());
    }

    #[test]
    fn namespaces_are_known_and_once_and_mount_is_its_own() {
        let check = |list: &str| namespaces(&document(&format!(r#"{{"linux":{{"namespaces":[{list}]}}}}"#)));
        assert!(check(r#"{"type":"mount"},{"type":"pid","path":"/proc/1/ns/pid"}"#).is_ok());
        for bad in [
            r#"{"type":"mount"},{"type":"nosuch"}"#,
            r#"{"type":"mount"},{"type":"pid"},{"type":"pid"}"#,
            r#"{"type":"mount"},{"type":"pid","path":"ns"}"#,
            r#"{"type":"pid"}"#,
            r#"{"type":"mount","path":"/proc/self/ns/mnt"}"#,
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_not_done_is_refused() {
        for bad in [
            r#"{"linux":{"intelRdt":{"closID":"x"}}}"#,
            r#"{"linux":{"memoryPolicy":{"mode":"MPOL_BIND"}}}"#,
            r#"{"linux":{"personality":{"domain":"BSD"}}}"#,
            r#"{"linux":{"rootfsPropagation":"both"}}"#,
            r#"{"linux":{"seccomp":{"defaultAction":"SCMP_ACT_NOSUCH"}}}"#,
            r#"{"linux":{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW","listenerMetadata":"x"}}}"#,
        ] {
            assert!(not_done(&document(bad)).is_err(), "{bad}");
        }
        assert!(not_done(&document(r#"{"linux":{"intelRdt":{}},"future":{"x":1}}"#)).is_ok());
    }

    #[test]
    fn rlimits_are_known_and_once() {
        let check = |list: &str| rlimits(&document(&format!(r#"{{"process":{{"rlimits":[{list}]}}}}"#)));
        let core = r#"{"type":"RLIMIT_CORE","soft":0,"hard":1}"#;
        assert!(check(core).is_ok());
        assert!(check(&format!("{core},{core}")).is_err());
        assert!(check(r#"{"type":"RLIMIT_NOSUCH","soft":0,"hard":1}"#).is_err());
        assert!(check(r#"{"type":"RLIMIT_CORE","soft":2,"hard":1}"#).is_err());
    }
}
