//! overlayfs: layers below, a writable directory above, seen as one.

use super::mapped;
use super::{directory, like, private_directory};
use crate::attribute;
use crate::idmap::Maps;
use nix::fcntl::OFlag;
use nix::mount::{MntFlags, MsFlags};
use nix::sys::stat::Mode;
use std::ffi::OsStr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use wb_doc::{Context, Error};
use wb_store::Place;
use wb_sys::mount_fd::{self, Attributes, Change, Propagation};
use wb_sys::{Errno, mount};

/// Options against layers that would lead the overlay astray: what an image may say in overlayfs's own attributes is
/// neither followed nor written (redirects, data in another file, an index over all layers).
const SAFE: &[(&str, &str)] = &[("redirect_dir", "nofollow"), ("metacopy", "off"), ("index", "off")];

/// Those to be given: `userxattr` implies `redirect_dir=nofollow`, and refuses to be told.
fn safe() -> &'static [(&'static str, &'static str)] {
    if attribute::is_users() { &SAFE[1..] } else { SAFE }
}

/// The most that fits into the data of mount(2): a page, less its closing NUL.
const MAX_DATA_BYTES: usize = 4095;

/// The most that fits into one value of fsconfig(2).
const MAX_VALUE_BYTES: usize = 255;

/// How much of an overlay is new, and goes again where a later step fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// It was mounted already.
    Nothing,
    /// The mount; what the container wrote was there.
    Mount,
    /// The mount, and the empty directory for what the container will write.
    Everything,
}

/// One overlay and its directories.
#[derive(Debug, Clone)]
pub struct Overlay {
    /// The layers, the lowest first.
    pub lower: Vec<PathBuf>,
    /// What the container writes.
    pub upper: PathBuf,
    /// overlayfs's own, on the same file system as `upper`.
    pub work: PathBuf,
    /// Where it is mounted.
    pub merged: PathBuf,
    /// Whether nothing of it has to survive a power cut: no sync is ever done.
    pub volatile: bool,
    /// The directory of `upper` and `work`.
    pub container: PathBuf,
}

impl Overlay {
    /// The overlay of a container.
    pub fn new(place: &Place, id: &str, lower: Vec<PathBuf>, volatile: bool) -> Self {
        let container = place.container(id);
        Self {
            lower,
            upper: container.join("upper"),
            work: container.join("work"),
            merged: place.container_run(id).join("merged"),
            volatile,
            container,
        }
    }

    /// Makes the directories and mounts it; gives its root directory, and how much of it is new. Mounted already is
    /// success.
    ///
    /// `volatile_boot` is the boot in which it was last mounted volatile. With `maps` its files are seen through them:
    /// on the disk, layers and what the container writes keep the image's own ids.
    pub fn mount(&self, volatile_boot: Option<&str>, maps: Option<&Maps>) -> Result<(OwnedFd, Made), Error> {
        let run = self.merged.parent().unwrap_or(Path::new("/"));
        private_directory(run)?;
        if !directory(&self.merged, 0o755)? {
            let name = || self.merged.display().to_string();
            if mount::is_mount_point(&self.merged).context(name)? {
                return Ok((wb_sys::tree::open_directory(&self.merged).context(name)?, Made::Nothing));
            }
        }
        let mut made = Made::Mount;
        let mounted = self.prepare(volatile_boot, &mut made).and_then(|()| {
            // Somebody may be copying files into it; what is new nobody knows yet.
            let _lock = if made == Made::Mount { Some(self.lock()?) } else { None };
            self.attach(maps)
        });
        mounted.map(|root| (root, made)).inspect_err(|_| self.undo(made))
    }

    /// Mounts it on `aside`, in a mount namespace where nobody looks for it; where it is mounted already, that. Nobody
    /// else mounts it as long as the lock lives.
    pub fn mount_aside(
        &self,
        aside: &Path,
        volatile_boot: Option<&str>,
        maps: Option<&Maps>,
    ) -> Result<(OwnedFd, Option<OwnedFd>), Error> {
        self.prepare(volatile_boot, &mut Made::Mount)?;
        let lock = self.lock()?;
        let name = || self.merged.display().to_string();
        if mount::is_mount_point(&self.merged).or_else(absent).context(name)? {
            let tree = mount_fd::clone_path(&self.merged, false, "as it is mounted").context(name)?;
            mount_fd::attach(&tree, open_path(aside)?, "where nobody else sees it").context(name)?;
            return Ok((tree, None));
        }
        let overlay = Self { merged: aside.to_owned(), ..self.clone() };
        overlay.attach(maps).map(|tree| (tree, Some(lock)))
    }

    /// Held by whoever mounts it.
    fn lock(&self) -> Result<OwnedFd, Error> {
        let name = || self.upper.display().to_string();
        let upper = wb_sys::tree::open_directory(&self.upper).context(name)?;
        wb_sys::tree::lock(&upper).context(name)?;
        Ok(upper)
    }

    /// Takes back what [`Overlay::mount`] has made. Called after a failure, which is what matters: what cannot be
    /// taken back here, umount takes.
    pub fn undo(&self, made: Made) {
        if made == Made::Nothing {
            return;
        }
        mount::umount(&self.merged, MntFlags::MNT_DETACH, "undone, since it is not complete").ok();
        std::fs::remove_dir(&self.merged).ok();
        if let Some(run) = self.merged.parent() {
            // Others keep their things there too.
            std::fs::remove_dir(run).ok();
        }
        if made == Made::Everything {
            for name in ["upper", "work", "empty"] {
                wb_sys::tree::open_directory(&self.container)
                    .and_then(|container| wb_sys::tree::remove(container, OsStr::new(name)))
                    .ok();
            }
            std::fs::remove_dir(&self.container).ok();
        }
    }

    fn prepare(&self, volatile_boot: Option<&str>, made: &mut Made) -> Result<(), Error> {
        private_directory(&self.container)?;
        if directory(&self.upper, 0o755)? {
            *made = Made::Everything;
            if let Some(top) = self.lower.last() {
                like(&self.upper, top)?;
            }
        }
        if directory(&self.work, 0o700)? { Ok(()) } else { self.forget_volatile(volatile_boot) }
    }

    /// overlayfs refuses an upper directory that was once mounted volatile, since after a crash it may hold
    /// anything. As long as the machine has not been down, it holds what was written.
    fn forget_volatile(&self, volatile_boot: Option<&str>) -> Result<(), Error> {
        let marker = self.work.join("work/incompat/volatile");
        if !marker.exists() {
            return Ok(());
        }
        let boot = wb_sys::proc::boot_id().context(|| "boot id")?;
        if volatile_boot != Some(&boot) {
            return Err(Error::new(format!(
                "{}: the machine went down while it was mounted volatile; its content cannot be trusted",
                self.upper.display()
            )));
        }
        let work = wb_sys::tree::open_directory(&self.work.join("work"))
            .context(|| self.work.display().to_string())?;
        wb_sys::tree::remove(&work, OsStr::new("incompat")).context(|| marker.display().to_string())
    }

    /// The layers, the uppermost first, as overlayfs counts them. An image without layers has an empty one.
    fn stack(&self) -> Result<Vec<PathBuf>, Error> {
        if self.lower.is_empty() {
            let empty = self.container.join("empty");
            directory(&empty, 0o755)?;
            return Ok(vec![empty]);
        }
        let mut stack = Vec::with_capacity(self.lower.len());
        for layer in self.lower.iter().rev() {
            stack.push(layer.clone());
            // overlayfs does not ask whether a layer's root is opaque, so what it hides is not mounted at all.
            let opaque = wb_sys::tree::xattr_of(layer, attribute::opaque());
            if opaque.context(|| format!("layer {}", layer.display()))?.is_some() {
                break;
            }
        }
        Ok(stack)
    }

    fn attach(&self, maps: Option<&Maps>) -> Result<OwnedFd, Error> {
        let stack = self.stack()?;
        let name = || format!("overlay on {}", self.merged.display());
        let made = match maps {
            None => self.make(&stack, &self.container, &self.merged),
            Some(maps) => mapped::make(self, &stack, maps),
        };
        let change = Change { propagation: Some(Propagation::Private), ..Change::default() };
        match made? {
            Tree::Detached(tree) => {
                let place = open_path(&self.merged)?;
                mount_fd::attach(&tree, &place, "the container's root").context(name)?;
                mount_fd::set_attributes(&tree, change, "what is mounted below stays here").context(name)?;
                Ok(tree)
            }
            Tree::Mounted => {
                let why = "what is mounted below stays here";
                mount::mount(None, &self.merged, None, MsFlags::MS_PRIVATE, None, why).context(name)?;
                wb_sys::tree::open_directory(&self.merged).context(name)
            }
        }
    }

    /// Makes the file system of the layers `stack` (the uppermost first) and of `upper` and `work` in `container`.
    pub fn make(&self, stack: &[PathBuf], container: &Path, target: &Path) -> Result<Tree, Error> {
        let (upper, work) = (container.join("upper"), container.join("work"));
        match self.make_detached(stack, &upper, &work) {
            // Before Linux 6.7 there is no lowerdir+, before 5.2 no fsopen.
            Err(error) if matches!(error.raw_errno(), Some(Errno::EINVAL | Errno::ENOSYS)) => {
                let mounted = self.make_mounted(stack, &upper, &work, target);
                mounted.map(|()| Tree::Mounted).map_err(|second| match second.raw_errno() {
                    // The log of the new interface says more than the old one's EINVAL.
                    Some(Errno::EINVAL) => explain(error),
                    _ => second,
                })
            }
            other => other.map(Tree::Detached).map_err(explain),
        }
    }

    /// The interface of Linux 6.7 and later: one option a layer, no limit on their number but overlayfs's own (500).
    fn make_detached(&self, stack: &[PathBuf], upper: &Path, work: &Path) -> Result<OwnedFd, Error> {
        let name = || format!("overlay on {}", self.merged.display());
        let fs = mount_fd::fsopen("overlay", "layers as one file system").context(name)?;
        let said = |errno: Errno| match mount_fd::fs_message(&fs) {
            Some(message) => Error::errno(format!("{}: {message}", name()), errno),
            None => Error::errno(name(), errno),
        };
        let set = |key: &str, value: &Path, why: &str| {
            // Longer paths go by a descriptor's name, which must stay open until the file system is created.
            if value.as_os_str().len() <= MAX_VALUE_BYTES {
                return mount_fd::fsconfig_string(&fs, key, value, why).map(|()| None).map_err(said);
            }
            let held = open_path(value)?;
            let short = format!("/proc/self/fd/{}", held.as_raw_fd());
            mount_fd::fsconfig_string(&fs, key, short, why).map(|()| Some(held)).map_err(said)
        };
        mount_fd::fsconfig_string(&fs, "source", "overlay", "what df and mount show").map_err(said)?;
        let mut held = Vec::new();
        for layer in stack {
            held.push(set("lowerdir+", layer, "a layer, below those before it")?);
        }
        held.push(set("upperdir", upper, "what the container writes")?);
        held.push(set("workdir", work, "overlayfs's own, for atomic changes")?);
        for &(key, value) in safe() {
            mount_fd::fsconfig_string(&fs, key, value, "a layer cannot lead astray").map_err(said)?;
        }
        if attribute::is_users() {
            mount_fd::fsconfig_flag(&fs, "userxattr", "its attributes are a user's").map_err(said)?;
        }
        if self.volatile {
            mount_fd::fsconfig_flag(&fs, "volatile", "nothing has to survive: never sync").map_err(said)?;
        }
        mount_fd::fsconfig_create(&fs, "it comes to be").map_err(said)?;
        mount_fd::fsmount(&fs, Attributes::empty(), "a mount of it, not yet attached").context(name)
    }

    /// mount(2) for older kernels. Its data is one page, so every directory goes by the shortest name there is, the
    /// number of a descriptor relative to `/proc/self/fd`; a comma or a colon in a path does no harm either.
    fn make_mounted(&self, stack: &[PathBuf], upper: &Path, work: &Path, target: &Path) -> Result<(), Error> {
        let name = || format!("overlay on {}", self.merged.display());
        let layers = stack.iter().map(|layer| open_path(layer)).collect::<Result<Vec<_>, _>>()?;
        let (upper, work) = (open_path(upper)?, open_path(work)?);
        let numbers: Vec<String> = layers.iter().map(|fd| fd.as_raw_fd().to_string()).collect();
        let mut options = vec![
            format!("lowerdir={}", numbers.join(":")),
            format!("upperdir={}", upper.as_raw_fd()),
            format!("workdir={}", work.as_raw_fd()),
        ];
        options.extend(safe().iter().map(|(key, value)| format!("{key}={value}")));
        options.extend(attribute::is_users().then(|| "userxattr".to_owned()));
        options.extend(self.volatile.then(|| "volatile".to_owned()));
        let data = options.join(",");
        if data.len() > MAX_DATA_BYTES {
            return Err(Error::new(format!(
                "{}: {} layers are too many for this kernel",
                name(),
                layers.len()
            )));
        }
        let before = open_path(Path::new("."))?;
        nix::unistd::chdir("/proc/self/fd").context(|| "/proc/self/fd")?;
        let overlay = Some("overlay");
        let why = "layers as one file system";
        let mounted = mount::mount(overlay, target, overlay, MsFlags::empty(), Some(&data), why);
        nix::unistd::fchdir(&before).context(|| "the working directory")?;
        mounted.context(name)
    }
}

/// An overlay that has been made.
#[derive(Debug)]
pub enum Tree {
    /// Still to be attached.
    Detached(OwnedFd),
    /// Where it was told to.
    Mounted,
}

pub fn open_path(path: &Path) -> Result<OwnedFd, Error> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    nix::fcntl::open(path, flags, Mode::empty()).context(|| path.display().to_string())
}

fn absent(errno: Errno) -> wb_sys::Result<bool> {
    if errno == Errno::ENOENT { Ok(false) } else { Err(errno) }
}

/// What the errno hides.
fn explain(error: Error) -> Error {
    match error.raw_errno() {
        Some(Errno::EPERM) => error.hint("mounting takes root"),
        Some(Errno::ENODEV) => error.hint("this kernel has no overlayfs: modprobe overlay"),
        Some(Errno::ENOENT) => error.hint("a layer is not in the store: wb pull the image again"),
        Some(Errno::EINVAL) => error.hint(
            "WB_ROOT may lie on a file system that cannot hold an upper directory (another overlay, NFS)",
        ),
        _ => error,
    }
}
