//! The container's log, in the format of the Kubernetes CRI: `TIME STREAM P|F TEXT`, a line each.
//!
//! `F` ends a line of the program's output, `P` is a part of one: of a line longer than [`LINE_BYTES`], or of the last
//! line where the output does not end with a newline. So a log says byte for byte what was written.

use crate::clock;
use crate::settings::LogLimits;
use nix::errno::Errno;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The most text of one record; what is longer is split.
pub const LINE_BYTES: usize = 16 << 10;
/// Records are gathered up to this before they are written, within one read of the container's output: the page cache
/// takes one large piece in a fraction of the time of many small ones.
const OUT_BYTES: usize = 1 << 20;

/// An output stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output, or the pty.
    Stdout = 0,
    /// Standard error.
    Stderr = 1,
}

/// The log being written. Its memory does not grow with the output.
#[derive(Debug)]
pub struct Log {
    /// Nothing is logged.
    off: bool,
    path: PathBuf,
    limits: LogLimits,
    file: Option<File>,
    /// Bytes in the file, all of whole records.
    size: u64,
    out: Vec<u8>,
    /// The beginnings of lines whose end has not come yet.
    begun: [Vec<u8>; 2],
    /// What a write failed with; the container goes on without its log.
    failed: Option<Errno>,
}

impl Log {
    /// No log.
    pub fn off() -> Self {
        Self {
            off: true,
            path: PathBuf::new(),
            limits: LogLimits { max_bytes: 0, files: 1 },
            file: None,
            size: 0,
            out: Vec::new(),
            begun: [Vec::new(), Vec::new()],
            failed: None,
        }
    }

    /// The log at `path`, gone on with where there is one.
    pub fn open(path: PathBuf, limits: LogLimits) -> Self {
        let mut log = Self { off: false, path, limits, ..Self::off() };
        log.reopen();
        log
    }

    /// Why something is missing in the log, if something is.
    pub fn failure(&self) -> Option<Errno> {
        self.failed
    }

    /// Logs a piece of output.
    pub fn write(&mut self, stream: Stream, mut piece: &[u8]) {
        if self.off {
            return;
        }
        let time = clock::now();
        while !piece.is_empty() {
            let begun = self.begun[stream as usize].len();
            let room = LINE_BYTES - begun;
            let (taken, tag) = match memchr::memchr(b'\n', &piece[..piece.len().min(room + 1)]) {
                Some(at) => (at, b'F'),
                None if piece.len() > room => (room, b'P'),
                None => {
                    let kept = &mut self.begun[stream as usize];
                    kept.reserve_exact(LINE_BYTES - begun);
                    kept.extend_from_slice(piece);
                    break;
                }
            };
            self.record(&time, stream, tag, &piece[..taken]);
            piece = &piece[taken + usize::from(tag == b'F')..];
        }
        self.flush();
    }

    /// Gives back what memory only a burst of output needs.
    pub fn rest(&mut self) {
        self.out = Vec::new();
    }

    /// Logs what is left of the last lines, which no newline ended.
    pub fn end(&mut self) {
        let time = clock::now();
        for stream in [Stream::Stdout, Stream::Stderr] {
            if !self.begun[stream as usize].is_empty() {
                self.record(&time, stream, b'P', &[]);
            }
        }
        self.flush();
    }

    fn record(&mut self, time: &[u8], stream: Stream, tag: u8, text: &[u8]) {
        let begun = std::mem::take(&mut self.begun[stream as usize]);
        let length = time.len() + 11 + begun.len() + text.len();
        if self.size + (self.out.len() + length) as u64 > self.limits.max_bytes {
            self.flush();
            self.turn_over();
        }
        if self.out.len() + length > OUT_BYTES {
            self.flush();
        }
        self.out.extend_from_slice(time);
        self.out.extend_from_slice(if stream == Stream::Stdout { b" stdout " } else { b" stderr " });
        self.out.extend_from_slice(&[tag, b' ']);
        self.out.extend_from_slice(&begun);
        self.out.extend_from_slice(text);
        self.out.push(b'\n');
        let kept = &mut self.begun[stream as usize];
        *kept = begun;
        kept.clear();
    }

    /// Writes what was gathered.
    fn flush(&mut self) {
        if self.out.is_empty() {
            return;
        }
        if self.file.is_none() {
            self.reopen();
        }
        if let Some(file) = &mut self.file {
            match file.write_all(&self.out) {
                Ok(()) => self.size += self.out.len() as u64,
                Err(error) => {
                    self.failed = Some(errno(&error));
                    // Records stay whole: of the last one that did not fit, nothing is kept.
                    let length = file.metadata().map_or(self.size, |metadata| metadata.len());
                    let written = usize::try_from(length.saturating_sub(self.size)).unwrap_or(usize::MAX);
                    let written = &self.out[..written.min(self.out.len())];
                    self.size += memchr::memrchr(b'\n', written).map_or(0, |at| at as u64 + 1);
                    file.set_len(self.size).ok();
                }
            }
        }
        self.out.clear();
    }

    /// `log` becomes `log.1`, `log.1` `log.2` and so on; the last one is gone.
    fn turn_over(&mut self) {
        if self.size == 0 {
            return;
        }
        // Not by a rename over it: ext4 would write the file that takes its place to the disk at once ("auto_da_alloc"
        // of ext4(5)), and that one is soon gone as well. None of them need exist.
        let oldest = self.limits.files.saturating_sub(1);
        fs::remove_file(numbered(&self.path, oldest)).ok();
        for number in (0..oldest).rev() {
            fs::rename(numbered(&self.path, number), numbered(&self.path, number + 1)).ok();
        }
        self.reopen();
    }

    fn reopen(&mut self) {
        let opened = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(nix::fcntl::OFlag::O_NOFOLLOW.bits())
            .open(&self.path);
        match opened.and_then(|file| Ok((file.metadata()?.len(), file))) {
            Ok((size, file)) => (self.size, self.file) = (size, Some(file)),
            Err(error) => (self.failed, self.file) = (Some(errno(&error)), None),
        }
    }
}

/// The name of the `number`-th oldest file; 0 is the one being written.
pub fn numbered(path: &Path, number: u32) -> PathBuf {
    if number == 0 {
        return path.to_owned();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

fn errno(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("wb-monitor-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        directory
    }

    /// `STREAM TAG TEXT` of each record.
    fn records(path: &Path) -> Vec<String> {
        let text = String::from_utf8(fs::read(path).unwrap()).unwrap();
        text.lines().map(|line| line[clock::LENGTH + 1..].to_owned()).collect()
    }

    const ALL: LogLimits = LogLimits { max_bytes: u64::MAX, files: 3 };

    #[test]
    fn lines_and_parts() {
        let directory = scratch("lines");
        let mut log = Log::open(directory.join("log"), ALL);
        log.write(Stream::Stdout, b"one\ntw");
        log.write(Stream::Stderr, b"err\n\n");
        log.write(Stream::Stdout, b"o\nrest");
        log.end();
        let expected = ["stdout F one", "stderr F err", "stderr F ", "stdout F two", "stdout P rest"];
        assert_eq!(records(&directory.join("log")), expected);
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn long_lines_are_split_and_nothing_is_lost() {
        let directory = scratch("long");
        let mut log = Log::open(directory.join("log"), ALL);
        let line: Vec<u8> = (0..100_000_u32).map(|n| b'a' + u8::try_from(n % 26).unwrap()).collect();
        for piece in line.chunks(7001) {
            log.write(Stream::Stdout, piece);
        }
        log.write(Stream::Stdout, b"\n");
        log.write(Stream::Stdout, &line[..LINE_BYTES]);
        log.write(Stream::Stdout, b"\nx\n");
        let read = records(&directory.join("log"));
        let mut whole = String::new();
        for record in &read[..7] {
            assert!(record.len() <= LINE_BYTES + 9);
            whole.push_str(&record[9..]);
        }
        assert_eq!(whole.as_bytes(), line);
        assert!(read[5].starts_with("stdout P ") && read[6].starts_with("stdout F "));
        assert!(read[7].starts_with("stdout F ") && read[7].len() == LINE_BYTES + 9);
        assert_eq!(read[8], "stdout F x");
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn files_are_turned_over_and_the_log_goes_on_where_it_was() {
        let directory = scratch("turn");
        let path = directory.join("log");
        let limits = LogLimits { max_bytes: 200, files: 2 };
        for round in 0..4 {
            let mut log = Log::open(path.clone(), limits);
            for n in 0..4 {
                log.write(Stream::Stdout, format!("{round} {n}\n").as_bytes());
            }
            assert!(log.failure().is_none());
        }
        let names: Vec<_> =
            fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2, "{names:?}");
        assert!(fs::metadata(&path).unwrap().len() <= 200);
        let all = [records(&numbered(&path, 1)), records(&path)].concat();
        assert_eq!(all.last().unwrap(), "stdout F 3 3");
        assert!(all.len() >= 5, "{all:?}");
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_log_that_cannot_be_written_stops_nothing() {
        let mut log = Log::open("/nonexistent/log".into(), ALL);
        log.write(Stream::Stdout, b"x\n");
        log.end();
        assert_eq!(log.failure(), Some(Errno::ENOENT));
    }
}
