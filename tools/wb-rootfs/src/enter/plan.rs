//! What enter is going to do, as a value: read from the document, checked, nothing touched yet.

use super::options::{Options, propagation};
use crate::idmap::Maps;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use wb_doc::{Document, Error, escape, oci};
use wb_sys::mount_fd::Propagation;

/// The whole of it.
#[derive(Debug)]
pub struct Plan {
    /// The root file system on the host.
    pub root: PathBuf,
    /// Whether the root becomes read-only at the end.
    pub readonly: bool,
    /// `linux.rootfsPropagation`; private where nothing is said.
    pub propagation: (Propagation, bool),
    /// `mounts`, in order.
    pub mounts: Vec<Planned>,
    /// `linux.devices`.
    pub devices: Vec<oci::Device>,
    /// Whether the default devices and links are made: not where the document binds a `/dev` of its own.
    pub default_devices: bool,
    /// Whether standard input is a terminal that becomes `/dev/console`.
    pub terminal: bool,
    /// `linux.maskedPaths`.
    pub masked_paths: Vec<PathBuf>,
    /// `linux.readonlyPaths`.
    pub readonly_paths: Vec<PathBuf>,
    /// Whether the process has a network namespace of its own.
    pub own_network: bool,
    /// `linux.sysctl`.
    pub sysctl: BTreeMap<String, String>,
    /// Whether the process has a cgroup namespace of its own.
    pub own_cgroup_namespace: bool,
    /// The network namespace it joins, if that exists already.
    pub network: Option<PathBuf>,
    /// The ids of its user namespace, if it has one of its own.
    pub maps: Option<Maps>,
    /// Whether the root is only moved over the host's, which stays below: for hosts whose root is an initramfs.
    pub no_pivot: bool,
}

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Where, inside the root; absolute, without `.` and `..`.
    pub destination: PathBuf,
    /// How.
    pub act: Act,
    /// Its options.
    pub options: Options,
    /// Ids of an idmapped mount: users, groups.
    pub mappings: Option<(Vec<oci::IdMapping>, Vec<oci::IdMapping>)>,
}

impl Planned {
    /// `linux.mountLabel`, for a new file system whose files have no labels of their own. A kernel without SELinux
    /// refuses the option.
    fn label(&mut self, label: &str) {
        if matches!(&self.act, Act::New(kind, _) if !["proc", "sysfs", "mqueue"].contains(&kind.as_str())) {
            self.options.data.push(format!("context={label}"));
        }
    }
}

/// The ways to mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// A directory or file of the host appears.
    Bind(PathBuf),
    /// A new file system of a type, from a source.
    New(String, String),
    /// The process's own cgroups.
    Cgroup,
    /// Other options for the mount that is there.
    Remount,
}

impl Plan {
    /// From a document. Fails on what makes no sense, before anything is touched.
    pub fn of(document: &Document, root: Option<&Path>) -> Result<Self, Error> {
        let described = document.read::<oci::Root>("/root")?;
        let path = match (root, &described) {
            (Some(root), _) => root.to_owned(),
            (None, Some(described)) if !described.path.is_empty() => PathBuf::from(&described.path),
            _ => return Err(no_root()),
        };
        let mounts: Vec<oci::Mount> = document.read("/mounts")?.unwrap_or_default();
        let mut mounts: Vec<Planned> = mounts.into_iter().map(Planned::of).collect::<Result<_, _>>()?;
        if let Some(label) = document.str_at("/linux/mountLabel").filter(|label| !label.is_empty()) {
            for mount in &mut mounts {
                mount.label(label);
            }
        }
        let namespaces: Vec<oci::Namespace> = document.read("/linux/namespaces")?.unwrap_or_default();
        let root_propagation = match document.str_at("/linux/rootfsPropagation") {
            None | Some("") => (Propagation::Private, true),
            Some(word) => propagation(word).ok_or_else(|| {
                Error::usage(format!("linux.rootfsPropagation: {} is unknown", escape(word)))
            })?,
        };
        Ok(Self {
            root: path,
            readonly: described.is_some_and(|root| root.readonly),
            propagation: root_propagation,
            default_devices: !mounts.iter().any(Planned::is_foreign_dev),
            mounts,
            devices: document.read("/linux/devices")?.unwrap_or_default(),
            terminal: document.read("/process/terminal")?.unwrap_or_default(),
            masked_paths: paths(document, "/linux/maskedPaths")?,
            readonly_paths: paths(document, "/linux/readonlyPaths")?,
            own_network: namespaces.iter().any(|namespace| namespace.kind == "network"),
            sysctl: document.read("/linux/sysctl")?.unwrap_or_default(),
            own_cgroup_namespace: namespaces.iter().any(|namespace| namespace.kind == "cgroup"),
            network: namespaces
                .iter()
                .find(|namespace| namespace.kind == "network")
                .and_then(|namespace| namespace.path.as_ref())
                .map(PathBuf::from),
            maps: Maps::of(document)?,
            no_pivot: document.read("/wb/run/noPivot")?.unwrap_or(false),
        })
    }

    /// Without a document: the mounts every program expects.
    pub fn by_hand(root: Option<&Path>) -> Result<Self, Error> {
        let mounts = DEFAULT_MOUNTS.iter().map(|&(destination, kind, options)| {
            Planned::of(oci::Mount {
                destination: destination.into(),
                kind: Some(kind.into()),
                source: Some(kind.into()),
                options: options.split(',').map(str::to_owned).collect(),
                ..oci::Mount::default()
            })
        });
        Ok(Self {
            root: root.ok_or_else(no_root)?.to_owned(),
            readonly: false,
            propagation: (Propagation::Private, true),
            mounts: mounts.collect::<Result<_, _>>()?,
            devices: Vec::new(),
            default_devices: true,
            terminal: false,
            masked_paths: Vec::new(),
            readonly_paths: Vec::new(),
            own_network: false,
            sysctl: BTreeMap::new(),
            own_cgroup_namespace: false,
            network: None,
            maps: None,
            no_pivot: false,
        })
    }
}

/// What `wb-spec` asks for too (SECURITY: /proc, /sys, /dev and below).
const DEFAULT_MOUNTS: &[(&str, &str, &str)] = &[
    ("/proc", "proc", "nosuid,noexec,nodev"),
    ("/dev", "tmpfs", "nosuid,noexec,strictatime,mode=755,size=65536k"),
    ("/dev/pts", "devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5"),
    ("/dev/shm", "tmpfs", "nosuid,noexec,nodev,mode=1777,size=65536k"),
    ("/dev/mqueue", "mqueue", "nosuid,noexec,nodev"),
    ("/sys", "sysfs", "nosuid,noexec,nodev,ro"),
];

fn no_root() -> Error {
    Error::usage("no root file system")
        .hint("name a directory, or mount one with `wb-rootfs mount` (root.path)")
}

fn paths(document: &Document, pointer: &str) -> Result<Vec<PathBuf>, Error> {
    let list: Vec<PathBuf> = document.read(pointer)?.unwrap_or_default();
    match list.iter().find(|path| !path.is_absolute()) {
        None => Ok(list),
        Some(path) => Err(Error::usage(format!(
            "document: {}: {} is no absolute path",
            pointer[1..].replace('/', "."),
            escape(&path.to_string_lossy())
        ))),
    }
}

impl Planned {
    fn of(mount: oci::Mount) -> Result<Self, Error> {
        let shown = escape(&mount.destination);
        let wrong = |what: &str| Err(Error::usage(format!("mount {shown}: {what}")));
        if mount.destination.contains('\0') || mount.source.as_ref().is_some_and(|s| s.contains('\0')) {
            return wrong("NUL in a path");
        }
        // A relative destination counts from the root (config.md allows it for compatibility).
        let mut destination = PathBuf::from("/");
        for component in Path::new(&mount.destination).components() {
            match component {
                std::path::Component::Normal(name) => destination.push(name),
                std::path::Component::ParentDir => drop(destination.pop()),
                _ => {}
            }
        }
        let options = Options::parse(&mount.options, &mount.destination)?;
        if destination == Path::new("/") && !options.remount {
            return wrong("the root itself is no mount point");
        }
        let kind = mount.kind.as_deref().unwrap_or_default();
        let act = if options.remount {
            Act::Remount
        } else if options.bind.is_some() || kind == "bind" {
            match mount.source.as_deref() {
                None | Some("") => return wrong("a bind mount needs a source"),
                Some(source) => Act::Bind(source.into()),
            }
        } else {
            match kind {
                "" | "none" => return wrong("no type, and no bind mount"),
                "cgroup" | "cgroup2" => Act::Cgroup,
                kind => Act::New(kind.to_owned(), mount.source.unwrap_or_else(|| kind.to_owned())),
            }
        };
        let mapped = !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty();
        if (mapped || options.idmap.is_some()) && !matches!(act, Act::Bind(_)) {
            return wrong("ids can be mapped in bind mounts only");
        }
        let mappings = mapped.then_some((mount.uid_mappings, mount.gid_mappings));
        if options.copy_up && !matches!(&act, Act::New(kind, _) if kind == "tmpfs") {
            return wrong("tmpcopyup is for a tmpfs");
        }
        Ok(Self { destination, act, options, mappings })
    }

    /// Whether its ids are shown through maps.
    pub fn is_mapped(&self) -> bool {
        self.mappings.is_some() || self.options.idmap.is_some()
    }

    /// A mount of somebody else's devices: what is in it stays as it is.
    fn is_foreign_dev(&self) -> bool {
        self.destination == Path::new("/dev") && matches!(self.act, Act::Bind(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(text: &str) -> Result<Plan, Error> {
        Plan::of(&Document::parse(text.as_bytes()).unwrap(), None)
    }

    #[test]
    fn reads_every_way_to_mount() {
        let plan = plan(
            r#"{"root":{"path":"/r","readonly":true},"mounts":[
                {"destination":"/proc","type":"proc"},
                {"destination":"data/../v","type":"bind","source":"/host","options":["rbind","ro"]},
                {"destination":"/w","source":"/host","options":["bind"]},
                {"destination":"/sys/fs/cgroup","type":"cgroup","source":"cgroup","options":["ro"]}]}"#,
        )
        .unwrap();
        let acts: Vec<&Act> = plan.mounts.iter().map(|mount| &mount.act).collect();
        assert_eq!(acts[0], &Act::New("proc".into(), "proc".into()));
        assert_eq!(acts[1], &Act::Bind("/host".into()));
        assert_eq!(plan.mounts[1].destination, Path::new("/v"));
        assert_eq!(acts[2], &Act::Bind("/host".into()));
        assert_eq!(acts[3], &Act::Cgroup);
        assert!(plan.readonly && plan.default_devices && !plan.terminal);
    }

    #[test]
    fn refuses_what_makes_no_sense() {
        for mounts in [
            r#"{"destination":"/","type":"tmpfs"}"#,
            r#"{"destination":"/../..","type":"tmpfs"}"#,
            r#"{"destination":"/x"}"#,
            r#"{"destination":"/x","type":"bind"}"#,
            r#"{"destination":"/x","type":"proc","options":["tmpcopyup"]}"#,
            r#"{"destination":"/x","type":"tmpfs","options":["idmap"]}"#,
            r#"{"destination":"/x\u0000y","type":"tmpfs"}"#,
        ] {
            let text = format!(r#"{{"root":{{"path":"/r"}},"mounts":[{mounts}]}}"#);
            assert!(plan(&text).is_err(), "{mounts}");
        }
        assert!(plan("{}").is_err());
        assert!(plan(r#"{"root":{"path":"/r"},"linux":{"maskedPaths":["proc/kcore"]}}"#).is_err());
        assert!(plan(r#"{"root":{"path":"/r"},"linux":{"rootfsPropagation":"both"}}"#).is_err());
    }

    #[test]
    fn by_hand_the_usual_mounts() {
        let plan = Plan::by_hand(Some(Path::new("/r"))).unwrap();
        assert_eq!(plan.mounts.len(), 6);
        assert!(Plan::by_hand(None).is_err());
    }
}
