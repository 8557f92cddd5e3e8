//! Standard input that a signal interrupts: an unpacking that is told to end takes away what it made.

use std::fs::File;
use std::io::{self, Read};
use wb_sys::poll::{self, Set};
use wb_sys::signal::Signals;
use wb_sys::{Errno, process};

const SIGHUP: i32 = 1;
const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;

/// A file, and the signals that end its reading.
pub struct Input {
    file: File,
    signals: Signals,
    set: Set<()>,
}

impl Input {
    /// From now on SIGHUP, SIGINT and SIGTERM make the next read fail.
    pub fn new(file: File) -> Result<Self, Errno> {
        Ok(Self { file, signals: Signals::take(&[SIGHUP, SIGINT, SIGTERM])?, set: Set::default() })
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.set.clear();
        self.set.add(&self.file, poll::IN, ());
        self.set.add(&self.signals, poll::IN, ());
        self.set.wait(None)?;
        if let Some(signal) = self.signals.next() {
            return Err(io::Error::other(format!("ended by {}", process::signal_name(signal))));
        }
        self.file.read(buffer)
    }
}
