//! `linux.namespaces`, the host name, and the kernel parameters that belong to namespaces.

use crate::flags::{Given, invalid};
use crate::run::Subject;
use crate::{network, run};
use serde_json::{Map, Value, json};
use wb_doc::{Document, Error, names};
use wb_store::{Place, record};

/// What a mode flag asks for.
pub enum Mode<'a> {
    /// A namespace of its own.
    Private,
    /// The host's.
    Host,
    /// Nothing of it (`--ipc none`).
    None,
    /// That of a container, by name or id.
    Container(&'a str),
}

/// Reads `--pid`, `--ipc`, `--uts` or `--cgroupns`.
pub fn mode<'a>(given: &'a Given, name: &'static str) -> Result<Mode<'a>, Error> {
    let value = given.last(name).unwrap_or_default();
    let sharing = matches!(name, "pid" | "ipc");
    match value.split_once(':').unwrap_or((value, "")) {
        ("" | "private", "") => Ok(Mode::Private),
        ("host", "") => Ok(Mode::Host),
        ("shareable", "") if name == "ipc" => Ok(Mode::Private),
        ("none", "") if name == "ipc" => Ok(Mode::None),
        ("container", container) if sharing && !container.is_empty() => Ok(Mode::Container(container)),
        _ if sharing => Err(invalid(name, value, "host, private or container:NAME")),
        _ => Err(invalid(name, value, "host or private")),
    }
}

/// The member `linux.namespaces`. The path of the network's namespace is filled in by wb-netns.
pub fn namespaces(given: &Given, subject: &Subject) -> Result<Value, Error> {
    let mut list = Vec::new();
    for (flag, kind, file) in [
        ("pid", "pid", "pid"),
        ("ipc", "ipc", "ipc"),
        ("uts", "uts", "uts"),
        ("cgroupns", "cgroup", "cgroup"),
    ] {
        match mode(given, flag)? {
            Mode::Host => {}
            Mode::Private | Mode::None => list.push(json!({"type": kind})),
            Mode::Container(container) => {
                let (_, pid) = running(&subject.place, container)?;
                list.push(json!({"type": kind, "path": format!("/proc/{pid}/ns/{file}")}));
            }
        }
    }
    list.push(json!({"type": "mount"}));
    if network::primary(given) != "host" {
        list.push(json!({"type": "network"}));
    }
    if user_mode(given)?.is_some() {
        list.push(json!({"type": "user"}));
    }
    Ok(list.into())
}

/// A running container's document and pid.
pub fn running(place: &Place, container: &str) -> Result<(Document, u64), Error> {
    let document = record(place, container)?;
    let pid = document.at("/wb/state/pid").and_then(Value::as_u64);
    match (document.str_at("/wb/state/status"), pid) {
        (Some("running" | "paused"), Some(pid)) => Ok((document, pid)),
        _ => Err(Error::new(format!("container {container} is not running"))),
    }
}

/// A container's document with its true status.
pub fn record(place: &Place, container: &str) -> Result<Document, Error> {
    let mut document = record::read(place, &record::resolve(place, container)?)?;
    let boot_id = wb_sys::proc::boot_id().map_err(|errno| Error::errno("boot_id", errno))?;
    record::true_status(&mut document, &boot_id)?;
    Ok(document)
}

/// The container's host name; none where it shares the host's UTS namespace.
pub fn hostname(given: &Given, subject: &Subject) -> Result<Option<String>, Error> {
    if matches!(mode(given, "uts")?, Mode::Host) {
        return Ok(None);
    }
    if let Some(name) = given.last("hostname") {
        // The kernel's limit is 64 bytes (uname(2)).
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        if name.is_empty() || name.len() > 64 || !name.bytes().all(allowed) || name.starts_with('-') {
            return Err(invalid("hostname", name, "letters, digits, dots and dashes, at most 64 bytes,"));
        }
        return Ok(Some(name.to_owned()));
    }
    let primary = network::primary(given);
    if primary == "host" {
        let name = nix::unistd::gethostname().map_err(|errno| Error::errno("gethostname", errno))?;
        return Ok(Some(name.to_string_lossy().into_owned()));
    }
    if let Some(container) = primary.strip_prefix("container:") {
        let other = record(&subject.place, container)?;
        return Ok(other.str_at("/hostname").map(str::to_owned));
    }
    Ok(Some(names::short(&subject.id).to_owned()))
}

/// `wb.userns`: `{mode: "auto"}`, whose maps `wb-state create` chooses, or the given maps; nothing for the host's.
pub fn user_mode(given: &Given) -> Result<Option<Value>, Error> {
    let value = given.last("userns").unwrap_or("host");
    match value {
        "" | "host" => return Ok(None),
        // A map of everything onto unprivileged ids takes the sense out of a privileged container.
        _ if given.on("privileged") => {
            return Err(Error::usage("conflicting options: --privileged and --userns"));
        }
        "auto" => return Ok(Some(json!({"mode": "auto"}))),
        _ => {}
    }
    let map = value.split(',').map(|part| {
        let numbers: Option<Vec<u32>> = part.split(':').map(|number| number.parse().ok()).collect();
        match numbers.as_deref() {
            Some(&[inside, outside, size]) if size > 0 => {
                Some(json!({"containerID": inside, "hostID": outside, "size": size}))
            }
            _ => None,
        }
    });
    let map: Option<Vec<Value>> = map.collect();
    map.map(|map| Some(json!({"mode": "map", "map": map})))
        .ok_or_else(|| invalid("userns", value, "host, auto, or INSIDE:OUTSIDE:COUNT[,...]"))
}

/// `linux.sysctl`: docker's pair for a network namespace of its own, and `--sysctl`.
pub fn sysctl(given: &Given) -> Result<Value, Error> {
    let mut map = Map::new();
    let primary = network::primary(given);
    let own_network = primary != "host" && !primary.starts_with("container:");
    if own_network {
        map.insert("net.ipv4.ip_unprivileged_port_start".into(), "0".into());
        // Groups that a user namespace does not map cannot be named in it; `auto` maps 65536.
        let groups = match given.last("userns") {
            None | Some("" | "host") => Some("0 2147483647"),
            Some("auto") => Some("0 65535"),
            Some(_) => None,
        };
        if let Some(groups) = groups {
            map.insert("net.ipv4.ping_group_range".into(), groups.into());
        }
    }
    if let Some(Value::Object(own)) = run::pairs(given, "sysctl")? {
        for (name, value) in own {
            let ipc = ["kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall"]
                .contains(&name.as_str())
                || ["kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced"].contains(&name.as_str())
                || name.starts_with("fs.mqueue.");
            let uts = matches!(name.as_str(), "kernel.domainname" | "kernel.hostname");
            let namespaced = (name.starts_with("net.") && own_network)
                || (ipc && matches!(mode(given, "ipc")?, Mode::Private | Mode::None))
                || (uts && matches!(mode(given, "uts")?, Mode::Private));
            if !namespaced || name.contains('/') || name.contains("..") {
                return Err(Error::usage(format!(
                    "sysctl {name:?} is not in a namespace of the container's own"
                )));
            }
            map.insert(name, value);
        }
    }
    Ok(Value::Object(map))
}
