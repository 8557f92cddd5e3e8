//! `root` and `mounts`, from `/proc/PID/mountinfo`, with sources as paths of this side.

use crate::process::Ids;
use serde_json::{Value, json};
use wb_doc::{Context, Document, Error};
use wb_sys::proc::{MountInfo, mountinfo};

/// File systems that a runtime makes anew rather than binds.
const OWN: [&str; 6] = ["proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup2"];
/// Options of a file system that a new mount of the same type takes.
const DATA: [&str; 6] = ["mode=", "size=", "uid=", "gid=", "ptmxmode=", "nr_inodes="];

/// Fills `root`, `mounts`, `linux.maskedPaths` and `linux.readonlyPaths`.
pub fn describe(pid: i32, document: &mut Document) -> Result<(), Error> {
    let theirs = mountinfo(&pid.to_string()).context(|| "mountinfo")?;
    let ours = mountinfo("self").context(|| "/proc/self/mountinfo")?;
    let map = |file: &str| {
        let path = format!("/proc/{pid}/{file}");
        Ok::<_, Error>(Ids::new(&std::fs::read_to_string(&path).context(|| path)?))
    };
    let (uids, gids) = (map("uid_map")?, map("gid_map")?);
    let mut described = plan(&theirs, &ours, pid);
    for mount in &mut described.mounts {
        let Some(options) = mount["options"].as_array_mut() else { continue };
        for option in options {
            for (key, ids) in [("uid=", &uids), ("gid=", &gids)] {
                let id = option.as_str().and_then(|text| text.strip_prefix(key)?.parse().ok());
                if let Some(id) = id {
                    *option = json!(format!("{key}{}", ids.inside(id)));
                }
            }
        }
    }
    document.set("/root", described.root)?;
    document.set("/mounts", described.mounts)?;
    document.set("/linux/maskedPaths", described.masked)?;
    document.set("/linux/readonlyPaths", described.readonly)
}

#[derive(Debug, Default)]
struct Described {
    root: Value,
    mounts: Vec<Value>,
    masked: Vec<String>,
    readonly: Vec<String>,
}

fn plan(theirs: &[MountInfo], ours: &[MountInfo], pid: i32) -> Described {
    let mut described = Described::default();
    // The topmost mount at a place hides those below it.
    let is_top = |at: usize| theirs[at + 1..].iter().all(|later| later.mount_point != theirs[at].mount_point);
    let mut cgroup_v1 = false;
    for (at, mount) in theirs.iter().enumerate().filter(|(at, _)| is_top(*at)) {
        let place = mount.mount_point.as_str();
        let readonly = has(&mount.options, "ro");
        if place == "/" {
            let path = source(mount, ours).unwrap_or_else(|| format!("/proc/{pid}/root"));
            described.root = json!({ "path": path, "readonly": readonly });
        } else if place.starts_with("/proc/") || place.starts_with("/sys/") && mount.fstype != "mqueue" {
            let below_cgroup = place.starts_with("/sys/fs/cgroup/");
            let is_cgroup = place == "/sys/fs/cgroup";
            match mount.fstype.as_str() {
                // v1: a tmpfs with a mount a controller, one entry in the runtime-spec.
                "tmpfs" if is_cgroup => cgroup_v1 = true,
                _ if below_cgroup => {}
                "cgroup2" => described.mounts.push(entry(mount, ours)),
                "proc" | "sysfs" => described.readonly.push(place.to_owned()),
                _ => described.masked.push(place.to_owned()),
            }
            if is_cgroup && cgroup_v1 {
                described.mounts.push(json!({
                    "destination": place, "type": "cgroup", "source": "cgroup",
                    "options": ["ro", "nosuid", "noexec", "nodev"],
                }));
            }
        } else if !(place == "/dev/console" || theirs[at].fstype == "devtmpfs" && place.starts_with("/dev/"))
        {
            // Nodes bound from the host are made by every runtime anyway.
            described.mounts.push(entry(mount, ours));
        }
    }
    described
}

fn entry(mount: &MountInfo, ours: &[MountInfo]) -> Value {
    let mut options: Vec<String> = mount.options.split(',').map(str::to_owned).collect();
    let anew = OWN.contains(&mount.fstype.as_str()) && mount.root == "/";
    if anew {
        options.extend(
            mount
                .super_options
                .split(',')
                .filter(|option| DATA.iter().any(|known| option.starts_with(known)))
                .map(str::to_owned),
        );
        let kind = if mount.fstype == "cgroup2" { "cgroup" } else { mount.fstype.as_str() };
        return json!({
            "destination": mount.mount_point, "type": kind, "source": mount.source, "options": options,
        });
    }
    options.insert(0, "rbind".into());
    for (field, option) in [("shared:", "rshared"), ("master:", "rslave")] {
        if mount.optional.iter().any(|optional| optional.starts_with(field)) {
            options.push(option.into());
        }
    }
    json!({
        "destination": mount.mount_point, "type": "bind",
        "source": source(mount, ours).unwrap_or_else(|| mount.source.clone()), "options": options,
    })
}

/// Where the same directory of the same file system is mounted here.
fn source(mount: &MountInfo, ours: &[MountInfo]) -> Option<String> {
    ours.iter().rev().filter(|own| own.device == mount.device).find_map(|own| {
        let rest = below(&mount.root, &own.root)?;
        let base = own.mount_point.trim_end_matches('/');
        Some(if rest.is_empty() && base.is_empty() { "/".into() } else { format!("{base}{rest}") })
    })
}

/// What follows the directory `above` in `path`, with its slash; `None` where `path` is not below it.
fn below<'a>(path: &'a str, above: &str) -> Option<&'a str> {
    if above == "/" {
        return Some(if path == "/" { "" } else { path });
    }
    path.strip_prefix(above).filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn has(options: &str, option: &str) -> bool {
    options.split(',').any(|word| word == option)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(device: &str, root: &str, mount_point: &str, fstype: &str, options: &str) -> MountInfo {
        MountInfo {
            device: device.into(),
            root: root.into(),
            mount_point: mount_point.into(),
            options: options.into(),
            optional: Vec::new(),
            fstype: fstype.into(),
            source: fstype.into(),
            super_options: "rw,mode=755,size=65536k".into(),
        }
    }

    #[test]
    fn a_bind_mount_gets_the_path_of_this_side() {
        let ours =
            [mount("8:1", "/", "/", "ext4", "rw"), mount("0:50", "/", "/run/wb/x/merged", "overlay", "rw")];
        let theirs = [
            mount("0:50", "/", "/", "overlay", "rw"),
            mount("8:1", "/srv/data", "/mnt", "ext4", "ro,relatime"),
            mount("0:60", "/", "/dev", "tmpfs", "rw,nosuid"),
            mount("0:61", "/", "/proc", "proc", "rw"),
            mount("0:61", "/bus", "/proc/bus", "proc", "ro"),
            mount("0:6", "/null", "/proc/kcore", "devtmpfs", "rw"),
        ];
        let described = plan(&theirs, &ours, 7);
        assert_eq!(described.root, json!({"path": "/run/wb/x/merged", "readonly": false}));
        assert_eq!(described.mounts[0]["source"], "/srv/data");
        assert_eq!(described.mounts[0]["options"], json!(["rbind", "ro", "relatime"]));
        assert_eq!(described.mounts[1]["options"], json!(["rw", "nosuid", "mode=755", "size=65536k"]));
        assert_eq!(described.readonly, ["/proc/bus"]);
        assert_eq!(described.masked, ["/proc/kcore"]);
    }

    #[test]
    fn a_hidden_mount_is_not_described() {
        let theirs = [mount("0:1", "/", "/dev", "devtmpfs", "rw"), mount("0:2", "/", "/dev", "tmpfs", "rw")];
        assert_eq!(plan(&theirs, &[], 1).mounts.len(), 1);
    }

    #[test]
    fn below_goes_by_whole_names() {
        assert_eq!(below("/a/b", "/a"), Some("/b"));
        assert_eq!(below("/ab", "/a"), None);
        assert_eq!(below("/a", "/"), Some("/a"));
    }
}
