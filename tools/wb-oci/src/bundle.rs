//! The bundle: its configuration read, checked, and made ready for the tools (bundle.md, config.md).

use crate::check;
use crate::log::Log;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use wb_doc::{Context, Document, Error, MAX_DOCUMENT_BYTES};

/// What the container gets beyond its configuration.
#[derive(Debug, Clone, Copy, Default)]
pub struct Extras {
    /// How many descriptors after standard error, those of `LISTEN_FDS` included.
    pub preserve_fds: u32,
    /// Whether the host's root stays below the container's.
    pub no_pivot: bool,
    /// Whether the session keyring stays the caller's.
    pub no_new_keyring: bool,
    /// Whether `linux.cgroupsPath` has systemd's form.
    pub systemd_cgroup: bool,
}

/// Reads a bundle's `config.json` into a document for the tools. Refuses what is invalid before anything is made.
pub fn read(directory: &Path, id: &str, extras: Extras, log: &Log) -> Result<Document, Error> {
    let bundle = directory.canonicalize().context(|| format!("bundle {}", directory.display()))?;
    let path = bundle.join("config.json");
    let name = || path.display().to_string();
    let size = std::fs::metadata(&path).context(name)?.len();
    if size > MAX_DOCUMENT_BYTES as u64 {
        return Err(Error::new(format!("{}: larger than {MAX_DOCUMENT_BYTES} bytes", name())));
    }
    let mut document = Document::parse(&std::fs::read(&path).context(name)?).context(name)?;
    // Nothing but this program's own words stands there.
    document.remove("/wb");
    without_console(&mut document);
    check::all(&document, extras, log)?;
    prepare(&mut document, &bundle, id, extras)?;
    let root = PathBuf::from(document.str_at("/root/path").unwrap_or_default());
    if !root.is_dir() {
        return Err(Error::errno(format!("root.path {}", root.display()), not_a_directory(&root)));
    }
    Ok(document)
}

/// "Runtimes MUST ignore `consoleSize` if `terminal` is `false` or unset" (config.md, "Process").
pub fn without_console(document: &mut Document) {
    if document.at("/process/terminal") != Some(&Value::Bool(true)) {
        document.remove("/process/consoleSize");
    }
}

fn not_a_directory(path: &Path) -> wb_sys::Errno {
    if path.exists() { wb_sys::Errno::ENOTDIR } else { wb_sys::Errno::ENOENT }
}

/// Paths made absolute, members of other platforms taken out, and the members of our own.
fn prepare(document: &mut Document, bundle: &Path, id: &str, extras: Extras) -> Result<(), Error> {
    let root = document.str_at("/root/path").unwrap_or_default();
    let root = bundle.join(root);
    document.set("/root/path", root.to_string_lossy())?;
    absolute_sources(document, bundle);
    // Windows' member: the tools would look it up.
    document.remove("/process/user/username");
    if document.str_at("/process/apparmorProfile") == Some("unconfined") {
        document.remove("/process/apparmorProfile");
    }
    without_empty_paths(document);
    if document.str_at("/linux/cgroupsPath").is_none_or(str::is_empty) {
        // Below the parent that all containers of this place have.
        document.set("/linux/cgroupsPath", id)?;
    }
    document.set("/wb/id", id)?;
    document.set("/wb/bundle", bundle.to_string_lossy())?;
    document.set("/wb/created", format!("{:.9}", jiff::Timestamp::now()))?;
    document.set("/wb/run/preserveFds", extras.preserve_fds)?;
    document.set("/wb/run/noPivot", extras.no_pivot)?;
    document.set("/wb/run/noNewKeyring", extras.no_new_keyring)?;
    document.set("/wb/run/exactRlimits", true)?;
    if document.at("/linux/seccomp").is_none() {
        // A document of ours without a profile would get the default one.
        document.set("/wb/seccomp", "unconfined")?;
    }
    if let Some(resources) = document.at("/linux/resources").cloned() {
        let mut resources = resources;
        without_zeros(&mut resources);
        default_devices(&mut resources);
        document.set("/linux/resources", resources)?;
    }
    Ok(())
}

/// An empty path of a namespace means none, as engines write it.
fn without_empty_paths(document: &mut Document) {
    let linux = document.member_mut("linux");
    let Some(Value::Array(namespaces)) = linux.and_then(|linux| linux.get_mut("namespaces")) else { return };
    for entry in namespaces.iter_mut().filter_map(Value::as_object_mut) {
        if entry.get("path").is_some_and(|path| path.is_null() || path == "") {
            entry.remove("path");
        }
    }
}

/// "Path values for bind mounts are either absolute or relative to the bundle" (config.md, "Mounts").
fn absolute_sources(document: &mut Document, bundle: &Path) {
    let Some(Value::Array(mounts)) = document.member_mut("mounts") else { return };
    for mount in mounts {
        let is_bind = mount["type"] == "bind"
            || mount["options"]
                .as_array()
                .is_some_and(|words| words.iter().any(|w| w == "bind" || w == "rbind"));
        let source = mount["source"].as_str().filter(|source| is_bind && !source.is_empty());
        if let Some(absolute) = source.map(|source| bundle.join(source)) {
            mount["source"] = json!(absolute.to_string_lossy());
        }
    }
}

/// Numbers for which engines write 0 where they mean nothing.
const ZERO_IS_NOTHING: [&str; 13] = [
    "limit",
    "swap",
    "reservation",
    "kernel",
    "kernelTCP",
    "shares",
    "quota",
    "period",
    "realtimeRuntime",
    "realtimePeriod",
    "weight",
    "leafWeight",
    "classID",
];

/// Takes out limits of 0, and empty lists of CPUs.
pub fn without_zeros(resources: &mut Value) {
    for group in ["memory", "cpu", "pids", "blockIO", "network"] {
        let Some(members) = resources.get_mut(group).and_then(Value::as_object_mut) else { continue };
        members.retain(|name, value| {
            let zero = value.as_i64() == Some(0) && ZERO_IS_NOTHING.contains(&name.as_str());
            !(zero || value.is_null() || value.as_str() == Some(""))
        });
    }
}

/// What every container may use, whatever else it is refused (config-linux.md, "Default Devices"), its terminals
/// included: type, major, minor, access.
const DEVICES: [(&str, Option<i64>, Option<i64>, &str); 10] = [
    ("c", None, None, "m"),
    ("b", None, None, "m"),
    ("c", Some(1), Some(3), "rwm"),
    ("c", Some(1), Some(5), "rwm"),
    ("c", Some(1), Some(7), "rwm"),
    ("c", Some(1), Some(8), "rwm"),
    ("c", Some(1), Some(9), "rwm"),
    ("c", Some(5), Some(0), "rwm"),
    ("c", Some(5), Some(2), "rwm"),
    ("c", Some(136), None, "rwm"),
];

fn default_devices(resources: &mut Value) {
    let Some(Value::Array(rules)) = resources.get_mut("devices") else { return };
    // With the first rule everything that no rule allows is refused, as all engines mean it.
    if rules.is_empty() {
        return;
    }
    rules.extend(DEVICES.map(|(kind, major, minor, access)| {
        let mut rule = json!({"allow": true, "type": kind, "access": access});
        for (name, number) in [("major", major), ("minor", minor)] {
            if let Some(number) = number {
                rule[name] = json!(number);
            }
        }
        rule
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_of_engines_are_no_limits() {
        let mut resources = json!({"memory": {"limit": 0, "swap": 5, "swappiness": 0}, "cpu": {"cpus": "", "idle": 0},
            "pids": {"limit": 0}});
        without_zeros(&mut resources);
        assert_eq!(
            resources,
            json!({"memory": {"swap": 5, "swappiness": 0}, "cpu": {"idle": 0}, "pids": {}})
        );
    }

    #[test]
    fn default_devices_are_allowed_where_there_are_rules() {
        let mut resources = json!({"devices": [{"allow": false, "access": "rwm"}]});
        default_devices(&mut resources);
        assert_eq!(resources["devices"].as_array().unwrap().len(), 11);
        let mut none = json!({"devices": []});
        default_devices(&mut none);
        assert_eq!(none, json!({"devices": []}));
    }

    #[test]
    fn relative_sources_count_from_the_bundle() {
        let mut document = Document::from_value(json!({"mounts": [
            {"destination": "/a", "source": "data", "options": ["rbind"]},
            {"destination": "/b", "source": "proc", "type": "proc"}]}))
        .unwrap();
        absolute_sources(&mut document, Path::new("/b"));
        assert_eq!(document.str_at("/mounts/0/source"), Some("/b/data"));
        assert_eq!(document.str_at("/mounts/1/source"), Some("proc"));
    }
}
