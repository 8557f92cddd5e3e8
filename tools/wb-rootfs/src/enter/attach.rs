//! The members of `mounts`, one by one: made detached, finished, then attached to a descriptor inside the root.

use super::options::Options;
use super::plan::{Act, Plan, Planned};
use super::root::{Kind, Root};
use super::trees::Trees;
use super::{cgroup, ids};
use crate::idmap::Maps;
use nix::fcntl::OFlag;
use nix::sched::CloneFlags;
use nix::sys::stat::{Mode, SFlag};
use nix::sys::statfs::PROC_SUPER_MAGIC;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use wb_doc::{Context, Error};
use wb_sys::mount_fd::{self, Attributes, Change, Propagation};
use wb_sys::{Errno, namespace, node};

/// Places in `/proc` that lxcfs and others may cover; anything else there would redirect writes that matter
/// (CVE-2019-19921, CVE-2025-52881).
const COVERABLE: &[&str] = &[
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/net/dev",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

/// What has been mounted and is needed later.
#[derive(Debug, Default)]
pub struct Attached {
    /// Mounts that become read-only once everything below them is made.
    pub readonly_later: Vec<OwnedFd>,
}

/// The source of a bind mount, detached; mapped where its ids are to be.
pub fn clone_source(source: &Path, mount: &Planned, maps: Option<&Maps>) -> Result<OwnedFd, Error> {
    let name = || format!("bind {} to {}", source.display(), mount.destination.display());
    let recursive = mount.options.bind.unwrap_or(false);
    let tree = match foreign(source) {
        Some((pid, path)) => clone_of_other(&pid, &path, recursive),
        None => mount_fd::clone_path(source, recursive, "the source of a bind mount"),
    };
    let tree = tree.context(name)?;
    if !mount.is_mapped() {
        return Ok(tree);
    }
    let own = mount.mappings.as_ref().map(|(uids, gids)| Maps::new(uids, gids)).transpose().context(name)?;
    let maps = own.as_ref().or(maps).ok_or_else(|| {
        Error::usage(format!("{}: no ids to map: neither the mount nor the container has maps", name()))
    })?;
    maps.apply(&tree, mount.options.idmap == Some(true)).context(name)?;
    Ok(tree)
}

/// The process and the path in its mount namespace that `/proc/PID/root/PATH` means: `--ipc container:NAME` shares the
/// other one's `/dev/shm` so.
pub fn foreign(source: &Path) -> Option<(PathBuf, PathBuf)> {
    let mut parts = source.strip_prefix("/proc").ok()?.components();
    let pid = parts.next()?.as_os_str();
    let is_pid = pid.as_encoded_bytes().iter().all(u8::is_ascii_digit);
    let is_root = parts.next()?.as_os_str() == "root";
    (is_pid && is_root).then(|| (Path::new("/proc").join(pid), Path::new("/").join(parts.as_path())))
}

/// A mount of another process's namespace: the kernel clones it only for those inside (`EINVAL` from anywhere else),
/// so this process goes there and comes back.
fn clone_of_other(process: &Path, path: &Path, recursive: bool) -> wb_sys::Result<OwnedFd> {
    let own = namespace::open(Path::new("/proc/self/ns/mnt"))?;
    let other = namespace::open(&process.join("ns/mnt"))?;
    let directory =
        nix::fcntl::open(".", OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    namespace::setns(&other, CloneFlags::CLONE_NEWNS, "only from inside is its mount to be had")?;
    let tree = mount_fd::clone_path(path, recursive, "the source of a bind mount");
    namespace::setns(&own, CloneFlags::CLONE_NEWNS, "and back")?;
    nix::unistd::fchdir(&directory)?;
    tree
}

/// Mounts everything the plan names.
pub fn all(plan: &Plan, trees: &mut Trees, root: &Root) -> Result<Attached, Error> {
    let mut attached = Attached::default();
    for (index, mount) in plan.mounts.iter().enumerate() {
        let name = || format!("mount {}", mount.destination.display());
        match &mount.act {
            Act::Bind(source) => {
                let tree = match trees.take(index) {
                    Some(tree) => tree,
                    None => clone_source(source, mount, plan.maps.as_ref())?,
                };
                bind(mount, source, &tree, root)?;
            }
            Act::New(kind, source) => {
                new(mount, kind, source, trees.take(index), root, &mut attached).context(name)?;
            }
            Act::Cgroup => cgroup::mount(mount, plan.own_cgroup_namespace, root).context(name)?,
            Act::Remount => remount(mount, root).context(name)?,
        }
    }
    Ok(attached)
}

/// Mounts `tree` at its destination.
pub fn bind(mount: &Planned, source: &Path, tree: &OwnedFd, root: &Root) -> Result<(), Error> {
    let name = || format!("bind {} to {}", source.display(), mount.destination.display());
    let status = node::status(tree).context(name)?;
    let kind = if node::kind(&status) == SFlag::S_IFDIR { Kind::Directory } else { Kind::File };
    finish(tree, &mount.options).context(name)?;
    let target = root.make(&mount.destination, kind).context(name)?;
    check_target(&target, Some(tree.as_fd()), mount).context(name)?;
    mount_fd::attach(tree, &target, "a bind mount").context(name)
}

/// Gives a detached tree the attributes and the propagation that were asked for.
pub fn finish(tree: impl AsFd, options: &Options) -> Result<(), Error> {
    let (own, all) = (options.attributes, options.recursive);
    if !all.is_empty() {
        let change = Change { set: all.set, clear: all.clear, recursive: true, ..Change::default() };
        mount_fd::set_attributes(&tree, change, "options of a tree of mounts").context(|| "options")?;
    }
    let propagation = options.propagation.filter(|&(kind, _)| kind != Propagation::Private);
    let change = Change {
        set: own.set,
        clear: own.clear,
        propagation: propagation.filter(|&(_, recursive)| !recursive).map(|(kind, _)| kind),
        ..Change::default()
    };
    if !own.is_empty() || change.propagation.is_some() {
        mount_fd::set_attributes(&tree, change, "options of a mount").context(|| "options")?;
    }
    if let Some((kind, true)) = propagation {
        let change = Change { propagation: Some(kind), recursive: true, ..Change::default() };
        mount_fd::set_attributes(&tree, change, "how mount events travel").context(|| "propagation")?;
    }
    Ok(())
}

fn new(
    mount: &Planned,
    kind: &str,
    source: &str,
    prepared: Option<OwnedFd>,
    root: &Root,
    attached: &mut Attached,
) -> Result<(), Error> {
    // Whoever serves /proc, /sys and /dev is believed by every program: no link in the image may move them.
    let vital = matches!(kind, "proc" | "sysfs") || mount.destination == Path::new("/dev");
    let there = if vital { root.open_plain(&mount.destination)? } else { root.open(&mount.destination)? };
    let (target, was_there) = match there {
        Some(there) => (there, true),
        None => (root.make(&mount.destination, Kind::Directory)?, false),
    };
    check_target(&target, None, mount)?;
    let mut options = mount.options.clone();
    if kind == "tmpfs" && was_there && options.value("mode").is_none() {
        // A tmpfs takes the place of a directory, its mode too (/tmp stays 1777).
        let mode = node::status(&target).context(|| "fstat")?.st_mode & 0o7777;
        options.data.push(format!("mode={mode:o}"));
    }
    let readonly_later = kind == "tmpfs" && options.readonly();
    if readonly_later {
        options.attributes.set -= Attributes::MOUNT_ATTR_RDONLY;
    }
    let tree = match prepared {
        Some(tree) => tree,
        None => made_or_shown(mount, kind, source, &options)?,
    };
    mount_fd::attach(&tree, &target, "onto its place").context(|| "move_mount")?;
    if options.copy_up {
        super::copy_up::copy(&target, &tree)?;
    }
    let propagation = options.propagation.filter(|&(kind, _)| kind != Propagation::Private);
    if let Some((kind, recursive)) = propagation {
        let change = Change { propagation: Some(kind), recursive, ..Change::default() };
        mount_fd::set_attributes(&tree, change, "how mount events travel").context(|| "propagation")?;
    }
    if readonly_later {
        attached.readonly_later.push(tree);
    }
    Ok(())
}

/// A new file system; where the kernel refuses one, the host's.
fn made_or_shown(mount: &Planned, kind: &str, source: &str, options: &Options) -> Result<OwnedFd, Error> {
    match make_filesystem(kind, source, options) {
        // In a user namespace, sysfs and mqueue of namespaces that are somebody else's.
        Err(error) if matches!(kind, "sysfs" | "mqueue") && error.raw_errno() == Some(Errno::EPERM) => {
            let why = "the host's, where a new one is refused";
            let tree = mount_fd::clone_path(&mount.destination, true, why).map_err(|_| error)?;
            let set = options.attributes.set | options.recursive.set;
            let change = Change { set, recursive: true, ..Change::default() };
            mount_fd::set_attributes(&tree, change, "with the options asked for").context(|| "options")?;
            Ok(tree)
        }
        other => other,
    }
}

/// A detached mount of a new file system.
pub fn make_filesystem(kind: &str, source: &str, options: &Options) -> Result<OwnedFd, Error> {
    let fs = match mount_fd::fsopen(kind, "a file system to be") {
        Err(Errno::ENODEV) => return Err(Error::errno(format!("file system type {kind}"), Errno::ENODEV)),
        other => other.context(|| format!("fsopen {kind}"))?,
    };
    let explain = |step: &str, errno: Errno| match mount_fd::fs_message(&fs) {
        Some(message) => Error::errno(format!("{step}: {message}"), errno),
        None => Error::errno(step, errno),
    };
    mount_fd::fsconfig_string(&fs, "source", source, "its source")
        .map_err(|errno| explain("source", errno))?;
    for word in options.data.iter().filter(|word| kind != "devpts" || ids::can_give(word)) {
        match word.split_once('=') {
            Some((key, value)) => mount_fd::fsconfig_string(&fs, key, value, "its option"),
            None => mount_fd::fsconfig_flag(&fs, word, "its option"),
        }
        .map_err(|errno| explain(&format!("option {word}"), errno))?;
    }
    // Read-only as a mount is enough for file systems without a disk; a disk must not even be replayed.
    let disk = !matches!(kind, "tmpfs" | "proc" | "sysfs" | "devpts" | "mqueue" | "cgroup" | "cgroup2");
    let readonly = (disk && options.readonly()).then_some("ro");
    for &flag in options.superblock.iter().chain(&readonly) {
        mount_fd::fsconfig_flag(&fs, flag, "a flag of the file system")
            .map_err(|errno| explain(&format!("option {flag}"), errno))?;
    }
    mount_fd::fsconfig_create(&fs, "it comes to be")
        .map_err(|errno| explain(&format!("{kind} file system"), errno))?;
    mount_fd::fsmount(&fs, options.attributes.set | options.recursive.set, "a mount of it, not yet attached")
        .context(|| "fsmount")
}

fn remount(mount: &Planned, root: &Root) -> Result<(), Error> {
    let target = root.open(&mount.destination)?;
    let target = target.ok_or_else(|| Error::errno("remount", Errno::ENOENT))?;
    finish(&target, &mount.options)
}

/// Nothing is mounted below procfs but what is harmless there, and nothing but a procfs in its place.
fn check_target(target: impl AsFd, tree: Option<BorrowedFd<'_>>, mount: &Planned) -> Result<(), Error> {
    if COVERABLE.iter().any(|path| mount.destination == Path::new(path)) {
        return Ok(());
    }
    if mount.destination == Path::new("/proc") {
        let is_proc = match (&mount.act, tree) {
            (Act::New(kind, _), _) => kind == "proc",
            (_, Some(tree)) => node::filesystem(tree).context(|| "fstatfs")? == PROC_SUPER_MAGIC,
            _ => false,
        };
        return if is_proc { Ok(()) } else { Err(Error::new("only a procfs can be mounted on /proc")) };
    }
    if node::filesystem(target).context(|| "fstatfs")? == PROC_SUPER_MAGIC {
        return Err(Error::new("the destination lies in /proc, which must stay as the kernel made it"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_a_path_of_another_mount_namespace() {
        let found = foreign(Path::new("/proc/17/root/dev/shm"));
        assert_eq!(found, Some(("/proc/17".into(), "/dev/shm".into())));
        for path in ["/proc/self/root/dev", "/proc/17/cwd", "/proc/17", "/srv/proc/17/root/x", "/proc"] {
            assert_eq!(foreign(Path::new(path)), None, "{path}");
        }
    }
}
