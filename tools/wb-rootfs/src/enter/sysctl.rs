//! `linux.sysctl`: kernel parameters of the container's own namespaces.
//!
//! `wb-unshare` has refused those that belong to no namespace of the container's; here they are written through a
//! procfs that is certainly one.

use super::ids;
use super::plan::Plan;
use super::root::Root;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag};
use nix::sys::statfs::PROC_SUPER_MAGIC;
use std::path::{Path, PathBuf};
use wb_doc::Error;
use wb_sys::{Errno, node, procfs};

/// The path below `/proc/sys`. With a slash as the first separator, dots stand for themselves, as sysctl(8) has it.
fn path(name: &str) -> PathBuf {
    let slashes = name.find(['/', '.']).is_some_and(|at| name.as_bytes()[at] == b'/');
    Path::new("sys").join(if slashes { name.to_owned() } else { name.replace('.', "/") })
}

fn is_network(path: &Path) -> bool {
    path.starts_with("sys/net")
}

/// Writes them through the procfs in `root`; without those of the network where somebody else has written them.
pub fn write(plan: &Plan, but_network: bool, root: &Root) -> Result<(), Error> {
    if !but_network && plan.sysctl.keys().any(|name| is_network(&path(name))) {
        refuse_anothers(plan)?;
    }
    for (name, value) in &plan.sysctl {
        let path = path(name);
        if !(but_network && is_network(&path)) {
            one(root, &path, &ids::fit(&path, value)).map_err(|errno| explain(name, errno))?;
        }
    }
    Ok(())
}

/// Writes those of the network namespace that this process has joined, by the host's procfs: the namespace is the
/// host's, and root of the container's user namespace may change nothing of it.
pub fn write_network(plan: &Plan) -> Result<(), Error> {
    for (name, value) in &plan.sysctl {
        let path = path(name);
        if is_network(&path) {
            procfs::write(&path, &ids::fit(&path, value), "linux.sysctl")
                .map_err(|errno| explain(name, errno))?;
        }
    }
    Ok(())
}

/// Refuses to change a network that is not what the document says: by hand, nobody else has looked.
fn refuse_anothers(plan: &Plan) -> Result<(), Error> {
    let own = "/proc/self/ns/net";
    let same = |path: &Path| match (nix::sys::stat::stat(path), nix::sys::stat::stat(own)) {
        (Ok(one), Ok(other)) => Some((one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)),
        // Who may not look at it may not change it, either.
        _ => None,
    };
    let fits = match &plan.network {
        Some(path) => same(path) != Some(false),
        // The host's procfs is still in sight: process 1's network is the machine's, or an outer container's.
        None => same(Path::new("/proc/1/ns/net")) != Some(true),
    };
    if plan.own_network && fits {
        return Ok(());
    }
    Err(Error::new("linux.sysctl: the network namespace is not the container's own"))
}

fn one(root: &Root, path: &Path, value: &str) -> Result<(), Errno> {
    let resolve = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_SYMLINKS;
    let how = OpenHow::new().flags(OFlag::O_WRONLY | OFlag::O_CLOEXEC).resolve(resolve);
    let file = nix::fcntl::openat2(root.fd(), &Path::new("/proc").join(path), how)?;
    if node::filesystem(&file)? != PROC_SUPER_MAGIC {
        return Err(Errno::EXDEV);
    }
    wb_sys::tree::write_all(&file, value.as_bytes())
}

fn explain(name: &str, errno: Errno) -> Error {
    let error = Error::errno(format!("linux.sysctl: {name}"), errno);
    match errno {
        Errno::ENOENT => error.hint("this kernel has no such parameter in a namespace"),
        Errno::EXDEV => error.hint("the container needs a procfs on /proc"),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_or_slashes_separate() {
        assert_eq!(path("net.ipv4.ip_forward"), Path::new("sys/net/ipv4/ip_forward"));
        assert_eq!(path("net/ipv4/conf/eth0.1/forwarding"), Path::new("sys/net/ipv4/conf/eth0.1/forwarding"));
        assert!(is_network(&path("net.core.somaxconn")) && !is_network(&path("kernel.shmmax")));
    }
}
