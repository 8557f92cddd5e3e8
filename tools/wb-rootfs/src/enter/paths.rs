//! Masked paths show nothing, read-only paths refuse writes.

use super::attach::make_filesystem;
use super::options::Options;
use super::root::Root;
use nix::sys::stat::SFlag;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use wb_doc::{Context, Error};
use wb_sys::mount_fd::{self, Attributes, Change};
use wb_sys::node;

/// The empty things that cover others: made once, cloned for each place.
#[derive(Debug, Default)]
pub struct Covers {
    /// The host's `/dev/null`, and whether it is attached somewhere already.
    null: Option<(OwnedFd, bool)>,
    /// An empty read-only directory, attached somewhere already.
    directory: Option<OwnedFd>,
}

impl Covers {
    /// Opens what has to be opened while the host's `/dev` is in sight.
    ///
    /// What covers files must be the null device itself, or a mask would show or take writes (CVE-2025-31133).
    pub fn new(masked: &[PathBuf]) -> Result<Self, Error> {
        if masked.is_empty() {
            return Ok(Self::default());
        }
        let null = mount_fd::clone_path(Path::new("/dev/null"), false, "what masks files")
            .context(|| "/dev/null")?;
        let status = node::status(&null).context(|| "/dev/null")?;
        if node::kind(&status) != SFlag::S_IFCHR || node::device(&status) != (1, 3) {
            return Err(Error::new("/dev/null of the host is not the null device"));
        }
        let set =
            Attributes::MOUNT_ATTR_RDONLY | Attributes::MOUNT_ATTR_NOSUID | Attributes::MOUNT_ATTR_NOEXEC;
        let change = Change { set, ..Change::default() };
        mount_fd::set_attributes(&null, change, "and nothing else").context(|| "/dev/null")?;
        Ok(Self { null: Some((null, false)), directory: None })
    }

    /// Covers `path`, if it exists.
    pub fn mask(&mut self, path: &Path, root: &Root) -> Result<(), Error> {
        let Some(place) = root.open(path)? else { return Ok(()) };
        let name = || format!("mask {}", path.display());
        let status = node::status(&place).context(name)?;
        if node::kind(&status) == SFlag::S_IFDIR {
            return self.mask_directory(&place).context(name);
        }
        let Some((null, attached)) = &mut self.null else { return Err(Error::new(name())) };
        // A detached mount cannot be cloned before Linux 6.15, and an attached one would move: the first is
        // attached itself, the others are clones of it.
        if *attached {
            let again = mount_fd::clone_fd(&*null, false, "what masks files, once more").context(name)?;
            return mount_fd::attach(&again, &place, "nothing to be read here").context(name);
        }
        *attached = true;
        mount_fd::attach(&*null, &place, "nothing to be read here").context(name)
    }

    fn mask_directory(&mut self, place: &OwnedFd) -> Result<(), Error> {
        let tree = if let Some(tree) = &self.directory {
            mount_fd::clone_fd(tree, false, "the empty directory once more").context(|| "open_tree")?
        } else {
            let words = ["ro", "nosuid", "nodev", "noexec", "mode=755", "nr_inodes=1"];
            make_filesystem("tmpfs", "tmpfs", &Options::parse(&words.map(str::to_owned), "")?)?
        };
        mount_fd::attach(&tree, place, "an empty directory over it").context(|| "move_mount")?;
        self.directory.get_or_insert(tree);
        Ok(())
    }
}

/// Makes `path`, if it exists, and everything mounted below it read-only; other options stay.
pub fn protect(path: &Path, root: &Root) -> Result<(), Error> {
    let Some(place) = root.open(path)? else { return Ok(()) };
    let name = || format!("read-only {}", path.display());
    let tree = mount_fd::clone_fd(&place, true, "the path as a mount of its own").context(name)?;
    let change = Change { set: Attributes::MOUNT_ATTR_RDONLY, recursive: true, ..Change::default() };
    mount_fd::set_attributes(&tree, change, "read-only").context(name)?;
    mount_fd::attach(&tree, &place, "over itself").context(name)
}
