//! Locks: flock(2) on a file of their own, gone with the process that holds them.

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use wb_doc::{Context, Error};

/// A held lock; dropped, it is free again.
#[derive(Debug)]
pub struct Lock(Flock<File>);

impl AsFd for Lock {
    /// Its descriptor: a program that inherits it holds the lock, too.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Lock {
    /// Waits for the exclusive lock on `path`, making the file where it is missing.
    pub fn exclusive(path: &Path) -> Result<Self, Error> {
        Self::take(path, FlockArg::LockExclusive)
    }

    /// Waits for a shared lock on `path`.
    pub fn shared(path: &Path) -> Result<Self, Error> {
        Self::take(path, FlockArg::LockShared)
    }

    /// The exclusive lock if it is free, `None` if somebody holds it.
    pub fn try_exclusive(path: &Path) -> Result<Option<Self>, Error> {
        match Flock::lock(open(path)?, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(Self(lock))),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(errno).context(|| format!("lock {}", path.display())),
        }
    }

    /// Waits for the exclusive lock on a directory itself: no file is made, and none is left behind.
    pub fn directory(path: &Path) -> Result<Self, Error> {
        Self::take_directory(path, FlockArg::LockExclusive)
    }

    /// Waits for a shared lock on a directory itself.
    pub fn directory_shared(path: &Path) -> Result<Self, Error> {
        Self::take_directory(path, FlockArg::LockShared)
    }

    /// Makes a shared lock an exclusive one, where nobody else has a lock; `false`, and none at all, where somebody
    /// has. Of several who do this the last one gets it.
    pub fn try_upgrade(&self) -> Result<bool, Error> {
        match self.0.relock(FlockArg::LockExclusiveNonblock) {
            Ok(()) => Ok(true),
            Err(Errno::EWOULDBLOCK) => Ok(false),
            Err(errno) => Err(errno).context(|| "lock"),
        }
    }

    fn take_directory(path: &Path, how: FlockArg) -> Result<Self, Error> {
        let flags = nix::fcntl::OFlag::O_DIRECTORY | nix::fcntl::OFlag::O_NOFOLLOW;
        let mut file = OpenOptions::new()
            .read(true)
            .custom_flags(flags.bits())
            .open(path)
            .context(|| format!("lock {}", path.display()))?;
        loop {
            match Flock::lock(file, how) {
                Ok(lock) => return Ok(Self(lock)),
                Err((again, Errno::EINTR)) => file = again,
                Err((_, errno)) => return Err(errno).context(|| format!("lock {}", path.display())),
            }
        }
    }

    fn take(path: &Path, how: FlockArg) -> Result<Self, Error> {
        let mut file = open(path)?;
        loop {
            match Flock::lock(file, how) {
                Ok(lock) => return Ok(Self(lock)),
                Err((again, Errno::EINTR)) => file = again,
                Err((_, errno)) => return Err(errno).context(|| format!("lock {}", path.display())),
            }
        }
    }
}

fn open(path: &Path) -> Result<File, Error> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(nix::fcntl::OFlag::O_NOFOLLOW.bits())
        .open(path)
        .context(|| format!("lock {}", path.display()))
}
