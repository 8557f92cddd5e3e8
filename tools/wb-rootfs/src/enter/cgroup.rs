//! `/sys/fs/cgroup`: the one tree of v2, or a tmpfs with a directory for each hierarchy of v1 (and of hybrid, whose
//! v2 tree is called `unified`). In a cgroup namespace the process's own cgroup is the root of each.

use super::attach::make_filesystem;
use super::options::Options;
use super::plan::Planned;
use super::root::{Kind, Root};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use wb_doc::{Context, Error};
use wb_sys::mount_fd::{self, Attributes, Change};
use wb_sys::{Errno, node};

/// One line of `/proc/self/cgroup` (cgroups(7)).
#[derive(Debug, Clone, PartialEq, Eq)]
enum Hierarchy {
    /// `0::/path`.
    V2,
    /// `3:cpu,cpuacct:/path`: controllers in the kernel's order.
    Controllers(Vec<String>),
    /// `1:name=systemd:/path`.
    Named(String),
}

impl Hierarchy {
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.splitn(3, ':');
        let (number, names) = (fields.next()?, fields.next()?);
        fields.next()?;
        if number == "0" {
            return Some(Self::V2);
        }
        match names.strip_prefix("name=") {
            Some(name) => Some(Self::Named(name.to_owned())),
            None => Some(Self::Controllers(names.split(',').map(str::to_owned).collect())),
        }
    }

    /// The directory it goes by below `/sys/fs/cgroup`.
    fn directory(&self) -> String {
        match self {
            Self::V2 => "unified".to_owned(),
            Self::Controllers(names) => names.join(","),
            Self::Named(name) => name.clone(),
        }
    }

    /// Its file system's type and options.
    fn options(&self) -> (&'static str, Vec<String>) {
        match self {
            Self::V2 => ("cgroup2", Vec::new()),
            Self::Controllers(names) => ("cgroup", names.clone()),
            Self::Named(name) => ("cgroup", vec!["none".to_owned(), format!("name={name}")]),
        }
    }
}

/// Mounts the cgroups the process is in.
pub fn mount(mount: &Planned, own_namespace: bool, root: &Root) -> Result<(), Error> {
    let text = std::fs::read_to_string("/proc/self/cgroup").context(|| "/proc/self/cgroup")?;
    let hierarchies: Vec<Hierarchy> = text.lines().filter_map(Hierarchy::parse).collect();
    let target = root.make(&mount.destination, Kind::Directory)?;
    let plain = Options { data: Vec::new(), ..mount.options.clone() };
    match make(&hierarchies, &plain, &target) {
        // Without a cgroup namespace of its own a user namespace may not mount them: the host's are shown.
        Err(error) if !own_namespace && error.raw_errno() == Some(Errno::EPERM) => {
            let why = "the host's cgroups, where new mounts are refused";
            let tree =
                mount_fd::clone_path(Path::new("/sys/fs/cgroup"), true, why).context(|| "/sys/fs/cgroup")?;
            let set = mount.options.attributes.set;
            let change = Change { set, recursive: true, ..Change::default() };
            mount_fd::set_attributes(&tree, change, "with the options asked for").context(|| "options")?;
            mount_fd::attach(&tree, &target, "onto its place").context(|| "move_mount")
        }
        other => other,
    }
}

fn make(hierarchies: &[Hierarchy], options: &Options, target: &OwnedFd) -> Result<(), Error> {
    if hierarchies.iter().all(|hierarchy| *hierarchy == Hierarchy::V2) {
        let tree = make_filesystem("cgroup2", "cgroup", options)?;
        return mount_fd::attach(&tree, target, "the cgroup as root of the tree").context(|| "move_mount");
    }
    let mut above = options.clone();
    above.data.push("mode=755".to_owned());
    above.attributes.set -= Attributes::MOUNT_ATTR_RDONLY;
    let tmpfs = make_filesystem("tmpfs", "cgroup", &above)?;
    mount_fd::attach(&tmpfs, target, "a place for each hierarchy").context(|| "move_mount")?;
    for hierarchy in hierarchies {
        one(hierarchy, options, &tmpfs).context(|| hierarchy.directory())?;
    }
    if options.readonly() {
        let change = Change { set: Attributes::MOUNT_ATTR_RDONLY, ..Change::default() };
        mount_fd::set_attributes(&tmpfs, change, "read-only from now on").context(|| "options")?;
    }
    Ok(())
}

fn one(hierarchy: &Hierarchy, options: &Options, tmpfs: impl AsFd) -> Result<(), Error> {
    let name = hierarchy.directory();
    let (kind, data) = hierarchy.options();
    let options = Options { data, ..options.clone() };
    let tree = make_filesystem(kind, "cgroup", &options)?;
    node::mkdir(&tmpfs, Path::new(&name), 0o755, "a hierarchy").context(|| "mkdir")?;
    let flags = nix::fcntl::OFlag::O_PATH;
    let place = node::open(&tmpfs, Path::new(&name), flags, 0, "its place").context(|| "open")?;
    mount_fd::attach(&tree, &place, "the cgroup as root of the hierarchy").context(|| "move_mount")?;
    if let Hierarchy::Controllers(names) = hierarchy {
        for controller in names.iter().filter(|_| names.len() > 1) {
            let link =
                node::symlink(Path::new(&name), &tmpfs, Path::new(controller), "each controller by its name");
            node::allow_existing(link).context(|| controller.clone())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_v1_v2_and_named_hierarchies() {
        let parse = |line| Hierarchy::parse(line).unwrap();
        assert_eq!(parse("0::/"), Hierarchy::V2);
        let pair = parse("4:cpu,cpuacct:/x:y");
        assert_eq!(pair.directory(), "cpu,cpuacct");
        assert_eq!(pair.options(), ("cgroup", vec!["cpu".to_owned(), "cpuacct".to_owned()]));
        let named = parse("9:name=systemd:/");
        assert_eq!(named.directory(), "systemd");
        assert_eq!(named.options().1, ["none", "name=systemd"]);
        assert_eq!(Hierarchy::parse("nonsense"), None);
    }
}
