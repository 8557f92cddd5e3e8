//! One output stream on its way to one client: a pipe, and a file for what the client is too slow for.

use super::stdio;
use nix::errno::Errno;
use nix::fcntl::FallocateFlags;
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};
use wb_sys::pipe;
use wb_sys::poll::{self, Set};

/// How far a client may lag behind the container, in bytes on disk.
pub const SPILL_BYTES: u64 = 256 << 20;
/// So long a pipe that is full is waited for before a file takes what comes next: that costs two copies more.
const PATIENCE: Duration = Duration::from_millis(20);
/// How much is moved from file to pipe at once, and freed of the file.
const STEP_BYTES: usize = 1 << 20;

/// A stream towards a client.
#[derive(Debug)]
pub struct Feed {
    pipe: OwnedFd,
    spill: Option<Spill>,
}

/// Output that did not fit into the pipe, in an unlinked file.
#[derive(Debug)]
struct Spill {
    file: File,
    read: i64,
    written: i64,
}

/// What became of a piece of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fed {
    /// The client has it, or will get it.
    Kept,
    /// The client does not read any more.
    Gone,
    /// Neither pipe nor disk has room.
    Full,
}

impl Feed {
    /// A feed, and the end of its pipe for the client.
    pub fn new() -> wb_sys::Result<(Self, OwnedFd)> {
        let (reader, writer) = stdio::client_pipe()?;
        Ok((Self { pipe: writer, spill: None }, reader))
    }

    /// Whether pieces go straight into the pipe.
    pub fn is_direct(&self) -> bool {
        self.spill.is_none()
    }

    /// How many bytes wait on disk.
    pub fn lag(&self) -> u64 {
        self.spill.as_ref().map_or(0, |spill| u64::try_from(spill.written - spill.read).unwrap_or(0))
    }

    /// Puts up to `count` bytes of the container's pipe into the client's without copying; how many.
    pub fn tee(&self, from: impl AsFd, count: usize) -> Result<usize, Fed> {
        if self.spill.is_some() {
            return Ok(0);
        }
        match pipe::tee(from, &self.pipe, count) {
            Ok(count) => Ok(count),
            Err(Errno::EPIPE) => Err(Fed::Gone),
            // No room, or nothing that can be shared: it is copied.
            Err(_) => Ok(0),
        }
    }

    /// Waits a moment for room in the pipe; not where something waits in the file already.
    pub fn has_room_soon(&self) -> bool {
        let mut set = Set::default();
        set.add(&self.pipe, poll::OUT, ());
        self.spill.is_none() && set.wait(Some(Instant::now() + PATIENCE)).is_ok() && set.at(0).1 != 0
    }

    /// Gives the client `piece`; what its pipe has no room for goes to a file in `directory`.
    pub fn feed(&mut self, mut piece: &[u8], directory: &Path) -> Fed {
        while self.spill.is_none() && !piece.is_empty() {
            match pipe::write(&self.pipe, piece) {
                Ok(count) => piece = &piece[count..],
                Err(Errno::EAGAIN) => break,
                Err(_) => return Fed::Gone,
            }
        }
        if piece.is_empty() {
            return Fed::Kept;
        }
        if self.spill.is_none() {
            let Ok(file) = stdio::spill_file(directory) else { return Fed::Full };
            self.spill = Some(Spill { file, read: 0, written: 0 });
        }
        let Some(spill) = &mut self.spill else { return Fed::Full };
        let Ok(at) = u64::try_from(spill.written) else { return Fed::Full };
        match spill.file.write_all_at(piece, at) {
            Ok(()) => {
                spill.written += i64::try_from(piece.len()).unwrap_or(0);
                Fed::Kept
            }
            Err(_) => Fed::Full,
        }
    }

    /// The pipe has room again: moves on what waits in the file.
    pub fn catch_up(&mut self) -> Fed {
        let Some(spill) = &mut self.spill else { return Fed::Kept };
        while spill.read < spill.written {
            let left = usize::try_from(spill.written - spill.read).unwrap_or(STEP_BYTES);
            let before = spill.read;
            match pipe::splice_at(&spill.file, &mut spill.read, &self.pipe, left.min(STEP_BYTES)) {
                Ok(0) => return Fed::Gone,
                Ok(_) => spill.forget(before),
                Err(Errno::EAGAIN) => return Fed::Kept,
                Err(_) => return Fed::Gone,
            }
        }
        self.spill = None;
        Fed::Kept
    }

    /// The end of the stream: closes the pipe and gives what still waits, as a file to be read from its offset on.
    pub fn end(self) -> Option<File> {
        let mut spill = self.spill?;
        let at = u64::try_from(spill.read).unwrap_or(0);
        spill.file.seek(SeekFrom::Start(at)).ok()?;
        Some(spill.file)
    }
}

impl AsFd for Feed {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

impl Spill {
    /// Gives the disk back what has been read, a step at a time. Pages that are still in the pipe stay.
    fn forget(&self, before: i64) {
        let step = i64::try_from(STEP_BYTES).unwrap_or(1);
        if self.read / step != before / step {
            let hole = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
            // Where holes are not possible the file is freed as a whole, later.
            nix::fcntl::fallocate(&self.file, hole, 0, self.read / step * step).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_slow_client_gets_everything_in_order() {
        let directory = std::env::temp_dir();
        let (mut feed, reader) = Feed::new().unwrap();
        let piece = |n: u32| -> Vec<u8> { (0..50_000_u32).flat_map(|k| (k ^ n).to_le_bytes()).collect() };
        let mut expected = Vec::new();
        for n in 0..20 {
            assert_eq!(feed.feed(&piece(n), &directory), Fed::Kept);
            expected.extend_from_slice(&piece(n));
        }
        assert!(feed.lag() > 1 << 20 && !feed.is_direct());
        let mut got = vec![0; 32 << 10];
        let mut reader = File::from(reader);
        reader.read_exact(&mut got).unwrap();
        assert_eq!(feed.catch_up(), Fed::Kept);
        // What waits goes before what is new.
        assert_eq!(feed.feed(b"the end", &directory), Fed::Kept);
        expected.extend_from_slice(b"the end");
        let mut rest = feed.end().unwrap();
        reader.read_to_end(&mut got).unwrap();
        rest.read_to_end(&mut got).unwrap();
        assert!(got == expected);
    }

    #[test]
    fn a_client_that_left_is_noticed() {
        let (mut feed, reader) = Feed::new().unwrap();
        drop(reader);
        assert_eq!(feed.feed(b"x", Path::new("/nonexistent")), Fed::Gone);
    }
}
