//! The working directory: inside the root, whatever its name leads through.

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::{fchdir, getcwd};
use std::os::fd::OwnedFd;
use std::path::{Component, Path};
use wb_doc::{Context, Error};
use wb_sys::{Errno, file, node};

/// Changes to `path`, made with its parents where it is missing, as docker does.
///
/// Magic links such as `/proc/self/fd/7` are refused, since they may lead out of the root (CVE-2024-21626).
pub fn enter(path: &Path) -> Result<(), Error> {
    let name = || format!("working directory {}", path.display());
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
    let root = open("/", flags | OFlag::O_CLOEXEC, Mode::empty()).context(|| "/")?;
    let directory = match file::open_in_root(&root, path, flags, Mode::empty()) {
        Err(Errno::ENOENT) => make(&root, path).context(name)?,
        other => other.context(name)?,
    };
    fchdir(directory).context(name)?;
    check().context(name)
}

/// Makes every missing directory of `path`, each opened in the root before the next is made in it.
fn make(root: &OwnedFd, path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
    let mut so_far = std::path::PathBuf::from("/");
    let mut directory = file::open_in_root(root, &so_far, flags, Mode::empty())?;
    for component in path.components() {
        let Component::Normal(part) = component else {
            if component == Component::ParentDir {
                return Err(Errno::ENOENT);
            }
            continue;
        };
        so_far.push(part);
        directory = match file::open_in_root(root, &so_far, flags, Mode::empty()) {
            Err(Errno::ENOENT) => {
                let made = node::mkdir(&directory, Path::new(part), 0o755, "docker makes a missing WORKDIR");
                // What is there and leads nowhere is a dangling link: it is not followed.
                made.map_err(|errno| if errno == Errno::EEXIST { Errno::ENOENT } else { errno })?;
                file::open_in_root(root, &so_far, flags, Mode::empty())?
            }
            other => other?,
        };
    }
    Ok(directory)
}

/// Whether this process stands inside its root: getcwd(2) says `(unreachable)/…` where not, which the C library turns
/// into `ENOENT`.
pub fn check() -> Result<(), Error> {
    let outside = || Error::new("the current directory is outside the root");
    let path = getcwd().map_err(|_| outside())?;
    if path.is_absolute() { Ok(()) } else { Err(outside()) }
}
