//! A container's files as one directory: of a running one as its first process sees them, of any other one its layers
//! and volumes, mounted where nobody else sees them.

use crate::enter::{self, Plan as EnterPlan};
use crate::idmap::Maps;
use crate::mount::{self, Overlay};
use nix::fcntl::OFlag;
use nix::mount::MsFlags;
use nix::sched::CloneFlags;
use nix::sys::stat::Mode;
use serde::Deserialize;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use wb_doc::{Context, Document, Error};
use wb_store::Place;
use wb_sys::mount_fd::{self, Attributes, Change};
use wb_sys::{Errno, namespace, proc, process, tree};

/// What is seen of a container.
pub struct View {
    /// Its root directory.
    pub root: OwnedFd,
    maps: Option<Maps>,
    /// Nobody starts the container while this is held: its layers would be mounted twice.
    _lock: Option<OwnedFd>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct State {
    status: String,
    #[serde(default)]
    pid: i32,
    #[serde(default)]
    start_time: u64,
    #[serde(default)]
    boot_id: String,
}

impl View {
    /// The files of the document's container, its volumes among them.
    pub fn of(document: &mut Document) -> Result<Self, Error> {
        let maps = Maps::of(document)?;
        if let Some(root) = running(document)? {
            return Ok(Self { root, maps, _lock: None });
        }
        let place = Place::from_env()?;
        let (root, lock) = Layers::open(&place, document, maps.as_ref())?;
        as_root_of(maps.as_ref(), || add_volumes(&place, document, &root, maps.as_ref()))??;
        if document.read("/root/readonly")?.unwrap_or(false) {
            let change = Change { set: Attributes::MOUNT_ATTR_RDONLY, ..Change::default() };
            mount_fd::set_attributes(&root, change, "root.readonly").context(|| "root.readonly")?;
        }
        Ok(Self { root, maps, _lock: lock })
    }

    /// What the container writes and what it is made of, without its volumes.
    pub fn without_volumes(document: &mut Document) -> Result<Self, Error> {
        let maps = Maps::of(document)?;
        let (root, lock) = Layers::open(&Place::from_env()?, document, maps.as_ref())?;
        Ok(Self { root, maps, _lock: lock })
    }

    /// The file systems on /proc, /sys and /dev of a container that runs. As docker has it, they are no part of what is
    /// copied, unless they are asked for by their own names.
    pub fn kernels_own(&self) -> Result<Vec<u64>, Error> {
        let own = tree::stat_fd(&self.root).context(|| "fstat")?.st_dev;
        let mut found = Vec::new();
        for name in ["proc", "sys", "dev"] {
            // No link of the container's makes anything else of them.
            if let Ok(handle) = tree::open_path(&self.root, name.as_ref()) {
                found.push(tree::stat_fd(&handle).context(|| name)?.st_dev);
            }
        }
        found.retain(|device| *device != own);
        Ok(found)
    }

    /// The owner inside the container of what has this one on the host.
    pub fn inside(&self, uid: u32, gid: u32) -> (u32, u32) {
        self.maps.as_ref().map_or((uid, gid), |maps| maps.inside(uid, gid))
    }

    /// The owner on the host of what has this one inside the container.
    pub fn outside(&self, uid: u32, gid: u32) -> (u32, u32) {
        self.maps.as_ref().map_or((uid, gid), |maps| maps.outside(uid, gid))
    }

    /// Runs `act` as somebody its file systems know: files of nobody's cannot be made.
    pub fn as_its_root<T>(&self, act: impl FnOnce() -> T) -> Result<T, Error> {
        as_root_of(self.maps.as_ref(), act)
    }
}

fn as_root_of<T>(maps: Option<&Maps>, act: impl FnOnce() -> T) -> Result<T, Error> {
    match maps {
        None => Ok(act()),
        Some(maps) => {
            let (uid, gid) = maps.root();
            wb_sys::idmap::with_file_ids(uid, gid, act).context(|| "ids of the container's root")
        }
    }
}

/// The root of a running container: the very process's that the document means.
fn running(document: &Document) -> Result<Option<OwnedFd>, Error> {
    let Some(state) = document.read::<State>("/wb/state")? else { return Ok(None) };
    if !matches!(state.status.as_str(), "running" | "paused") || state.pid <= 0 {
        return Ok(None);
    }
    let path = format!("/proc/{}/root", state.pid);
    let _same = match process::pidfd_open(state.pid) {
        Err(Errno::ESRCH | Errno::EINVAL) => return Ok(None),
        other => other.context(|| format!("process {}", state.pid))?,
    };
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root = nix::fcntl::open(path.as_str(), flags, Mode::empty());
    // Looked at after it was opened: it was this process's then.
    if !proc::is_alive(state.pid, state.start_time, &state.boot_id) {
        return Ok(None);
    }
    root.map(Some).context(|| path)
}

/// The layers of a container, mounted in a mount namespace of our own that goes with us.
struct Layers;

impl Layers {
    fn open(
        place: &Place,
        document: &mut Document,
        maps: Option<&Maps>,
    ) -> Result<(OwnedFd, Option<OwnedFd>), Error> {
        let id = document.id()?.to_owned();
        // A directory that is certainly there, and that nobody needs here any more.
        let here = place.container(&id);
        let planned = mount::Plan::of(place, document, false)?;
        namespace::unshare(CloneFlags::CLONE_NEWNS, "mounted where nobody else sees it")
            .context(|| "mount namespace")?;
        let all = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        wb_sys::mount::mount(None, Path::new("/"), None, all, None, "nothing leaks out")
            .context(|| "make / private")?;
        match planned {
            mount::Plan::Directory(path) => {
                let name = || format!("root {}", path.display());
                let tree = mount_fd::clone_path(&path, true, "the container's root").context(name)?;
                attach(&tree, &here).context(name)?;
                Ok((tree, None))
            }
            mount::Plan::Overlay(lower) => {
                let volatile_boot: Option<String> = document.read("/wb/rootfs/volatile")?;
                let overlay = Overlay::new(place, &id, lower, volatile_boot.is_some());
                overlay.mount_aside(&here, volatile_boot.as_deref(), maps)
            }
        }
    }
}

/// Puts a detached mount on a directory.
pub fn attach(tree: &OwnedFd, place: &Path) -> Result<(), Error> {
    let place = mount::open_path(place)?;
    mount_fd::attach(tree, place, "where nobody else sees it").context(|| "move_mount")
}

/// Mounts the volumes and bind mounts where the container has them; those that exist only while it runs are left out.
fn add_volumes(
    place: &Place,
    document: &mut Document,
    root: &OwnedFd,
    maps: Option<&Maps>,
) -> Result<(), Error> {
    mount::make_volumes(place, root, document, maps)?;
    let volumes: Vec<serde_json::Value> = document.read("/wb/volumes")?.unwrap_or_default();
    let destinations: Vec<PathBuf> =
        volumes.iter().filter_map(|volume| volume.get("destination")?.as_str().map(PathBuf::from)).collect();
    if destinations.is_empty() {
        return Ok(());
    }
    // Of a container that never ran it is not known yet.
    document.set_default("/root/path", "/")?;
    let mut plan = EnterPlan::of(document, Some(Path::new("/")))?;
    plan.mounts.retain(|mount| destinations.contains(&mount.destination));
    enter::bind_all(&plan, root)
}
