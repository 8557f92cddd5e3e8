//! Pipes and the calls that move bytes between them without copying: splice(2), tee(2).

use crate::{Errno, Result};
use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl};
use std::os::fd::{AsFd, OwnedFd};

/// A pipe, both ends close-on-exec: the end to read, the end to write.
pub fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    nix::unistd::pipe2(OFlag::O_CLOEXEC)
}

/// Asks for room for `bytes` in a pipe. The kernel may refuse (`EPERM` above the user's limit); the pipe still works.
pub fn set_capacity(pipe: impl AsFd, bytes: i32) -> Result<usize> {
    let size = fcntl(pipe, FcntlArg::F_SETPIPE_SZ(bytes))?;
    usize::try_from(size).map_err(|_| Errno::EINVAL)
}

/// Makes reads and writes fail with `EAGAIN` instead of waiting. It holds for everybody who shares the open file.
pub fn set_nonblocking(fd: impl AsFd, on: bool) -> Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
    let flags = if on { flags | OFlag::O_NONBLOCK } else { flags - OFlag::O_NONBLOCK };
    fcntl(&fd, FcntlArg::F_SETFL(flags)).map(drop)
}

/// Moves up to `count` bytes from `from` to `to`, one of which is a pipe; 0 at the end of the input.
///
/// Waits for neither pipe (`EAGAIN`). `EINVAL` where a file cannot be spliced.
pub fn splice(from: impl AsFd, to: impl AsFd, count: usize) -> Result<usize> {
    let flags = SpliceFFlags::SPLICE_F_NONBLOCK | SpliceFFlags::SPLICE_F_MOVE;
    again(|| nix::fcntl::splice(&from, None, &to, None, count, flags))
}

/// As [`splice`] from a file at `offset`, which is moved on.
pub fn splice_at(from: impl AsFd, offset: &mut i64, to: impl AsFd, count: usize) -> Result<usize> {
    let flags = SpliceFFlags::SPLICE_F_NONBLOCK | SpliceFFlags::SPLICE_F_MOVE;
    again(|| nix::fcntl::splice(&from, Some(&mut *offset), &to, None, count, flags))
}

/// Puts up to `count` bytes of pipe `from` into pipe `to` as well, and leaves them where they are. Never waits.
pub fn tee(from: impl AsFd, to: impl AsFd, count: usize) -> Result<usize> {
    again(|| nix::fcntl::tee(&from, &to, count, SpliceFFlags::SPLICE_F_NONBLOCK))
}

/// read(2), again after an interruption.
pub fn read(fd: impl AsFd, buffer: &mut [u8]) -> Result<usize> {
    again(|| nix::unistd::read(&fd, buffer))
}

/// write(2), again after an interruption.
pub fn write(fd: impl AsFd, bytes: &[u8]) -> Result<usize> {
    again(|| nix::unistd::write(&fd, bytes))
}

fn again<T>(mut act: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match act() {
            Err(Errno::EINTR) => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tee_leaves_and_splice_moves() {
        let (from_r, from_w) = pipe().unwrap();
        let (to_r, to_w) = pipe().unwrap();
        assert_eq!(tee(&from_r, &to_w, 100), Err(Errno::EAGAIN));
        write(&from_w, b"abc").unwrap();
        assert_eq!(tee(&from_r, &to_w, 100), Ok(3));
        assert_eq!(splice(&from_r, &to_w, 100), Ok(3));
        let mut buffer = [0; 16];
        assert_eq!(read(&to_r, &mut buffer), Ok(6));
        assert_eq!(&buffer[..6], b"abcabc");
        assert_eq!(splice(&from_r, &to_w, 100), Err(Errno::EAGAIN));
        drop(from_w);
        assert_eq!(splice(&from_r, &to_w, 100), Ok(0));
    }
}
