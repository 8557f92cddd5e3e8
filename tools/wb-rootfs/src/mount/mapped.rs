//! The overlay of a container with a user namespace: layers and upper directory seen through its maps.
//!
//! overlayfs itself knows no idmapped mounts, but builds on them (Linux 5.19). The mapped layers must be mounted
//! somewhere while it is made; that is in a mount namespace of our own, which we then leave again.

use super::overlay::{Overlay, Tree, open_path};
use crate::idmap::Maps;
use nix::mount::MsFlags;
use nix::sched::CloneFlags;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use wb_doc::{Context, Error};
use wb_sys::mount_fd::{self, Attributes};
use wb_sys::{mount, namespace, node};

/// Makes the overlay of mapped layers, still to be attached.
pub fn make(overlay: &Overlay, stack: &[PathBuf], maps: &Maps) -> Result<Tree, Error> {
    let mut trees = Vec::with_capacity(stack.len() + 1);
    for directory in stack.iter().chain([&overlay.container]) {
        let name = || directory.display().to_string();
        let tree =
            mount_fd::clone_path(directory, false, "a layer as the container will see it").context(name)?;
        maps.apply(&tree, false).context(name)?;
        trees.push(tree);
    }
    let home = namespace::open(Path::new("/proc/self/ns/mnt")).context(|| "/proc/self/ns/mnt")?;
    let before = open_path(Path::new("."))?;
    namespace::unshare(CloneFlags::CLONE_NEWNS, "mapped layers are mounted where nobody sees them")
        .context(|| "mount namespace")?;
    let made = assemble(overlay, &trees, maps);
    namespace::setns(&home, CloneFlags::CLONE_NEWNS, "back home; what is mounted there goes")
        .context(|| "mount namespace")?;
    nix::unistd::fchdir(&before).context(|| "the working directory")?;
    made.map(Tree::Detached)
}

/// Mounts the layers below a tmpfs on the mount point, and the overlay of them.
fn assemble(overlay: &Overlay, trees: &[OwnedFd], maps: &Maps) -> Result<OwnedFd, Error> {
    let name = || format!("mapped layers below {}", overlay.merged.display());
    mount::mount(
        None,
        Path::new("/"),
        None,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        None,
        "nothing leaks out",
    )
    .context(name)?;
    let fs = mount_fd::fsopen("tmpfs", "a place for the mapped layers").context(name)?;
    mount_fd::fsconfig_create(&fs, "it comes to be").context(name)?;
    let places = mount_fd::fsmount(&fs, Attributes::empty(), "not yet attached").context(name)?;
    mount_fd::attach(&places, open_path(&overlay.merged)?, "on the mount point").context(name)?;
    let place = |entry: &str| -> Result<PathBuf, Error> {
        node::mkdir(&places, Path::new(entry), 0o700, "a layer's place").context(name)?;
        Ok(overlay.merged.join(entry))
    };
    let mut paths = Vec::with_capacity(trees.len());
    for (number, tree) in trees.iter().enumerate() {
        let path = place(&number.to_string())?;
        mount_fd::attach(tree, open_path(&path)?, "a mapped layer").context(name)?;
        paths.push(path);
    }
    let target = place("overlay")?;
    let container = paths.pop().unwrap_or_default();
    let (uid, gid) = maps.root();
    let made = wb_sys::idmap::with_file_ids(uid, gid, || overlay.make(&paths, &container, &target));
    match made.context(name)?? {
        Tree::Detached(tree) => Ok(tree),
        Tree::Mounted => mount_fd::clone_path(&target, false, "the overlay, to be taken home").context(name),
    }
}
