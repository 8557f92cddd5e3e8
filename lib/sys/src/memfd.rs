//! Files in memory that nobody can change any more: memfd_create(2) with seals.

use crate::trace::call;
use crate::{Errno, Result};
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::os::fd::{AsFd, OwnedFd};

/// A sealed file with `content`: whoever gets it can read it and neither write nor resize it. `name` is what
/// `/proc/PID/fd` shows.
pub fn sealed(name: &str, content: &[u8]) -> Result<OwnedFd> {
    call(
        "a file in memory that nobody can change",
        || format!("memfd_create({name:?}, MFD_CLOEXEC|MFD_ALLOW_SEALING)"),
        || {
            let fd = memfd_create(name, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
            let mut rest = content;
            while !rest.is_empty() {
                let count = crate::pipe::write(&fd, rest)?;
                rest = &rest[count..];
            }
            let seals = SealFlag::F_SEAL_SEAL
                | SealFlag::F_SEAL_SHRINK
                | SealFlag::F_SEAL_GROW
                | SealFlag::F_SEAL_WRITE;
            fcntl(fd.as_fd(), FcntlArg::F_ADD_SEALS(seals))?;
            Ok(fd)
        },
    )
}

/// A sealed copy of a program that is to be executed.
pub fn sealed_copy(name: &str, program: OwnedFd) -> Result<OwnedFd> {
    let mut content = Vec::new();
    std::io::Read::read_to_end(&mut std::fs::File::from(program), &mut content)
        .map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
    sealed(name, &content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cannot_be_written_any_more() {
        let fd = sealed("wb-test", b"{}").unwrap();
        assert_eq!(crate::fd::read_all(&fd, 10).unwrap(), b"{}");
        assert_eq!(crate::pipe::write(&fd, b"x"), Err(crate::Errno::EPERM));
    }
}
