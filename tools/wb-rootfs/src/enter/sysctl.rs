//! `linux.sysctl`, written through a procfs that nobody else can have changed.

use super::attach::make_filesystem;
use super::options::Options;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use wb_doc::{Context, Error};
use wb_sys::Errno;

/// Writes every sysctl. `proc` is the container's own procfs where it has one.
///
/// Paths are resolved below the mount's root without crossing another mount or a link, so that nothing mounted or
/// linked over `/proc/sys` can redirect the write (CVE-2025-52881).
pub fn write_all(sysctls: &BTreeMap<String, String>, proc: Option<&OwnedFd>) -> Result<(), Error> {
    if sysctls.is_empty() {
        return Ok(());
    }
    let made;
    let proc = if let Some(proc) = proc {
        proc
    } else {
        made = make_filesystem("proc", "proc", &Options::default())?;
        &made
    };
    for (name, value) in sysctls {
        write(proc, name, value).context(|| format!("sysctl {name}"))?;
    }
    Ok(())
}

fn write(proc: &OwnedFd, name: &str, value: &str) -> Result<(), Errno> {
    let path = path_of(name);
    let resolve =
        ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_XDEV | ResolveFlag::RESOLVE_NO_SYMLINKS;
    let how = OpenHow::new().flags(OFlag::O_WRONLY | OFlag::O_CLOEXEC).resolve(resolve);
    wb_sys::trace::call(
        "a sysctl of the container's namespaces",
        || format!("write({path:?}, {value:?})"),
        || {
            let file = nix::fcntl::openat2(proc.as_fd(), path.as_str(), how)?;
            nix::unistd::write(&file, value.as_bytes()).map(drop)
        },
    )
}

/// `net.ipv4.ip_forward` and `net/ipv4/conf/eth0.1/forwarding` as sysctl(8) reads them.
fn path_of(name: &str) -> String {
    let slashes_first = name.find(['.', '/']).is_some_and(|at| name.as_bytes()[at] == b'/');
    let path = if slashes_first { name.to_owned() } else { name.replace('.', "/") };
    format!("sys/{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_of_sysctl() {
        assert_eq!(path_of("net.ipv4.ip_forward"), "sys/net/ipv4/ip_forward");
        assert_eq!(path_of("net/ipv4/conf/eth0.1/forwarding"), "sys/net/ipv4/conf/eth0.1/forwarding");
    }
}
