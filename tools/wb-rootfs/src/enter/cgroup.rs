//! `/sys/fs/cgroup`: the one tree of v2, or a tmpfs with a directory for each hierarchy of v1 (and of hybrid, whose
//! v2 tree is called `unified`). In a cgroup namespace the process's own cgroup is the root of each.

use super::attach::make_filesystem;
use super::options::Options;
use super::plan::Planned;
use super::root::{Kind, Root};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use wb_doc::{Context, Error};
use wb_sys::mount_fd::{self, Attributes, Change};
use wb_sys::node;
use wb_sys::proc::{self, MountInfo};

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

    /// Whether a mount shows it.
    fn is_of(&self, mount: &MountInfo) -> bool {
        let (kind, wanted) = self.options();
        let has = |word: &String| mount.super_options.split(',').any(|option| option == word);
        mount.fstype == kind && wanted.iter().filter(|word| *word != "none").all(has)
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
    if own_namespace {
        return make(&hierarchies, &plain, &target);
    }
    show_own(&text, &plain, &target)
}

/// Without a cgroup namespace a new mount would show the root of each hierarchy: the process's own cgroups are bound
/// instead, each from where the host has its hierarchy mounted.
fn show_own(text: &str, options: &Options, target: &OwnedFd) -> Result<(), Error> {
    let mounts = proc::mountinfo("self").context(|| "/proc/self/mountinfo")?;
    let own = text.lines().filter_map(|line| {
        let hierarchy = Hierarchy::parse(line)?;
        let path = Path::new(line.splitn(3, ':').nth(2)?);
        let mount = mounts.iter().find(|mount| hierarchy.is_of(mount) && path.starts_with(&mount.root))?;
        let below = path.strip_prefix(&mount.root).ok()?;
        Some((hierarchy, Path::new(&mount.mount_point).join(below)))
    });
    let own: Vec<(Hierarchy, PathBuf)> = own.collect();
    if let [(Hierarchy::V2, directory)] = own.as_slice() {
        return attach_own(directory, options, target);
    }
    let tmpfs = place_for_each(options, target)?;
    for (hierarchy, directory) in &own {
        let tree = own_tree(directory, options)?;
        put(hierarchy, &tree, &tmpfs).context(|| hierarchy.directory())?;
    }
    close_place(options, &tmpfs)
}

fn own_tree(directory: &Path, options: &Options) -> Result<OwnedFd, Error> {
    let name = || directory.display().to_string();
    let tree = mount_fd::clone_path(directory, false, "the process's own cgroup").context(name)?;
    let change = Change { set: options.attributes.set, ..Change::default() };
    mount_fd::set_attributes(&tree, change, "with the options asked for").context(name)?;
    Ok(tree)
}

fn attach_own(directory: &Path, options: &Options, target: &OwnedFd) -> Result<(), Error> {
    mount_fd::attach(own_tree(directory, options)?, target, "onto its place").context(|| "move_mount")
}

fn make(hierarchies: &[Hierarchy], options: &Options, target: &OwnedFd) -> Result<(), Error> {
    if hierarchies.iter().all(|hierarchy| *hierarchy == Hierarchy::V2) {
        let tree = make_filesystem("cgroup2", "cgroup", options)?;
        return mount_fd::attach(&tree, target, "the cgroup as root of the tree").context(|| "move_mount");
    }
    let tmpfs = place_for_each(options, target)?;
    for hierarchy in hierarchies {
        one(hierarchy, options, &tmpfs).context(|| hierarchy.directory())?;
    }
    close_place(options, &tmpfs)
}

/// A tmpfs in which each hierarchy gets a directory.
fn place_for_each(options: &Options, target: &OwnedFd) -> Result<OwnedFd, Error> {
    let mut above = options.clone();
    above.data.push("mode=755".to_owned());
    above.attributes.set -= Attributes::MOUNT_ATTR_RDONLY;
    let tmpfs = make_filesystem("tmpfs", "cgroup", &above)?;
    mount_fd::attach(&tmpfs, target, "a place for each hierarchy").context(|| "move_mount")?;
    Ok(tmpfs)
}

fn close_place(options: &Options, tmpfs: &OwnedFd) -> Result<(), Error> {
    if options.readonly() {
        let change = Change { set: Attributes::MOUNT_ATTR_RDONLY, ..Change::default() };
        mount_fd::set_attributes(tmpfs, change, "read-only from now on").context(|| "options")?;
    }
    Ok(())
}

fn one(hierarchy: &Hierarchy, options: &Options, tmpfs: impl AsFd) -> Result<(), Error> {
    let (kind, data) = hierarchy.options();
    let options = Options { data, ..options.clone() };
    let tree = make_filesystem(kind, "cgroup", &options)?;
    put(hierarchy, &tree, tmpfs)
}

/// Mounts a hierarchy in its directory, with a link for each of its controllers.
fn put(hierarchy: &Hierarchy, tree: &OwnedFd, tmpfs: impl AsFd) -> Result<(), Error> {
    let name = hierarchy.directory();
    node::mkdir(&tmpfs, Path::new(&name), 0o755, "a hierarchy").context(|| "mkdir")?;
    let flags = nix::fcntl::OFlag::O_PATH;
    let place = node::open(&tmpfs, Path::new(&name), flags, 0, "its place").context(|| "open")?;
    mount_fd::attach(tree, &place, "the cgroup as root of the hierarchy").context(|| "move_mount")?;
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
