//! Files of `/proc` that are certainly the kernel's: a mount or a link inside `/proc` cannot redirect a write
//! (CVE-2019-16884, CVE-2025-52881).

use crate::trace::{call, quoted};
use crate::{Errno, Result};
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::Mode;
use std::os::fd::OwnedFd;
use std::path::Path;

/// The inode of procfs's root (linux/proc_fs.h, `PROC_ROOT_INO`).
const PROC_ROOT_INO: u64 = 1;

/// Opens `path`, relative to `/proc`, if `/proc` is procfs and nothing is mounted on the way; `EXDEV` otherwise.
fn open(path: &Path, flags: OFlag) -> Result<OwnedFd> {
    let proc =
        nix::fcntl::open("/proc", OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    let filesystem = nix::sys::statfs::fstatfs(&proc)?.filesystem_type();
    if filesystem != nix::sys::statfs::PROC_SUPER_MAGIC
        || nix::sys::stat::fstat(&proc)?.st_ino != PROC_ROOT_INO
    {
        return Err(Errno::EXDEV);
    }
    let resolve =
        ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_XDEV | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).mode(Mode::empty()).resolve(resolve);
    openat2(&proc, path, how)
}

/// Writes a control file below `/proc` (`sys/net/ipv4/ip_forward`, `self/oom_score_adj`) in one write(2).
pub fn write(path: &Path, content: &str, why: &str) -> Result<()> {
    call(
        why,
        || format!("write(\"/proc/{}\", {})", path.display(), quoted(content)),
        || {
            let fd = open(path, OFlag::O_WRONLY)?;
            nix::unistd::write(fd, content.as_bytes())
        },
    )
    .map(drop)
}

/// Reads a small control file below `/proc`.
pub fn read(path: &Path) -> Result<String> {
    let fd = open(path, OFlag::O_RDONLY)?;
    let mut buffer = [0; 4096];
    let length = nix::unistd::read(fd, &mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_its_own_score_and_no_magic_link() {
        assert!(read(Path::new("self/oom_score_adj")).unwrap().trim().parse::<i32>().is_ok());
        assert_eq!(read(Path::new("self/root/etc/passwd")), Err(Errno::ELOOP));
        assert_eq!(read(Path::new("../etc/passwd")), Err(Errno::EXDEV));
    }
}
