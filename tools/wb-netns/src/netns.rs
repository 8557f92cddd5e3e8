//! Network namespaces kept alive by a bind mount, as ip-netns(8) keeps them.
//!
//! A network namespace lives as long as a process is in it or something refers to it; a bind mount of
//! `/proc/self/ns/net` at `/run/netns/NAME` does. When the mount is gone and the last process has ended, the kernel
//! takes the namespace down in its own time, and both ends of its cables with it.

use crate::link;
use ipnet::IpNet;
use nix::mount::{MntFlags, MsFlags};
use nix::sched::CloneFlags;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use wb_doc::{Context, Error};
use wb_store::kept::netns_directory;
use wb_sys::netlink::{Netlink, Protocol};
use wb_sys::{Errno, mount, namespace};

/// The file at which the namespace `name` is bound.
pub fn path(name: &str) -> PathBuf {
    netns_directory().join(name)
}

/// The network namespace this program came from.
pub struct Home(File);

impl Home {
    /// Remembers the namespace the program is in.
    pub fn remember() -> Result<Self, Error> {
        File::open("/proc/self/ns/net").context(|| "/proc/self/ns/net").map(Self)
    }

    /// Goes back.
    pub fn back(&self) -> Result<(), Error> {
        namespace::setns(self.0.as_fd(), CloneFlags::CLONE_NEWNET, "back to where we came from")
            .context(|| "the host's network namespace")
    }
}

/// Makes a network namespace, binds it at `/run/netns/NAME`, and stays in it; the open namespace comes back.
///
/// Fails with `EEXIST` where one of that name is bound. An unbound file of that name is what a killed predecessor
/// left, and is taken over.
pub fn create(name: &str) -> Result<File, Error> {
    let path = path(name);
    let what = || format!("network namespace {name}");
    match make_file(&path) {
        Err(Errno::ENOENT) => {
            make_directory()?;
            make_file(&path).context(what)?;
        }
        Err(Errno::EEXIST) if is_bound(&path) => {
            let error = Error::errno(what(), Errno::EEXIST);
            return Err(error.hint(format!("wb-netns del --id {name}")));
        }
        Err(Errno::EEXIST) => {}
        other => other.context(what)?,
    }
    let made = (|| {
        namespace::unshare(
            CloneFlags::CLONE_NEWNET,
            "a network stack of its own: no links but lo, which is down",
        )?;
        let source = Some("/proc/self/ns/net");
        mount::mount(source, &path, None, MsFlags::MS_BIND, None, "keeps it alive without a process")
    })();
    made.context(what).inspect_err(|_| {
        // What made it fail matters more.
        fs::remove_file(&path).ok();
    })?;
    File::open(&path).context(|| path.display().to_string())
}

/// Lets go of the namespace; one that is gone is fine. The kernel frees it once nobody is in it.
pub fn remove(name: &str) -> Result<(), Error> {
    let path = path(name);
    match mount::umount(&path, MntFlags::MNT_DETACH, "the namespace dies with its last reference") {
        // EINVAL: a file that nothing is bound to.
        Ok(()) | Err(Errno::ENOENT | Errno::EINVAL) => {}
        Err(errno) => return Err(errno).context(|| path.display().to_string()),
    }
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).context(|| path.display().to_string())
        }
        _ => Ok(()),
    }
}

/// Opens the namespace `name`.
pub fn open(name: &str) -> Result<File, Error> {
    File::open(path(name)).context(|| format!("network namespace {name}"))
}

/// Goes into an open namespace; [`Home::back`] leads out again.
pub fn enter(namespace: &File, name: &str) -> Result<(), Error> {
    namespace::setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET, "inside, its links are ours to see")
        .context(|| format!("network namespace {name}"))
}

/// Fails unless the namespace this program is in has the interface, up, with these addresses.
pub fn check_interface(name: &str, addresses: &[IpNet]) -> Result<(), Error> {
    let what = || format!("interface {name}");
    let netlink = Netlink::open(Protocol::Route).context(|| "netlink")?;
    let found = link::find(&netlink, name).context(what)?;
    let found = found.ok_or_else(|| Error::errno(what(), Errno::ENODEV))?;
    if !found.up {
        return Err(Error::errno(what(), Errno::ENETDOWN));
    }
    let has = link::addresses(&netlink).context(what)?;
    match addresses.iter().find(|address| !has.contains(&(found.index, **address))) {
        Some(address) => Err(Error::new(format!("{}: no address {address}", what()))),
        None => Ok(()),
    }
}

/// The names of all namespaces bound there.
pub fn list() -> Result<Vec<String>, Error> {
    let directory = netns_directory();
    let shown = || directory.display().to_string();
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).context(shown),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.context(shown)?;
        names.extend(entry.file_name().into_string().ok().filter(|_| is_bound(&entry.path())));
    }
    names.sort();
    Ok(names)
}

/// Whether a network namespace is bound there (nsfs has its own magic number).
pub fn is_bound(path: &Path) -> bool {
    nix::sys::statfs::statfs(path).is_ok_and(|fs| fs.filesystem_type() == nix::sys::statfs::NSFS_MAGIC)
}

fn make_file(path: &Path) -> Result<(), Errno> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o444).open(path);
    made.map(drop).map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
}

/// `/run/netns` as ip-netns(8) makes it: a shared mount, so that a namespace deleted in one mount namespace does not
/// live on in another.
fn make_directory() -> Result<(), Error> {
    let directory = netns_directory();
    let shown = || directory.display().to_string();
    match DirBuilder::new().mode(0o755).create(&directory) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error).context(shown),
        _ => {}
    }
    let share = || {
        let flags = MsFlags::MS_SHARED | MsFlags::MS_REC;
        mount::mount(Some(""), &directory, Some("none"), flags, None, "a deletion is one everywhere")
    };
    match share() {
        Err(Errno::EINVAL) => {
            let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
            let why = "a mount of its own, to be shared";
            mount::mount(directory.to_str(), &directory, Some("none"), flags, None, why)
                .and_then(|()| share())
        }
        other => other,
    }
    .context(shown)
}
