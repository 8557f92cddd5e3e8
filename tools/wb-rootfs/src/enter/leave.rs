//! The host's file system is let go of: for good by `pivot_root`, or covered by the container's root.

use super::Plan;
use nix::mount::{MntFlags, MsFlags};
use std::path::{Path, PathBuf};
use wb_doc::{Context, Error};
use wb_sys::mount_fd::Propagation;
use wb_sys::{Errno, mount, proc};

/// What has to be known of the host before the container's root lies over it.
#[derive(Debug)]
pub struct Host {
    /// Where its proc and sysfs are mounted, the uppermost first; only for a root that is moved.
    process_file_systems: Vec<PathBuf>,
}

impl Host {
    /// Looks at the host's mounts.
    pub fn look(plan: &Plan) -> Result<Self, Error> {
        let mounts = if plan.no_pivot { proc::mountinfo("self") } else { Ok(Vec::new()) };
        let mounts = mounts.context(|| "/proc/self/mountinfo")?.into_iter().rev();
        let chosen = mounts.filter(|mount| matches!(mount.fstype.as_str(), "proc" | "sysfs"));
        Ok(Self { process_file_systems: chosen.map(|mount| mount.mount_point.into()).collect() })
    }

    /// Makes the working directory, which is the container's root, the root of everything.
    pub fn leave(&self, plan: &Plan) -> Result<(), Error> {
        let left = if plan.no_pivot { self.cover() } else { pivot(plan) };
        left?;
        nix::unistd::chdir("/").context(|| "/")?;
        if let (kind @ (Propagation::Shared | Propagation::Unbindable), recursive) = plan.propagation {
            let recursive = if recursive { MsFlags::MS_REC } else { MsFlags::empty() };
            mount::mount(
                None,
                Path::new("/"),
                None,
                kind.flag() | recursive,
                None,
                "linux.rootfsPropagation",
            )
            .context(|| "linux.rootfsPropagation")?;
        }
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
        Ok(())
    }

    /// The container's root has been mounted over the host's, as `MS_MOVE` would: only the process has to go there.
    ///
    /// A proc or sysfs of the host that stayed visible in the mount namespace would let a user namespace inside mount
    /// one without the container's masks (user_namespaces(7)), so none stays.
    fn cover(&self) -> Result<(), Error> {
        for path in &self.process_file_systems {
            let name = || format!("--no-pivot: {} of the host", path.display());
            match mount::umount(path, MntFlags::MNT_DETACH, "what shows the host's processes goes") {
                Ok(()) => {}
                // One below another is gone with it.
                Err(_) if !is_proc_or_sysfs(path) => {}
                // In a user namespace the mounts of the one before are locked.
                Err(Errno::EINVAL | Errno::EPERM) => {
                    let (kind, data) = (Some("tmpfs"), Some("size=4k"));
                    mount::mount(kind, path, kind, MsFlags::MS_RDONLY, data, "or is covered")
                        .context(name)?;
                }
                Err(errno) => return Err(Error::errno(name(), errno)),
            }
        }
        mount::chroot(Path::new("."), "the host's file system stays, below the container's root")
            .context(|| "chroot")
    }
}

fn is_proc_or_sysfs(path: &Path) -> bool {
    use nix::sys::statfs::{PROC_SUPER_MAGIC, SYSFS_MAGIC, statfs};
    statfs(path).is_ok_and(|found| [PROC_SUPER_MAGIC, SYSFS_MAGIC].contains(&found.filesystem_type()))
}

fn pivot(plan: &Plan) -> Result<(), Error> {
    let here = Path::new(".");
    // pivot_root(2), "pivot_root(".", ".")": the old root ends up on top of the new one, and is taken off there.
    mount::pivot_root(here, here, "the container's root becomes the root of everything")
        .context(|| format!("pivot_root to {}", plan.root.display()))?;
    mount::umount(here, MntFlags::MNT_DETACH, "the host's file system is gone").context(|| "the old root")
}
