//! The log's files, oldest first, read to the end and, when following, further.

use super::record;
use crate::monitor::numbered;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use wb_doc::{Context, Error};
use wb_store::{Place, record as store};
use wb_sys::inotify::Watch;
use wb_sys::poll::{self, Set};

/// How much is read at once.
const READ_BYTES: usize = 256 << 10;
/// A line that is longer was not written by a monitor.
const MAX_LINE_BYTES: usize = 1 << 20;

/// The files of one log.
#[derive(Debug)]
pub struct Files {
    path: PathBuf,
    /// Still to be read after the current one, the oldest last.
    newer: Vec<File>,
    current: Option<File>,
    held: Vec<u8>,
}

impl Files {
    /// Opens all files at once, so that none is missed if they are turned over meanwhile; goes to where the last
    /// `tail` lines begin.
    pub fn open(path: &Path, tail: Option<u64>) -> Result<Self, Error> {
        let mut newest_first = Vec::new();
        for number in 0.. {
            match open(&numbered(path, number)) {
                // Turned over between two opens, a file is met twice.
                Ok(file) if newest_first.last().is_some_and(|last| same(last, &file)) => {}
                Ok(file) => newest_first.push(file),
                Err(error) if error.kind() == ErrorKind::NotFound => break,
                Err(error) => return Err(error).context(|| path.display().to_string()),
            }
        }
        if let Some(tail) = tail {
            let mut missing = tail;
            let mut kept = 0;
            for file in &mut newest_first {
                kept += 1;
                missing = seek_tail(file, missing).context(|| path.display().to_string())?;
                if missing == 0 {
                    break;
                }
            }
            newest_first.truncate(kept);
        }
        let current = newest_first.pop();
        Ok(Self { path: path.to_owned(), newer: newest_first, current, held: Vec::new() })
    }

    /// Gives every whole line up to the present end to `each`.
    pub fn read<E: From<Error>>(&mut self, mut each: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        loop {
            if let Some(file) = &mut self.current {
                read_lines(file, &mut self.held, &mut each, &self.path)?;
            }
            if !self.next()? {
                return Ok(());
            }
        }
    }

    /// Goes on to the next file; whether there is one.
    fn next(&mut self) -> Result<bool, Error> {
        if let Some(file) = self.newer.pop() {
            self.held.clear();
            self.current = Some(file);
            return Ok(true);
        }
        // The one being written may have been turned over: then all that came after the current one is new.
        let mut newer = Vec::new();
        for number in 0.. {
            match open(&numbered(&self.path, number)) {
                Ok(file) if self.current.as_ref().is_some_and(|current| same(current, &file)) => break,
                Ok(file) => newer.push(file),
                Err(error) if error.kind() == ErrorKind::NotFound => break,
                Err(error) => return Err(error).context(|| self.path.display().to_string()),
            }
        }
        let Some(oldest) = newer.pop() else { return Ok(false) };
        self.newer = newer;
        self.held.clear();
        self.current = Some(oldest);
        Ok(true)
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    fs::OpenOptions::new().read(true).custom_flags(nix::fcntl::OFlag::O_NOFOLLOW.bits()).open(path)
}

fn same(a: &File, b: &File) -> bool {
    let id = |file: &File| file.metadata().map(|metadata| (metadata.dev(), metadata.ino())).ok();
    id(a) == id(b)
}

fn read_lines<E: From<Error>>(
    file: &mut File,
    held: &mut Vec<u8>,
    each: &mut impl FnMut(&[u8]) -> Result<(), E>,
    path: &Path,
) -> Result<(), E> {
    let mut chunk = vec![0; READ_BYTES];
    loop {
        let count = file.read(&mut chunk).context(|| path.display().to_string())?;
        if count == 0 {
            return Ok(());
        }
        let mut rest = &chunk[..count];
        while let Some(at) = memchr::memchr(b'\n', rest) {
            if held.is_empty() {
                each(&rest[..at])?;
            } else {
                held.extend_from_slice(&rest[..at]);
                each(held)?;
                held.clear();
            }
            rest = &rest[at + 1..];
        }
        // A part of a line is being written; one without an end is not kept.
        if held.len() < MAX_LINE_BYTES {
            held.extend_from_slice(rest);
        }
    }
}

/// Goes to where the last `count` lines begin; how many of them are in an older file.
fn seek_tail(file: &mut File, count: u64) -> std::io::Result<u64> {
    let end = file.seek(SeekFrom::End(0))?;
    let mut window = READ_BYTES as u64;
    loop {
        let from = end.saturating_sub(window);
        let mut bytes = vec![0; usize::try_from(end - from).unwrap_or(READ_BYTES)];
        file.seek(SeekFrom::Start(from))?;
        file.read_exact(&mut bytes)?;
        // Only whole lines count: the first one here may be the end of one.
        let first = match from {
            0 => 0,
            _ => memchr::memchr(b'\n', &bytes).map_or(bytes.len(), |at| at + 1),
        };
        let last = memchr::memrchr(b'\n', &bytes).map_or(first, |at| at + 1).max(first);
        let (at, missing) = record::tail(&bytes[first..last], count);
        if missing == 0 && at > 0 || from == 0 {
            file.seek(SeekFrom::Start(from + (first + at) as u64))?;
            return Ok(missing);
        }
        window *= 4;
    }
}

/// Being told of changes, and of the end of the monitor, after which nothing is written.
#[derive(Debug)]
pub struct Follow {
    watch: Watch,
    monitor: OwnedFd,
    ended: bool,
}

impl Follow {
    /// Begins to watch; none where no monitor is there that could write.
    pub fn start(place: &Place, id: &str) -> Result<Option<Self>, Error> {
        let document = store::read(place, id)?;
        let boot_id = wb_sys::proc::boot_id().context(|| "boot_id")?;
        let pid: i32 = document.read("/wb/state/monitor/pid")?.unwrap_or_default();
        let Ok(monitor) = wb_sys::process::pidfd_open(pid) else { return Ok(None) };
        if !store::is_alive(&document, "/wb/state/monitor", &boot_id) {
            return Ok(None);
        }
        let watch = Watch::new().context(|| "inotify")?;
        let directory = place.container(id);
        watch.add(&directory).context(|| directory.display().to_string())?;
        Ok(Some(Self { watch, monitor, ended: false }))
    }

    /// Whether the monitor has ended.
    pub fn has_ended(&mut self) -> bool {
        if !self.ended {
            let mut set = Set::default();
            set.add(&self.monitor, poll::IN, ());
            self.ended = set.wait(Some(std::time::Instant::now())).is_err() || set.at(0).1 != 0;
        }
        self.ended
    }

    /// Waits for a change or the end.
    pub fn wait(&mut self) -> Result<(), Error> {
        let mut set = Set::default();
        set.add(&self.watch, poll::IN, ());
        set.add(&self.monitor, poll::IN, ());
        set.wait(None).context(|| "poll")?;
        self.watch.clear();
        Ok(())
    }
}
