//! What is mounted besides the usual: `-v`, `--mount`, `--tmpfs`, `--volumes-from`.

use crate::flags::{Given, invalid};
use crate::run::Subject;
use crate::{key_values, namespaces};
use serde_json::{Value, json};
use wb_doc::{Context, Error, names, oci, units};
use wb_store::record;

/// One mount the user asked for.
#[derive(Debug)]
pub struct Volume {
    /// The entry of `mounts`.
    pub mount: oci::Mount,
    /// The entry of `wb.volumes`, from which wb-rootfs makes what has to be there; none for a tmpfs.
    pub volume: Option<Value>,
}

/// All of them, in the order of the flags, each destination once.
pub fn volumes(given: &Given, subject: &Subject) -> Result<Vec<Volume>, Error> {
    let mut all = Vec::new();
    for (flag, text) in given.any(&["volume", "mount", "tmpfs", "volumes-from"]) {
        match flag {
            "volume" => all.push(short_form(text, subject)?),
            "mount" => all.push(long_form(text, subject)?),
            "tmpfs" => all.push(tmpfs(text)?),
            _ => {}
        }
    }
    for (at, volume) in all.iter().enumerate() {
        let destination = &volume.mount.destination;
        if all[..at].iter().any(|other: &Volume| other.mount.destination == *destination) {
            return Err(Error::usage(format!("duplicate mount point: {destination}")));
        }
    }
    for text in given.all("volumes-from") {
        // What the flags say about a destination wins over another container's.
        for volume in from_container(text, subject)? {
            if all.iter().all(|other| other.mount.destination != volume.mount.destination) {
                all.push(volume);
            }
        }
    }
    Ok(all)
}

/// `[SOURCE:]DESTINATION[:OPTIONS]`
fn short_form(text: &str, subject: &Subject) -> Result<Volume, Error> {
    let wrong = || invalid("volume", text, "[SOURCE:]DESTINATION[:OPTIONS]");
    let parts: Vec<&str> = text.split(':').collect();
    let (source, destination, options) = match parts[..] {
        [destination] => (None, destination, ""),
        [source, destination] => (Some(source), destination, ""),
        [source, destination, options] => (Some(source), destination, options),
        _ => return Err(wrong()),
    };
    let mut settings = Settings::default();
    for option in options.split(',').filter(|option| !option.is_empty()) {
        settings.option(option).ok_or_else(|| invalid("volume", text, "known options"))?;
    }
    let destination = absolute("volume", destination)?;
    match source {
        Some("") => Err(wrong()),
        Some(source) if source.starts_with(['/', '.', '~']) => {
            let source = std::path::absolute(source).context(|| format!("--volume {text}"))?;
            bind(&source.to_string_lossy(), destination, &settings, true)
        }
        source => named(source, destination, &settings, subject),
    }
}

/// How a mount is made.
#[derive(Debug)]
struct Settings {
    readonly: bool,
    recursive: bool,
    propagation: &'static str,
    /// Whether an empty volume is filled with what the image has there.
    copy: bool,
    idmap: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { readonly: false, recursive: true, propagation: "rprivate", copy: true, idmap: false }
    }
}

impl Settings {
    /// Takes one option of `-v`; `None` for an unknown one.
    fn option(&mut self, option: &str) -> Option<()> {
        match option {
            "ro" => self.readonly = true,
            "nocopy" => self.copy = false,
            "idmap" => self.idmap = true,
            // SELinux relabelling, and hints for docker on other systems: nothing to do.
            "rw" | "z" | "Z" | "cached" | "delegated" | "consistent" => {}
            other => self.propagation = propagation(other)?,
        }
        Some(())
    }

    fn options(&self) -> Vec<String> {
        let bind = if self.recursive { "rbind" } else { "bind" };
        let mut options = vec![bind, if self.readonly { "ro" } else { "rw" }, self.propagation];
        if self.idmap {
            options.push("idmap");
        }
        options.into_iter().map(str::to_owned).collect()
    }
}

fn propagation(word: &str) -> Option<&'static str> {
    ["shared", "slave", "private", "rshared", "rslave", "rprivate"].into_iter().find(|known| *known == word)
}

/// A destination, cleaned: absolute, without `.`, `..`, or slashes too many; not the root itself.
fn absolute(flag: &str, path: &str) -> Result<String, Error> {
    if !path.starts_with('/') || path.split('/').any(|part| part == "..") || path.contains('\0') {
        return Err(invalid(flag, path, "an absolute path inside the container"));
    }
    let clean: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if clean.is_empty() {
        return Err(invalid(flag, path, "a path other than /"));
    }
    Ok(format!("/{}", clean.join("/")))
}

fn mount(destination: String, kind: &str, source: &str, options: Vec<String>) -> oci::Mount {
    oci::Mount {
        destination,
        kind: Some(kind.to_owned()),
        source: Some(source.to_owned()),
        options,
        ..oci::Mount::default()
    }
}

/// A directory or file of the host; `create` says whether a missing one is made, as `-v` does and `--mount` not.
fn bind(source: &str, destination: String, settings: &Settings, create: bool) -> Result<Volume, Error> {
    if source.contains('\0') {
        return Err(invalid("volume", source, "a path"));
    }
    let volume = json!({
        "type": "bind", "source": source, "destination": destination, "readonly": settings.readonly,
        "create": create,
    });
    Ok(Volume { mount: mount(destination, "bind", source, settings.options()), volume: Some(volume) })
}

/// A named volume, or one with a random name that goes with the container.
fn named(
    name: Option<&str>,
    destination: String,
    settings: &Settings,
    subject: &Subject,
) -> Result<Volume, Error> {
    let anonymous = name.is_none();
    let name = name.map_or_else(record::random_id, |name| Ok(name.to_owned()))?;
    names::check("volume", &name)?;
    let source = subject.place.volumes().join(&name).join("_data");
    let source = source.to_string_lossy();
    let volume = json!({
        "type": "volume", "name": name, "source": source, "destination": destination,
        "readonly": settings.readonly, "copy": settings.copy, "anonymous": anonymous,
    });
    Ok(Volume { mount: mount(destination, "bind", &source, settings.options()), volume: Some(volume) })
}

/// `--mount type=bind,source=/a,target=/b,readonly`
fn long_form(text: &str, subject: &Subject) -> Result<Volume, Error> {
    let mut kind = "volume".to_owned();
    let (mut source, mut target) = (None, None);
    let mut settings = Settings::default();
    let (mut size, mut mode, mut create) = (None, None, false);
    for (key, value) in key_values::parse("mount", text)? {
        let flag = |value: &Option<String>| key_values::boolean("mount", &key, value.as_deref());
        match (key.as_str(), value) {
            ("type", Some(value)) => kind = value.to_ascii_lowercase(),
            ("source" | "src", Some(value)) => source = Some(value),
            ("target" | "dst" | "destination", Some(value)) => target = Some(value),
            ("readonly" | "ro", value) => settings.readonly = flag(&value)?,
            ("bind-propagation", Some(value)) => {
                let known = propagation(&value);
                settings.propagation = known.ok_or_else(|| invalid("mount", text, "a known propagation"))?;
            }
            ("bind-nonrecursive", value) => settings.recursive = !flag(&value)?,
            ("bind-recursive", Some(value)) if value == "disabled" => settings.recursive = false,
            ("bind-recursive", Some(value)) if value == "enabled" => {}
            ("bind-create-src", value) => create = flag(&value)?,
            ("idmap", value) => settings.idmap = flag(&value)?,
            ("volume-nocopy", value) => settings.copy = !flag(&value)?,
            ("tmpfs-size", Some(value)) => size = Some(units::bytes(&value)?),
            ("tmpfs-mode", Some(value)) => {
                let octal = u32::from_str_radix(&value, 8).ok().filter(|mode| *mode <= 0o7777);
                mode = Some(octal.ok_or_else(|| invalid("mount", text, "an octal tmpfs-mode"))?);
            }
            ("consistency", Some(_)) => {}
            _ => {
                let message = format!("invalid argument {text:?} for --mount: unexpected field {key:?}");
                return Err(Error::usage(message));
            }
        }
    }
    let target = target.ok_or_else(|| invalid("mount", text, "a target"))?;
    let target = absolute("mount", &target)?;
    match (kind.as_str(), source) {
        ("bind", Some(source)) if source.starts_with('/') => bind(&source, target, &settings, create),
        ("bind", Some(source)) if source.starts_with('.') => {
            let source = std::path::absolute(&source).context(|| format!("--mount {source}"))?;
            bind(&source.to_string_lossy(), target, &settings, create)
        }
        ("bind", _) => Err(invalid("mount", text, "an absolute source")),
        ("volume", source) => {
            named(source.as_deref().filter(|name| !name.is_empty()), target, &settings, subject)
        }
        ("tmpfs", None) => {
            let mut options = tmpfs_options();
            options.extend(size.map(|size| format!("size={size}")));
            options.extend(mode.map(|mode| format!("mode={mode:o}")));
            options.extend(settings.readonly.then(|| "ro".to_owned()));
            Ok(Volume { mount: mount(target, "tmpfs", "tmpfs", options), volume: None })
        }
        ("tmpfs", Some(_)) => Err(invalid("mount", text, "a tmpfs without a source")),
        _ => Err(invalid("mount", text, "type=bind, volume or tmpfs")),
    }
}

fn tmpfs_options() -> Vec<String> {
    ["noexec", "nosuid", "nodev"].map(str::to_owned).to_vec()
}

/// `DESTINATION[:OPTIONS]`; the options are mount(8)'s and win over the safe ones that stand first.
fn tmpfs(text: &str) -> Result<Volume, Error> {
    const WORDS: [&str; 23] = [
        "ro",
        "rw",
        "exec",
        "noexec",
        "suid",
        "nosuid",
        "dev",
        "nodev",
        "sync",
        "async",
        "atime",
        "noatime",
        "diratime",
        "nodiratime",
        "relatime",
        "strictatime",
        "remount",
        "dirsync",
        "mand",
        "nomand",
        "private",
        "rprivate",
        "defaults",
    ];
    const KEYS: [&str; 7] = ["size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"];
    let (destination, given) = text.split_once(':').unwrap_or((text, ""));
    let mut options = tmpfs_options();
    for option in given.split(',').filter(|option| !option.is_empty()) {
        let key = option.split_once('=').map(|(key, _)| key);
        let known = key.map_or_else(|| WORDS.contains(&option), |key| KEYS.contains(&key));
        if !known {
            return Err(invalid("tmpfs", text, "known mount options"));
        }
        if let Some(size) = option.strip_prefix("size=").filter(|size| !size.ends_with('%')) {
            let size = units::bytes(size).map_err(|error| error.within(format!("--tmpfs {text}")))?;
            options.push(format!("size={size}"));
            continue;
        }
        let opposite = option.strip_prefix("no").map_or_else(|| format!("no{option}"), str::to_owned);
        options.retain(|other| *other != opposite && other != option);
        options.push(option.to_owned());
    }
    let mount = mount(absolute("tmpfs", destination)?, "tmpfs", "tmpfs", options);
    Ok(Volume { mount, volume: None })
}

/// `CONTAINER[:ro|rw]`: what another container has of binds and volumes.
fn from_container(text: &str, subject: &Subject) -> Result<Vec<Volume>, Error> {
    let (container, mode) = text.split_once(':').unwrap_or((text, "rw"));
    if !["ro", "rw", "z", "Z"].contains(&mode) {
        return Err(invalid("volumes-from", text, "CONTAINER[:ro|rw]"));
    }
    let document = namespaces::record(&subject.place, container)?;
    let mounts = document.read::<Vec<oci::Mount>>("/mounts")?.unwrap_or_default();
    let mut found = Vec::new();
    for mut volume in document.read::<Vec<Value>>("/wb/volumes")?.unwrap_or_default() {
        let Some(mut mount) =
            mounts.iter().find(|mount| volume["destination"] == *mount.destination).cloned()
        else {
            continue;
        };
        if mode == "ro" {
            mount.options.retain(|option| option != "rw");
            mount.options.push("ro".into());
            volume["readonly"] = true.into();
        }
        // The volume goes with the container that brought it.
        if volume["type"] == "volume" {
            volume["anonymous"] = false.into();
        }
        found.push(Volume { mount, volume: Some(volume) });
    }
    Ok(found)
}
