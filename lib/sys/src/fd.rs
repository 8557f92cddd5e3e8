//! File descriptors given by number: the documented ones a chain of programs inherits.

use crate::{Errno, Result};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Takes over an inherited descriptor by its number and makes it close-on-exec.
///
/// Fails with `EBADF` where it is not open. Call it once for each number, at the start of `main`: nothing else in
/// the program may own that number.
pub fn inherited(number: RawFd) -> Result<OwnedFd> {
    if number < 0 {
        return Err(Errno::EBADF);
    }
    // SAFETY: the descriptor is only asked for its flags; a closed number makes fcntl fail with EBADF.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    let flags = FdFlag::from_bits_retain(fcntl(borrowed, FcntlArg::F_GETFD)?);
    fcntl(borrowed, FcntlArg::F_SETFD(flags | FdFlag::FD_CLOEXEC))?;
    // SAFETY: it is open, and by this function's contract nothing else in the program owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// A descriptor of our own, close-on-exec and not below `least`, for what is open at `number`; `EBADF` where nothing is.
pub fn duplicate(number: RawFd, least: RawFd) -> Result<OwnedFd> {
    if number < 0 {
        return Err(Errno::EBADF);
    }
    // SAFETY: the descriptor is only duplicated; a closed number makes fcntl fail with EBADF.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    let fd = fcntl(borrowed, FcntlArg::F_DUPFD_CLOEXEC(least))?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sets or clears close-on-exec.
pub fn set_cloexec(fd: impl std::os::fd::AsFd, on: bool) -> Result<()> {
    let flag = if on { FdFlag::FD_CLOEXEC } else { FdFlag::empty() };
    fcntl(fd, FcntlArg::F_SETFD(flag)).map(drop)
}

/// Makes a pipe hold at least `bytes` (F_SETPIPE_SZ; `EPERM` above `/proc/sys/fs/pipe-max-size` without
/// CAP_SYS_RESOURCE): fewer switches between the two programs at its ends.
pub fn set_pipe_size(fd: impl std::os::fd::AsFd, bytes: i32) -> Result<()> {
    fcntl(fd, FcntlArg::F_SETPIPE_SZ(bytes)).map(drop)
}

/// Marks every descriptor from `first` on close-on-exec (close_range(2), Linux 5.11).
pub fn cloexec_from(first: u32) -> Result<()> {
    crate::trace::call(
        "nothing of ours is inherited",
        || format!("close_range({first}, ~0U, CLOSE_RANGE_CLOEXEC)"),
        || {
            // SAFETY: sets a flag on descriptors; no memory is passed.
            let result = unsafe {
                nix::libc::syscall(
                    nix::libc::SYS_close_range,
                    first,
                    u32::MAX,
                    nix::libc::CLOSE_RANGE_CLOEXEC,
                )
            };
            Errno::result(result).map(drop)
        },
    )
}

/// The whole content of a regular file or memfd, read from its start without moving its offset, at most `limit`
/// bytes (`EFBIG` beyond).
pub fn read_all(fd: impl std::os::fd::AsFd, limit: usize) -> Result<Vec<u8>> {
    // A piece as large as what is there costs no more memory than needed; what grows meanwhile comes in further ones.
    let size = nix::sys::stat::fstat(&fd)?.st_size;
    let mut chunk = vec![0; usize::try_from(size).unwrap_or_default().clamp(1 << 10, 64 << 10)];
    let mut content = Vec::new();
    loop {
        let offset = i64::try_from(content.len()).map_err(|_| Errno::EFBIG)?;
        match nix::sys::uio::pread(&fd, &mut chunk, offset) {
            Ok(0) => return Ok(content),
            Ok(n) => content.extend_from_slice(&chunk[..n]),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
        if content.len() > limit {
            return Err(Errno::EFBIG);
        }
    }
}
