//! Devices: the nodes a container gets (`linux.devices`) and what its cgroup lets it use
//! (`linux.resources.devices`).

use crate::flags::{Given, invalid};
use serde_json::{Value, json};
use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use wb_doc::{Context, Error};

/// Character devices every container may use: null, zero, full, random, urandom, tty, ptmx, and all terminals.
const DEFAULT: [(u64, Option<u64>); 8] = [
    (1, Some(3)),
    (1, Some(5)),
    (1, Some(7)),
    (1, Some(8)),
    (1, Some(9)),
    (5, Some(0)),
    (5, Some(2)),
    (136, None),
];

/// What a container has of devices.
pub struct Devices {
    /// `linux.devices`, without those that every container has.
    pub nodes: Vec<Value>,
    /// `linux.resources.devices`.
    pub rules: Value,
}

/// Reads `--device`, `--device-cgroup-rule` and `--privileged`.
pub fn devices(given: &Given) -> Result<Devices, Error> {
    let mut nodes = Vec::new();
    if given.on("privileged") {
        let rules = json!([{"allow": true, "access": "rwm"}]);
        collect(Path::new("/dev"), "/dev", &mut nodes)?;
        return Ok(Devices { nodes, rules });
    }
    // No blanket permission to make nodes and no tun, unlike runc's list: nothing needs them unasked.
    let mut rules = vec![json!({"allow": false, "access": "rwm"})];
    for (major, minor) in DEFAULT {
        let mut rule = json!({"allow": true, "type": "c", "major": major, "access": "rwm"});
        if let Some(minor) = minor {
            rule["minor"] = minor.into();
        }
        rules.push(rule);
    }
    for text in given.all("device") {
        let (host, inside, access) = parts(text)?;
        let metadata = fs::metadata(host).context(|| format!("--device {host}"))?;
        let first = nodes.len();
        if metadata.is_dir() {
            collect(Path::new(host), inside, &mut nodes)?;
        } else {
            nodes.push(node(&metadata, inside).ok_or_else(|| invalid("device", text, "a device"))?);
        }
        // The node is made inside the cgroup; whoever has it gains nothing by making it once more.
        let access = if access.contains('m') { access.to_owned() } else { format!("{access}m") };
        for node in &nodes[first..] {
            rules.push(json!({
                "allow": true, "type": node["type"], "major": node["major"], "minor": node["minor"],
                "access": access,
            }));
        }
    }
    for text in given.all("device-cgroup-rule") {
        rules.push(rule(text).ok_or_else(|| invalid("device-cgroup-rule", text, "TYPE MAJOR:MINOR ACCESS"))?);
    }
    Ok(Devices { nodes, rules: rules.into() })
}

/// `HOST[:INSIDE][:ACCESS]`
fn parts(text: &str) -> Result<(&str, &str, &str), Error> {
    let is_access = |part: &str| !part.is_empty() && part.bytes().all(|byte| b"rwm".contains(&byte));
    let parts: Vec<&str> = text.split(':').collect();
    let (host, inside, access) = match parts[..] {
        [host] => (host, host, "rwm"),
        [host, access] if is_access(access) => (host, host, access),
        [host, inside] => (host, inside, "rwm"),
        [host, inside, access] if is_access(access) => (host, inside, access),
        _ => return Err(invalid("device", text, "HOST[:DEST][:rwm]")),
    };
    if !host.starts_with('/') || !inside.starts_with('/') {
        return Err(invalid("device", text, "an absolute path"));
    }
    Ok((host, inside, access))
}

/// Every device below a directory, but what a container makes for itself.
fn collect(directory: &Path, inside: &str, nodes: &mut Vec<Value>) -> Result<(), Error> {
    const OWN: [&str; 12] =
        ["pts", "shm", "mqueue", "fd", "console", "ptmx", "null", "zero", "full", "random", "urandom", "tty"];
    let is_dev = directory == Path::new("/dev");
    for entry in fs::read_dir(directory).context(|| directory.display().to_string())? {
        let entry = entry.context(|| directory.display().to_string())?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| !(is_dev && OWN.contains(name))) else { continue };
        // A device that vanishes meanwhile is none.
        let Ok(metadata) = entry.metadata() else { continue };
        let path = format!("{}/{name}", inside.trim_end_matches('/'));
        if metadata.is_dir() {
            collect(&entry.path(), &path, nodes)?;
        } else {
            nodes.extend(node(&metadata, &path));
        }
    }
    Ok(())
}

/// A node as `linux.devices` wants it; `None` for what is no device.
fn node(metadata: &Metadata, inside: &str) -> Option<Value> {
    let kind = match metadata.file_type() {
        kind if kind.is_char_device() => "c",
        kind if kind.is_block_device() => "b",
        _ => return None,
    };
    let rdev = metadata.rdev();
    Some(json!({
        "type": kind,
        "path": inside,
        "major": nix::sys::stat::major(rdev),
        "minor": nix::sys::stat::minor(rdev),
        "fileMode": metadata.mode() & 0o777,
        "uid": metadata.uid(),
        "gid": metadata.gid(),
    }))
}

/// `c 42:* rmw`
fn rule(text: &str) -> Option<Value> {
    let mut words = text.split_ascii_whitespace();
    let (kind, numbers, access) = (words.next()?, words.next()?, words.next()?);
    let (major, minor) = numbers.split_once(':')?;
    if words.next().is_some()
        || !["a", "b", "c"].contains(&kind)
        || !access.bytes().all(|byte| b"rwm".contains(&byte))
    {
        return None;
    }
    let mut rule = json!({"allow": true, "type": kind, "access": access});
    for (member, number) in [("major", major), ("minor", minor)] {
        if number != "*" {
            rule[member] = number.parse::<u32>().ok()?.into();
        }
    }
    Some(rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_parts_and_rules() {
        assert_eq!(parts("/dev/null").unwrap(), ("/dev/null", "/dev/null", "rwm"));
        assert_eq!(parts("/dev/null:r").unwrap(), ("/dev/null", "/dev/null", "r"));
        assert_eq!(parts("/dev/null:/dev/x:rw").unwrap(), ("/dev/null", "/dev/x", "rw"));
        assert!(parts("null").is_err() && parts("/dev/null:/dev/x:q").is_err());
        assert_eq!(
            rule("c 42:* rmw").unwrap(),
            json!({"allow": true, "type": "c", "access": "rmw", "major": 42})
        );
        for text in ["", "c 1 r", "x 1:1 r", "c 1:1 q", "c 1:1 r w"] {
            assert!(rule(text).is_none(), "{text}");
        }
    }
}
