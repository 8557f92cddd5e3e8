//! Where the controllers are: one v2 tree, several v1 trees, or both (hybrid), read from `/proc/self/mountinfo`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use wb_doc::{Context, Error};
use wb_sys::proc::MountInfo;

/// The controllers of cgroup v1 that a mount's options can name.
const V1_CONTROLLERS: [&str; 12] = [
    "blkio", "cpu", "cpuacct", "cpuset", "devices", "freezer", "hugetlb", "memory", "net_cls", "net_prio",
    "pids", "rdma",
];

/// A mounted cgroup file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Where it is mounted.
    mount_point: PathBuf,
    /// Which of its cgroups is at the mount point.
    root: PathBuf,
}

/// Every controller of this machine and its hierarchy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hierarchies {
    /// The v2 hierarchy, if one is mounted.
    pub unified: Option<Hierarchy>,
    /// The controllers the v2 hierarchy offers.
    pub unified_controllers: Vec<String>,
    /// v1 controllers by name.
    pub v1: BTreeMap<String, Hierarchy>,
}

impl Hierarchy {
    /// The hierarchy whose cgroup `root` is the directory `mount_point`.
    pub fn at(mount_point: PathBuf, root: PathBuf) -> Self {
        Self { mount_point, root }
    }

    /// The directory of the cgroup `path`, which counts from the hierarchy's root.
    pub fn directory(&self, path: &Path) -> PathBuf {
        let inside = path.strip_prefix(&self.root).unwrap_or(path);
        self.mount_point.join(inside.strip_prefix("/").unwrap_or(inside))
    }

    /// Which of its cgroups is at the mount point.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The directory at the mount point.
    pub fn top(&self) -> &Path {
        &self.mount_point
    }
}

impl Hierarchies {
    /// Finds what is mounted.
    pub fn find() -> Result<Self, Error> {
        let is_cgroup = |fstype: &str| matches!(fstype, "cgroup" | "cgroup2");
        let mounts = wb_sys::proc::mountinfo_of("self", is_cgroup).context(|| "/proc/self/mountinfo")?;
        let mut found = Self::from_mounts(&mounts);
        if let Some(unified) = &found.unified {
            let file = unified.top().join("cgroup.controllers");
            let text = fs::read_to_string(&file).context(|| file.display().to_string())?;
            found.unified_controllers = text.split_whitespace().map(str::to_owned).collect();
        }
        if found.unified.is_none() && found.v1.is_empty() {
            return Err(
                Error::new("no cgroup file system is mounted").hint("mount -t cgroup2 none /sys/fs/cgroup")
            );
        }
        Ok(found)
    }

    /// The first mount of each hierarchy counts; later ones are other views of the same.
    fn from_mounts(mounts: &[MountInfo]) -> Self {
        let mut found = Self::default();
        for mount in mounts {
            let hierarchy =
                Hierarchy { mount_point: (&mount.mount_point).into(), root: (&mount.root).into() };
            match mount.fstype.as_str() {
                "cgroup2" if found.unified.is_none() => found.unified = Some(hierarchy),
                "cgroup" => {
                    for option in mount.super_options.split(',') {
                        if V1_CONTROLLERS.contains(&option) {
                            found.v1.entry(option.to_owned()).or_insert_with(|| hierarchy.clone());
                        }
                    }
                }
                _ => {}
            }
        }
        found
    }

    /// 2 where the v2 tree is all there is, 1 where v1 controllers exist (hybrid too).
    pub fn version(&self) -> u8 {
        if self.v1.is_empty() { 2 } else { 1 }
    }

    /// The version of the hierarchy that has `controller`; of one that is nowhere, that of the machine.
    pub fn version_of(&self, controller: &str) -> u8 {
        match (self.v1.contains_key(controller), self.has_unified(controller)) {
            (true, _) => 1,
            (false, true) => 2,
            (false, false) => self.version(),
        }
    }

    /// Whether the v2 tree does what `controller` does.
    pub fn has_unified(&self, controller: &str) -> bool {
        // There is no devices controller in it, but a program on the group.
        let is_program = controller == "devices" && self.unified.is_some();
        is_program || self.unified_controllers.iter().any(|name| name == controller)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(fstype: &str, mount_point: &str, root: &str, super_options: &str) -> MountInfo {
        MountInfo {
            device: "0:30".into(),
            root: root.into(),
            mount_point: mount_point.into(),
            options: "rw".into(),
            optional: Vec::new(),
            fstype: fstype.into(),
            source: "cgroup".into(),
            super_options: super_options.into(),
        }
    }

    #[test]
    fn hybrid_has_both_kinds_and_counts_as_v1() {
        let found = Hierarchies::from_mounts(&[
            mount("cgroup", "/sys/fs/cgroup/cpu,cpuacct", "/", "rw,cpu,cpuacct"),
            mount("cgroup", "/sys/fs/cgroup/systemd", "/", "rw,xattr,name=systemd"),
            mount("cgroup2", "/sys/fs/cgroup/unified", "/", "rw"),
        ]);
        assert_eq!(found.version(), 1);
        assert_eq!(found.v1.keys().collect::<Vec<_>>(), ["cpu", "cpuacct"]);
        let cpu = found.v1["cpu"].directory(Path::new("/wb/a"));
        assert_eq!(cpu, Path::new("/sys/fs/cgroup/cpu,cpuacct/wb/a"));
    }

    #[test]
    fn each_controller_has_the_version_of_its_hierarchy() {
        let mut found = Hierarchies::from_mounts(&[
            mount("cgroup", "/sys/fs/cgroup/memory", "/", "rw,memory"),
            mount("cgroup2", "/sys/fs/cgroup/unified", "/", "rw"),
        ]);
        found.unified_controllers = vec!["hugetlb".into()];
        assert_eq!(["memory", "hugetlb", "devices", "pids"].map(|name| found.version_of(name)), [1, 2, 2, 1]);
        found.v1.clear();
        assert_eq!(found.version_of("pids"), 2);
    }

    #[test]
    fn a_view_of_a_subtree_is_counted_from_its_root() {
        let found = Hierarchies::from_mounts(&[mount("cgroup2", "/sys/fs/cgroup", "/user/1", "rw")]);
        assert_eq!(found.version(), 2);
        let directory = found.unified.unwrap().directory(Path::new("/user/1/wb/a"));
        assert_eq!(directory, Path::new("/sys/fs/cgroup/wb/a"));
    }
}
